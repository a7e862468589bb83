"""Leeds Sports Pose in both layouts, by files that SciPy wrote."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from litepose_ofa.supernet.data.imports.lsp import read_lsp, read_lspet
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.errors import InputError

IMAGES = 10
READERS = {"lsp": read_lsp, "lspet": read_lspet}
SHAPES = {"lsp": (3, 14, IMAGES), "lspet": (14, 3, IMAGES)}
Save = Callable[..., Path]


def joints(kind: str) -> Any:
    """Return joints k of image n at (k + 2, n + 3), all with the flag 1, but joint 0 of all images."""
    j, c, n = np.meshgrid(range(14), range(3), range(IMAGES), indexing="ij")
    values = np.choose(c, [j + 2, n + 3, j > 0]).astype(float)
    return values if kind == "lspet" else values.swapaxes(0, 1)


@pytest.fixture
def save(draw: Callable[[Path], Path], tmp_path: Path) -> Save:
    def write(kind: str, values: Any, images: int = IMAGES) -> Path:
        savemat(tmp_path / "joints.mat", {"joints": values})
        for number in range(1, images + 1):
            draw(tmp_path / "images" / (f"im{number:04d}.jpg" if kind == "lsp" else f"im{number:05d}.jpg"))
        return tmp_path

    return write


@pytest.mark.parametrize(("kind", "split", "first"), [("lsp", "test", 6), ("lspet", "val", 10)])
def test_joints_and_splits(save: Save, written: Any, kind: str, split: str, first: int) -> None:
    dataset = READERS[kind](save(kind, joints(kind)))
    train, held_out = written(dataset), written(dataset, split)
    assert (len(train), len(held_out)) == (first - 1, IMAGES - first + 1)
    assert held_out.file_names[0] == (f"im{first:04d}.jpg" if kind == "lsp" else f"im{first:05d}.jpg")
    ((person,), annotations) = held_out.records[0].keypoints, held_out.records.annotations
    named = dict(zip(CROWDPOSE.keypoints, person.tolist(), strict=True))
    y = first + 1  # of image n from 0 the joints are at n + 3, counted from 1
    flagged, unflagged = (1, 2) if kind == "lsp" else (2, 0)
    assert named["right_ankle"] == ([1, y, unflagged] if unflagged else [0, 0, 0])
    for name, place in (("left_ankle", 5), ("right_wrist", 6), ("left_shoulder", 9), ("neck", 12), ("head", 13)):
        assert named[name] == [place + 1, y, flagged]
    low = 1 if unflagged else 2
    margin = 0.12 * (14 - low)
    box = [low - margin, y - margin, 14 - low + 2 * margin, 2 * margin]
    if box[0] < 0:
        box = [0, box[1], box[0] + box[2], box[3]]
    np.testing.assert_allclose(annotations.boxes[0], box, atol=0.011)
    np.testing.assert_allclose(annotations.areas[0], 0.53 * box[2] * box[3], rtol=0.01)


def test_without_a_label_there_is_no_person_and_garbage_is_not_read(save: Save, written: Any) -> None:
    values = joints("lspet")
    values[:, :2, 0], values[:, 2, 0] = np.nan, 0
    dataset = READERS["lspet"](save("lspet", values))
    assert [len(record.keypoints) for record in written(dataset).records] == [0] + [1] * 8


def _without_joints(folder: Path) -> None:
    savemat(folder / "joints.mat", {"other": 1})


def _flag_of_two(folder: Path) -> None:
    values = joints("lspet")
    values[3, 2, 4] = 2
    savemat(folder / "joints.mat", {"joints": values})


def _not_finite(folder: Path) -> None:
    values = joints("lspet")
    values[3, 0, 4] = np.inf
    savemat(folder / "joints.mat", {"joints": values})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "joints.mat").unlink(), "joints.mat: no such file"),
        (lambda folder: (folder / "joints.mat").write_bytes(b"no matrix" * 99), "joints.mat: is not a MATLAB file"),
        (lambda folder: savemat(folder / "joints.mat", {"joints": "text"}), "'joints' is no array of numbers; it must"),
        (_without_joints, "'joints' is no array of numbers; it must be 14 x 3 x the number of images"),
        (
            lambda folder: savemat(folder / "joints.mat", {"joints": joints("lsp")}),
            "'joints' is 3 x 14 x 10; it must be 14",
        ),
        (_flag_of_two, "third value is neither 0 nor 1"),
        (_not_finite, "not finite numbers"),
        (lambda folder: (folder / "images/im00003.jpg").unlink(), "is of 10 images; .*images has 9 files"),
        (lambda folder: (folder / "images/im00003.jpg").write_bytes(b"no"), r"im00003\.jpg: does not decode"),
        (
            lambda folder: (folder / "images/im00003.jpg").rename(folder / "images/im3.jpg"),
            r"im00003\.jpg: cannot be read",
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line(save: Save, damage: Callable[[Path], object], message: str) -> None:
    folder = save("lspet", joints("lspet"))
    damage(folder)
    with pytest.raises(InputError, match=message) as told:
        read_lspet(folder)
    assert "\n" not in str(told.value)
