"""Runs the parts of ``benchmarks/gpu.sh``, each in a process of its own, so that none ends with another."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PARTS = {"tests": 60, "steps": 120, "people": 40, "training": None, "evaluation": 45, "results": 20}
"""Parts in their order, and the most seconds of each; the training has what the others leave of ``TOTAL``."""

SCRIPT = Path(__file__).with_name("gpu_parts.py")
TOTAL = 480
LAST_LINES = 40
GRACE = 10
"""Seconds between SIGTERM and SIGKILL."""


def run_part(command: list[str], log: Path, limit: float) -> dict[str, Any]:
    """Run a command for at most ``limit`` seconds, its output in ``log``; return its ``seconds`` and why it ``failed``.

    What it has started ends with it.
    """
    began, failed = time.monotonic(), None
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(limit)
            failed = f"ended with status {status}" if status else None
        except subprocess.TimeoutExpired:
            failed = f"was stopped after {limit:.0f} s"
        finally:
            _end(process)
    return {"seconds": round(time.monotonic() - began, 1), "failed": failed}


def _end(process: "subprocess.Popen[bytes]") -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def run_parts(names: list[str], output: Path, options: list[str], *, patience: int = 1) -> bool:
    """Run parts one after the other and print how each ended; say whether all succeeded.

    ``patience`` is a factor of the time that parts may take.
    """
    outcomes: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + patience * TOTAL
    with tempfile.TemporaryDirectory(prefix="litepose_gpu_") as scratch:
        for name in names:
            for old in output.glob(f"{name}.*"):
                old.unlink()
            later = sum(patience * (PARTS[after] or 0) for after in names[names.index(name) + 1 :])
            limit = patience * (PARTS[name] or 0) or max(1, round(deadline - time.monotonic() - later))
            print(f"{name}: at most {limit} s", flush=True)
            log = output / f"{name}.log"
            command = [sys.executable, "-u", str(SCRIPT), name, f"--seconds={limit}", f"--scratch={scratch}"]
            outcomes[name] = run_part([*command, f"--output={output}", *options], log, limit)
            (output / "parts.json").write_text(json.dumps(outcomes, indent=1), encoding="utf-8")
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
            failed = outcomes[name]["failed"]
            ending = (
                f"FAILED, {failed}; its last lines are above" if failed else f"done in {outcomes[name]['seconds']} s"
            )
            print("\n".join([*(f"    {line}" for line in lines), f"{name}: {ending}"]), flush=True)
    wrong = [name for name, outcome in outcomes.items() if outcome["failed"]]
    print(f"{output}: {'FAILED: ' + ', '.join(wrong) if wrong else 'all parts succeeded'}")
    return not wrong


def unfit(device: str) -> str | None:
    """Return why nothing can run here, in a line, or None."""
    try:
        import torch

        import litepose_ofa.scripts.command.main  # noqa: F401
    except ImportError as error:
        return f"{sys.executable}: {error}; run make install, or set PYTHON"
    if device == "cuda" and not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} finds no CUDA device; install one built for CUDA, or use --device cpu --quick"
        )
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="The parts of a GPU's benchmark; benchmarks/gpu.sh says more.")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="a tiny network, few steps: does it run?")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="those to run, else all")
    args = parser.parse_args()
    reason = unfit(args.device)
    if reason is not None:
        print(reason, file=sys.stderr)
        sys.exit(2)
    args.output.mkdir(parents=True, exist_ok=True)
    options = [f"--device={args.device}", *(["--quick"] if args.quick else [])]
    names = [name for name in PARTS if name in args.parts]
    patience = 10 if args.quick else 1  # a busy CPU is no failure
    sys.exit(not run_parts(names, args.output.resolve(), options, patience=patience))


if __name__ == "__main__":
    main()
