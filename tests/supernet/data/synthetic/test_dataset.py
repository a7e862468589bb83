import contextlib
import dataclasses
import hashlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import pytest
from pycocotools import coco as coco_api

from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.skeletons import COCO, CROWDPOSE, Skeleton
from litepose_ofa.supernet.data.synthetic import dataset as synthetic
from litepose_ofa.supernet.data.synthetic.dataset import CHUNK, PeopleSettings, generate_split, split_paths
from litepose_ofa.supernet.errors import InputError

SMALL = PeopleSettings(image_size=(96, 64))
STREET = dataclasses.replace(
    SMALL,
    people=(1, 4),
    person_height=(0.2, 0.9),
    crowd_index=((0.0, 0.2), (0.2, 0.8), (0.8, 1.0)),
    crowd_regions=0.5,
    truncated=0.2,
    varied_looks=True,
    self_occlusion=True,
    clutter=0.5,
)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_a_split_is_a_coco_folder(tmp_path: Path, skeleton: Skeleton) -> None:
    assert generate_split(tmp_path, "val", 6, 0, SMALL, skeleton) == 6
    annotations, images = split_paths(tmp_path, "val")
    with contextlib.redirect_stdout(io.StringIO()):
        api = coco_api.COCO(str(annotations))
    assert api.getImgIds() == [1, 2, 3, 4, 5, 6]
    assert api.loadCats(api.getCatIds(catNms=["person"]))[0]["keypoints"] == list(skeleton.keypoints)
    for annotation in api.loadAnns(api.getAnnIds()):
        assert annotation["num_keypoints"] == np.count_nonzero(annotation["keypoints"][2::3]) > 0
        assert 0 < annotation["area"] <= annotation["bbox"][2] * annotation["bbox"][3]
    assert all(0 <= picture["crowdIndex"] <= 1 for picture in api.loadImgs(api.getImgIds()))
    dataset = KeypointDataset.load(annotations, images, skeleton)
    assert [dataset.read_image(index).shape for index in range(6)] == [(64, 96, 3)] * 6
    assert all(len(record.keypoints) and not record.ignore for record in dataset.records)


def test_the_same_seed_gives_the_same_bytes_and_any_part_of_a_split(tmp_path: Path) -> None:
    for name, count, seed in (("a", 5, 0), ("b", 5, 0), ("short", 3, 0), ("other", 5, 1)):
        generate_split(tmp_path / name, "train", count, seed, SMALL, CROWDPOSE)
    whole = digests(tmp_path / "a")
    assert digests(tmp_path / "b") == whole
    short, other = digests(tmp_path / "short"), digests(tmp_path / "other")
    assert all(short[name] == whole[name] for name in short if name.endswith(".jpg"))
    assert not set(other.values()) & set(whole.values())
    generate_split(tmp_path / "a", "val", 5, 0, SMALL, CROWDPOSE)
    assert len(set(digests(tmp_path / "a").values())) == 12, "splits share no image"


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        generate_split(tmp_path / name, "train", CHUNK + 8, 0, STREET, CROWDPOSE, workers=workers)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def interrupt(done: int) -> None:
    raise KeyboardInterrupt


def test_a_lost_renderer_is_one_line_and_what_is_rendered_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking:
        """A pool that renders one chunk and loses a process over the next."""

        def __init__(self, workers: int, context: object, *, initializer: object) -> None:
            pass

        def map(self, render: Callable[[Sequence[int]], Any], chunks: Sequence[Sequence[int]]) -> Iterator[Any]:
            yield render(chunks[0])
            raise BrokenProcessPool("A process in the process pool was terminated abruptly")

        def shutdown(self, *, cancel_futures: bool) -> None:
            """Nothing is left."""

    monkeypatch.setattr(synthetic, "ProcessPoolExecutor", Breaking)
    with pytest.raises(InputError, match=r"one of 2 rendering processes was lost .* the same command goes on"):
        generate_split(tmp_path, "train", CHUNK + 1, 0, SMALL, CROWDPOSE, workers=2)
    assert generate_split(tmp_path, "train", CHUNK + 1, 0, SMALL, CROWDPOSE) == 1


def test_an_interrupted_split_goes_on_and_a_finished_one_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        generate_split(tmp_path / "a", "train", CHUNK + 5, 0, SMALL, CROWDPOSE, on_progress=interrupt)
    assert not split_paths(tmp_path / "a", "train")[0].exists()
    done: list[int] = []
    assert generate_split(tmp_path / "a", "train", CHUNK + 5, 0, SMALL, CROWDPOSE, on_progress=done.append) == 5
    assert done == [CHUNK, 5]
    generate_split(tmp_path / "b", "train", CHUNK + 5, 0, SMALL, CROWDPOSE)
    finished = digests(tmp_path / "a")
    assert finished == digests(tmp_path / "b")
    assert generate_split(tmp_path / "a", "train", CHUNK + 5, 0, SMALL, CROWDPOSE) == 0
    assert digests(tmp_path / "a") == finished


