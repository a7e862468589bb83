"""The benchmark of the training step runs, and its variants differ in what they leave out."""

import argparse

import pytest
import torch
import training_step

from litepose_ofa.supernet.network import cpu_kernels


@pytest.mark.usefixtures("needs_compiler")
def test_all_variants_are_timed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def fake(steps: dict[str, object], rounds: int, device: torch.device) -> dict[str, float]:
        """Run each once and note whether the compiled functions were at hand."""
        for name, step in steps.items():
            before = len(calls)
            step()  # type: ignore[operator]
            assert (len(calls) > before) == name.startswith(("(b)", "(c)")), name
        return dict.fromkeys(steps, 1.0)

    real = cpu_kernels._call
    monkeypatch.setattr(cpu_kernels, "_call", lambda name, arguments: (calls.append(name), real(name, arguments))[1])
    monkeypatch.setattr(training_step, "median_seconds", fake)
    args = argparse.Namespace(arch="search-XS", size=256, batch=1, rounds=1)
    training_step.time_steps(args, torch.device("cpu"))
    printed = capsys.readouterr().out
    assert all(f"({variant})" in printed for variant in "abcd")
