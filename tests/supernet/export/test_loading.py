"""The lines of docs/export.md that load an export run as they stand, those of ONNX Runtime without this project."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from litepose_ofa.supernet.data.loading.batches import normalise
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.export.bundle import write_bundle
from litepose_ofa.supernet.export.formats import litert_format, ncnn_format, onnx_peaks_format
from litepose_ofa.supernet.network.litepose import LitePose

ROOT = Path(__file__).parents[3]
LINES = 5

BEFORE = """
import sys
import numpy
pixels = numpy.load("pixels.npy")
"""
AFTER = """
numpy.savez("heads.npz", head0, head1)
assert not {"torch", "supernet", "onnx"} & set(sys.modules)
"""


def snippet(file: str) -> str:
    """Return the lines of the page that open a file."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    (found,) = [block for block in blocks if f'"{file}"' in block]
    assert len(found.splitlines()) == LINES
    return str(found)


@pytest.fixture
def pixels(tmp_path: Path) -> Tensor:
    """A picture, also in the file of the tests' folder that the lines are given it by."""
    drawn = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    np.save(tmp_path / "pixels.npy", drawn)
    return normalise(drawn[None])


def run(python: Path | str, file: str, folder: Path, after: str = AFTER) -> None:
    code = BEFORE + snippet(file).replace(f'"{file}"', repr(str(folder / "m" / file))) + after
    code = code.replace('"model.ncnn.bin"', repr(str(folder / "m" / "model.ncnn.bin")))
    done = subprocess.run([str(python), "-I", "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def heads_in(folder: Path) -> list[np.ndarray]:
    with np.load(folder / "heads.npz") as heads:
        return [heads[name] for name in heads.files]


@pytest.mark.parametrize("clean", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["here", "clean"])
def test_onnx_runtime_and_numpy_suffice(
    clean: bool, folder: Path, subnet: LitePose, pixels: Tensor, tmp_path: Path
) -> None:
    (tmp_path / "m").symlink_to(folder)
    python = Path(sys.executable)
    if clean:
        subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
        python = tmp_path / "venv" / "bin" / "python"
        install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
        done = subprocess.run([*install, "onnxruntime", "numpy"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no package index to install from: {' '.join(done.stderr.split())[-200:]}")
    run(python, "model.onnx", tmp_path)
    with torch.inference_mode():
        for ours, theirs in zip(heads_in(tmp_path), subnet(pixels), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_lines_of_the_other_formats_run(subnet: LitePose, pixels: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("ncnn")
    formats = [onnx_peaks_format(), litert_format(), ncnn_format()]
    images = pixels.contiguous().numpy()
    write_bundle(tmp_path / "m", subnet, skeleton=CROWDPOSE, images=images, formats=formats, facts={})
    with torch.inference_mode():
        expected = [head.numpy() for head in subnet(pixels)]
    run(sys.executable, "model.tflite", tmp_path)
    for ours, theirs in zip(heads_in(tmp_path), expected, strict=True):
        np.testing.assert_allclose(ours.transpose(0, 3, 1, 2), theirs, atol=1e-4)
    run(sys.executable, "model.ncnn.param", tmp_path)
    for ours, theirs in zip(heads_in(tmp_path), expected, strict=True):
        np.testing.assert_allclose(ours[None], theirs, atol=0.02 * np.abs(theirs).max())  # ncnn may round to fp16
    run(sys.executable, "model_peaks.onnx", tmp_path, "numpy.savez('heads.npz', scores, locations, tags)\n")
    assert [values.shape[:2] for values in heads_in(tmp_path)] == [(1, 14)] * 3