@pytest.mark.parametrize(("file", "cut"), [("val.json", 0), ("val.json", 100), ("000002.jpg", 0), ("000002.jpg", None)])
def test_a_finished_split_that_is_not_whole_is_written_again(tmp_path: Path, file: str, cut: int | None) -> None:
    generate_split(tmp_path, "val", 3, 0, SMALL, CROWDPOSE)
    finished = digests(tmp_path)
    (path,) = tmp_path.rglob(file)
    path.unlink() if cut is None else os.truncate(path, cut)
    assert generate_split(tmp_path, "val", 3, 0, SMALL, CROWDPOSE) == 3
    assert digests(tmp_path) == finished


@pytest.mark.parametrize("change", ["image", "absent", "chunk", "foreign", "seed", "settings", "count", "poses"])
def test_a_chunk_is_believed_only_if_all_of_it_holds(
    tmp_path: Path, change: str, reference_path: Callable[[str], Path]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        generate_split(tmp_path / "a", "val", 4, 0, SMALL, CROWDPOSE, on_progress=interrupt)
    image = split_paths(tmp_path / "a", "val")[1] / "000002.jpg"
    (chunk,) = tmp_path.rglob(".val.chunks/*.json")
    real = reference_path("data/crowdpose_val.json") if change == "poses" else None
    match change:
        case "image":
            image.write_bytes(image.read_bytes()[:-7])
        case "absent":
            image.unlink()
        case "chunk":
            chunk.write_text(chunk.read_text()[:100])
        case "foreign":
            chunk.write_text("[]")
    settings = dataclasses.replace(SMALL, grain=0) if change == "settings" else SMALL
    count, seed, poses = 3 if change == "count" else 4, int(change == "seed"), real
    assert generate_split(tmp_path / "a", "val", count, seed, settings, CROWDPOSE, poses_from=poses) == count
    if count < 4:
        image.with_name("000004.jpg").unlink()
    generate_split(tmp_path / "b", "val", count, seed, settings, CROWDPOSE, poses_from=poses)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


KILLED = """
import sys
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split

if __name__ == "__main__":
    settings = PeopleSettings(image_size=(96, 64))
    show = lambda done: print(done, flush=True)
    generate_split(sys.argv[1], "train", 3000, 0, settings, CROWDPOSE, workers=int(sys.argv[2]), on_progress=show)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path, workers: int) -> None:
    script = tmp_path / "render.py"
    script.write_text(KILLED)
    with subprocess.Popen([sys.executable, str(script), str(tmp_path / "a"), str(workers)], stdout=PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"%d\n" % CHUNK
        process.kill()
        process.communicate(timeout=60)  # ends when the last worker has closed its end of the pipe
    assert process.returncode == -signal.SIGKILL
    count = 3 * CHUNK
    assert generate_split(tmp_path / "a", "train", count, 0, SMALL, CROWDPOSE) < count, "finished chunks are kept"
    generate_split(tmp_path / "b", "train", count, 0, SMALL, CROWDPOSE)
    whole, killed = digests(tmp_path / "b"), digests(tmp_path / "a")
    assert {name: digest for name, digest in killed.items() if name in whole} == whole
    assert all(name.endswith(".jpg") for name in killed.keys() - whole.keys()), "images of the longer run alone"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_crowds_are_annotated_as_masks(tmp_path: Path) -> None:
    generate_split(tmp_path, "val", 24, 0, STREET, CROWDPOSE)
    annotations, images = split_paths(tmp_path, "val")
    with contextlib.redirect_stdout(io.StringIO()):
        api = coco_api.COCO(str(annotations))
    dataset = KeypointDataset.load(annotations, images, CROWDPOSE)
    crowds = api.loadAnns(api.getAnnIds(iscrowd=True))
    assert 4 < len(crowds) < 20
    assert len(set(api.getAnnIds())) == len(api.getAnnIds())
    for crowd in crowds:
        mask = api.annToMask(crowd)
        assert mask.sum() == crowd["area"] > 0
        rows, columns = np.nonzero(mask)
        assert crowd["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        record = next(record for record in dataset.records if record.id == crowd["image_id"])
        np.testing.assert_array_equal(record.ignore.draw(96, 64), mask)
    levels = np.digitize([picture["crowdIndex"] for picture in api.loadImgs(api.getImgIds())], [0.2, 0.8])
    assert set(levels) == {0, 1, 2}


def test_what_cannot_be_rendered_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split 'val' has 0 images"):
        generate_split(tmp_path, "val", 0, 0, SMALL, CROWDPOSE)
    with pytest.raises(InputError, match="no such file"):
        generate_split(tmp_path, "val", 3, 0, SMALL, CROWDPOSE, poses_from=tmp_path / "absent.json")
    assert not list(tmp_path.iterdir())
