"""The ``augmentation`` block of the ``training`` group becomes the settings of its three parts."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig, OmegaConf

from litepose_ofa.scripts.build import builders
from litepose_ofa.supernet.data.augmentation import Augmentation, ColourJitter, RandomErasing
from litepose_ofa.supernet.errors import InputError

Compose = Callable[..., DictConfig]


def test_the_published_block_is_the_default(compose_config: Compose) -> None:
    assert builders.build_augmentation(compose_config("train", "space=litepose")) == Augmentation()


def test_colours_and_rectangles_are_switched_on(compose_config: Compose) -> None:
    block = "training.augmentation"
    changes = (f"{block}.colour.hue_degrees=18", f"{block}.erasing.probability=0.5", f"{block}.erasing.fill=mean")
    built = builders.build_augmentation(compose_config("train", "space=tiny", *changes))
    assert built.colour == ColourJitter(hue_degrees=18)
    assert built.erasing == RandomErasing(probability=0.5, fill="mean")
    assert built.rotation_degrees == 0


def test_a_block_without_the_optional_parts_leaves_them_off(compose_config: Compose) -> None:
    cfg = compose_config("train", "space=litepose")
    OmegaConf.set_struct(cfg, False)
    for name in ("colour", "erasing", "mask_padding"):
        del cfg.training.augmentation[name]
    assert builders.build_augmentation(cfg) == Augmentation()


@pytest.mark.parametrize("change", ["colour.brightness=2", "colour=null", "erasing.fill=white", "+erasing.colour=1"])
def test_errors_name_the_key(compose_config: Compose, change: str) -> None:
    plus, name = ("+", change[1:]) if change.startswith("+") else ("", change)
    cfg = compose_config("train", "space=litepose", f"{plus}training.augmentation.{name}")
    with pytest.raises(InputError, match=f"training.augmentation.{name.partition('=')[0]}"):
        builders.build_augmentation(cfg)
