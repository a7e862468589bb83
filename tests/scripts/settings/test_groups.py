"""Groups as Hydra's users know them: experiments, options that go by the space, configs of one's own, notebooks."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from litepose_ofa.scripts.build.data import build_splits
from litepose_ofa.search.workspace import Workspace

SPACE = "defaults: [tiny]\nname: mine\nimage_sizes: [96]\n"
EXPERIMENT = "# @package _global_\ndefaults: [override /space: mine]\nseed: 7\ntraining: {steps: 11}\nsamples: 3\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a space and an experiment of one's own."""
    for name, content in {"space": SPACE, "experiment": EXPERIMENT}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.yaml").write_text(content)
    return tmp_path


def job(run_script: Any, verb: str, *arguments: str) -> Any:
    """The config that a verb would run with, as ``--cfg job`` prints it."""
    return OmegaConf.create(run_script(verb, "--cfg", "job", *arguments).printed)


@pytest.mark.parametrize(
    ("options", "small"),
    [
        (("space=tiny", "dataset=coco"), True),
        (("space=litepose_released",), False),
        (("space=litepose", "training=tiny", "evaluation=tiny"), True),
    ],
)
def test_a_shipped_space_brings_its_training_and_evaluation_unless_others_are_named(
    run_script: Any, options: tuple[str, ...], small: bool
) -> None:
    cfg = job(run_script, "train", *options)
    assert (cfg.training.steps, cfg.evaluation.flip_test) == ((1400, False) if small else (440000, True))
    assert cfg.training.learning_rate.milestones == (None if small else [0.7, 0.96])


def test_a_space_of_one_s_own_needs_nothing_more(run_script: Any, own: Path) -> None:
    cfg = job(run_script, "train", "--config-dir", str(own), "space=mine")
    assert (cfg.space.name, cfg.training.steps, cfg.evaluation.flip_test) == ("mine", 440000, True)
    for group in ("training", "evaluation"):
        (own / group).mkdir()
        (own / group / "mine.yaml").write_text("defaults: [tiny]\n")
    cfg = job(run_script, "train", "--config-dir", str(own), "space=mine")
    assert (cfg.training.steps, cfg.evaluation.flip_test) == (1400, False)


@pytest.mark.parametrize("verb", ["train", "fit"])
@pytest.mark.parametrize(
    ("experiment", "names"),
    [("demo", ("tiny", "people")), ("coco", ("litepose", "coco")), ("crowdpose", ("litepose", "crowdpose"))],
)
def test_an_experiment_is_a_whole_job(run_script: Any, verb: str, experiment: str, names: tuple[str, str]) -> None:
    cfg = job(run_script, verb, f"experiment={experiment}")
    assert (cfg.space.name, cfg.dataset.name) == names


def test_an_experiment_of_one_s_own_may_hold_keys_of_several_verbs(run_script: Any, own: Path, tmp_path: Path) -> None:
    command = ("--config-dir", str(own), "experiment=mine", f"workspace={tmp_path / 'run'}")
    assert run_script("check_dataset", *command).status == 0
    config = OmegaConf.load(tmp_path / "run" / "dataset_check" / "run.json").config
    assert (config.seed, config.samples, "training" in config) == (7, 3, False)
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\nsead: 7\n")
    assert "unknown key sead; the keys are seed, " in run_script("check_dataset", *command).stderr


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("space=foo", "error: space is 'foo'; it must be one of litepose, litepose_released, small, tiny\n"),
        ("evaluation=foo", "error: evaluation is 'foo'; it must be one of litepose, small, tiny\n"),
        ("experiment=foo", "error: experiment is 'foo'; it must be one of coco, crowdpose, demo\n"),
        ("device=cuda", "to compute on it: accelerator=cuda\n"),
    ],
)
def test_an_unknown_option_is_one_line(run_script: Any, tmp_path: Path, argument: str, told: str) -> None:
    outcome = run_script("search", f"workspace={tmp_path}", argument)
    assert (outcome.status, told in outcome.stderr, outcome.stderr.count("\n")) == (2, True, 1)


def test_a_space_of_one_s_own_is_seen_by_every_key(run_script: Any, own: Path, tmp_path: Path) -> None:
    small = ("sample=0.02", "networks=1", f"output={tmp_path / 'kit'}", f"workspace={tmp_path / 'run'}")
    assert run_script("profile", "--config-dir", str(own), "spaces=[mine]", *small).status == 0
    told = "error: space is 'none'; it must be one of litepose, litepose_released, mine, small, tiny\n"
    assert run_script("profile", "--config-dir", str(own), "spaces=[none]", *small).stderr == told


def test_a_verb_composes_the_groups_that_it_reads(run_script: Any) -> None:
    assert "evaluation" not in job(run_script, "fit")
    assert "unknown key evaluation" in run_script("fit", "evaluation=tiny").stderr


def test_configs_are_composed_in_a_notebook(data_root: Path) -> None:
    with initialize_config_module("litepose_ofa.conf", version_base="1.3"):
        cfg = compose("search", ["device=jetson_nano", "tier=s", f"data_root={data_root}"])
    assert Path(cfg.workspace, cfg.run_folder) == Workspace(Path("runs/tiny-people")).search("jetson_nano", "s")
    assert len(build_splits(cfg).load("val")) == 4
