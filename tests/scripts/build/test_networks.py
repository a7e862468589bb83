"""Networks, teachers and what measures them, as the config says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from litepose_ofa.scripts.build.networks import build_device, build_subnet_evaluator, build_teacher
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.network.checkpoints import save_network, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose

Compose = Callable[..., DictConfig]
TINY = SearchSpace.preset("tiny")
CPU = torch.device("cpu")


def test_the_device_and_its_threads(compose_config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_device(compose_config("train", "accelerator=cpu", "threads=1")).type == "cpu"
    assert torch.get_num_threads() == 1
    found = build_device(compose_config("train", "threads=auto"))
    assert found.type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch finds no CUDA device"):
        build_device(compose_config("train", "accelerator=cuda", "threads=1"))


@pytest.mark.parametrize("published", [False, True])
def test_a_teacher_comes_from_a_file(compose_config: Compose, tmp_path: Path, published: bool) -> None:
    torch.manual_seed(0)
    network = LitePose(TINY.largest())
    if published:
        torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pth")
        network.arch.save(tmp_path / "arch.json")
        files = (f"teacher.weights={tmp_path}/weights.pth", f"teacher.arch={tmp_path}/arch.json")
    else:
        save_network(tmp_path / "weights.safetensors", network)
        files = (f"teacher.weights={tmp_path}/weights.safetensors",)
    teacher = build_teacher(compose_config("train", *files), 14, CPU)
    assert teacher is not None
    assert teacher.image_size == network.arch.image_size == 128
    assert weights_digest(teacher.model) == weights_digest(network)


def test_a_teacher_that_does_not_fit_is_refused(compose_config: Compose, tmp_path: Path) -> None:
    def build(*overrides: str) -> object:
        return build_teacher(compose_config("train", *overrides), 14, CPU)

    assert build() is None
    with pytest.raises(InputError, match=r"teacher\.arch is 'a\.json'; it must be null without teacher\.weights"):
        build("teacher.arch=a.json")
    with pytest.raises(InputError, match=r"absent\.safetensors: no such file"):
        build(f"teacher.weights={tmp_path}/absent.safetensors")
    path = tmp_path / "coco.safetensors"
    save_network(path, LitePose(TINY.smallest(), num_keypoints=17))
    with pytest.raises(InputError, match="the teacher has 17 keypoints; the dataset has 14"):
        build(f"teacher.weights={path}")


def test_an_evaluator_follows_the_config(compose_config: Compose, trained: Path) -> None:
    overrides = ("threads=1", "evaluation.bn_images=3", "evaluation.bn_batch_size=2", "evaluation.flip_test=true")
    cfg = compose_config("evaluate", f"workspace={trained}", *overrides)
    evaluator = build_subnet_evaluator(cfg, "search")
    assert evaluator.space == TINY
    assert not evaluator.supernet.training
    assert evaluator.settings.flip_test
    assert (len(evaluator.dataset), evaluator.batch_size) == (4, 25)
    assert (evaluator.calibration.num_images, evaluator.calibration.batch_size) == (2, 2)
    assert len(evaluator.calibration.dataset) == 12
