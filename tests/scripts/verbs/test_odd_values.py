"""Odd values of keys drawn at random, for every verb that works on people: a result, or one line that names the key."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from litepose_ofa.scripts.command.app import CONFIG_DIR

pytestmark = pytest.mark.slow

VALUES = ("null", "-1", "0", "1.5", "nan", "1e400", "true", "", "[1,2]", "abc", "99999999999999999999", "{a:1}")
PLACES = frozenset({"workspace", "run_folder", "data_root", "dataset.root", "output"})
"""Keys whose odd values would be folders of that name."""

QUICK = ("threads=1", "evaluation.bn_images=4", "evaluation.bn_batch_size=2")
BRIEF = ("training.steps=2", "training.batch_size=2", "training.validate_every=0", "training.checkpoint_every=1")
VERBS: dict[str, tuple[str, ...]] = {
    "train": (*QUICK, *BRIEF),
    "search": ("evaluator=published", "device=jetson_nano", "search.first=8", "search.generations=0"),
    "export": (*QUICK, "arch=smallest", "resamples=5", "checked_images=1", "calibration_images=2"),
    "sample": (*QUICK, "num_subnets=2"),
    "evaluate": (*QUICK, "arch=smallest", "resamples=5"),
    "generate_people": ("images.train=1", "images.search=1", "images.val=1", "workers=1"),
    "check_dataset": ("samples=1",),
    "finetune": (*QUICK, *BRIEF, "arch=smallest", "share=1"),
    "predict": ("threads=1", "arch=smallest"),
}
KEYS, VALUES_OF_A_KEY = 3, 4


def drawn(script: str) -> list[tuple[str, str]]:
    """Keys and values of a script's config, drawn by a seed of its own."""
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        config = OmegaConf.to_container(compose(script))
    rng = random.Random(script)
    keys = rng.sample([key for key in leaves(config) if key not in PLACES], KEYS)
    return [(key, value) for key in keys for value in rng.sample(VALUES, VALUES_OF_A_KEY)]


def leaves(value: Any, key: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [key]
    return list(itertools.chain(*(leaves(item, f"{key}.{name}".lstrip(".")) for name, item in value.items())))


@pytest.mark.parametrize("script", VERBS)
def test_odd_values(run_script: Any, trained: Path, data_root: Path, own_data_root: Path, script: str) -> None:
    command: tuple[str, ...] = (f"workspace={trained}", *VERBS[script])
    if script == "predict":
        people = data_root / "people" / "images" / "val"
        command += (f"input={people}", f"model={trained / 'supernet' / 'supernet.safetensors'}")
    for number, (key, value) in enumerate(drawn(script)):
        places = [f"run_folder=odd/{number}", f"data_root={own_data_root / str(number)}"]
        options = places if script == "generate_people" else places[:1]
        outcome = run_script(script, *command, *options, f"{key}={value}")
        told = f"{script} {key}={value}: {outcome.stderr}"
        assert outcome.status in (0, 2), told
        if outcome.status == 2:
            (line,) = (line for line in outcome.stderr.splitlines() if line.startswith("error: "))
            assert key.rpartition(".")[2] in line or value in line, told
