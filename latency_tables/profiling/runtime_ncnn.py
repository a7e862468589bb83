"""Exports a kit's models for ncnn, through pnnx."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from latency_tables.profiling.graphs import build_graph
from latency_tables.profiling.subjects import Subject
from supernet.errors import InputError


class NcnnExporter:
    """Writes a ``.param`` and a ``.bin`` file a model, weights in float32.

    From the ONNX graph: pnnx makes the same ncnn layers of it as of the traced torch module, in a fifth of the time.

    Args:
        pnnx: The converter's executable.
    """

    backend = "backend_ncnn.py"

    def __init__(self, pnnx: Path) -> None:
        self._pnnx = pnnx

    def export(self, subject: Subject, stem: Path) -> list[Path]:
        """Convert the ONNX graph of a model.

        Raises:
            RuntimeError: If pnnx does not know what to do with it.
        """
        with TemporaryDirectory() as folder:  # pnnx leaves nine files beside its input
            source = Path(folder) / "model.onnx"
            onnx.save(build_graph(subject), source)
            command = [str(self._pnnx), str(source), "fp16=0"]
            answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            files = []
            for suffix in ("param", "bin"):
                converted, path = source.with_suffix(f".ncnn.{suffix}"), stem.with_name(f"{stem.name}.ncnn.{suffix}")
                if not converted.exists():
                    raise RuntimeError(f"pnnx cannot convert {subject.id}: {answer.stdout}{answer.stderr}")
                path.write_bytes(converted.read_bytes())
                files.append(path)
        return files


def build_exporter() -> NcnnExporter:
    """Return the exporter.

    Raises:
        InputError: If pnnx is not installed.
    """
    try:
        import pnnx
    except ImportError:
        raise InputError("runtime ncnn needs the package pnnx; install the extra 'ncnn'") from None
    return NcnnExporter(Path(pnnx.EXEC_PATH))
