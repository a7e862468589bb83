"""The command line that Hydra gets: text stays text, keys are known, one line says what is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from litepose_ofa.scripts.command.app import CONFIG_DIR
from litepose_ofa.scripts.command.help import composed_groups
from litepose_ofa.scripts.settings.config import checked_config
from litepose_ofa.scripts.settings.overrides import Keys, prepare
from litepose_ofa.scripts.verbs.export import ExportVerb
from litepose_ofa.scripts.verbs.predict import PredictVerb
from litepose_ofa.scripts.verbs.report import ReportVerb
from litepose_ofa.scripts.verbs.search import SearchVerb
from litepose_ofa.scripts.verbs.train import TrainVerb
from litepose_ofa.supernet.errors import InputError

Compose = Callable[..., DictConfig]
MODELS: dict[str, Any] = {"search": SearchVerb, "train": TrainVerb, "predict": PredictVerb, "export": ExportVerb}


def prepared(config: str, *arguments: str) -> list[str]:
    return prepare(arguments, Keys(MODELS[config], composed_groups(config)))


def read(config: str, *arguments: str) -> Any:
    """The checked config of a command line."""
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return checked_config(compose(config, prepared(config, *arguments)), MODELS[config])


@pytest.mark.parametrize(
    "text",
    [
        *("2024", "855", "1.10", "12345e7", "0123", "1_000", "true", "nan", "-1", "0x1F"),
        *("größe.jpg", "李明.jpg", "photo (1).jpg", "a,b.jpg", "a=b.jpg", "a#1.jpg", "Anna's.jpg", "[x].jpg", "{x"),
        *('a"b', "back\\slash", "trailing\\", "a!b", "x:y", "$HOME", " spaces "),
    ],
)
def test_a_path_is_the_text_that_was_typed(text: str) -> None:
    assert read("predict", f"input={text}", "model=m").input == text


@pytest.mark.parametrize("name", ["2024", "1.10", "12345e7", "0123", "true", "größe"])
def test_a_name_is_the_text_that_was_typed(name: str) -> None:
    cfg = read("search", f"tier={name}", f"device.name={name}", f"devices=[{name},b]")
    assert (cfg.tier, cfg.device.name, list(cfg.devices)) == (name, name, [name, "b"])


def test_a_sweep_over_text_is_a_list_of_texts() -> None:
    (sweep, flag) = reversed(prepared("search", "tier=xs,1.10,'a,b',855", "-m"))
    assert flag == "-m"
    override = OverridesParser.create().parse_override(sweep)
    assert list(override.sweep_string_iterator()) == ["xs", "'1.10'", "'a,b'", "'855'"]
    typed = ["-m", "device=glob(*)", "tier=choice(s,m)"]
    assert prepared("search", *typed) == typed


def test_what_was_typed_plainly_stays_as_it_is_and_options_may_stand_anywhere() -> None:
    typed = ["training.steps=4", "workspace=runs/one", "recipe=sandwich", "seed=3", "~recipe.phases.sandwich"]
    assert prepared("train", *typed) == typed
    arguments = ["seed=1", "-m", "tier=s", "--config-dir", "own", "goal=front"]
    assert prepared("search", *arguments) == ["-m", "--config-dir", "own", "seed=1", "tier=s", "goal=front"]


def test_only_what_stands_alone_is_a_workspace(tmp_path: Path) -> None:
    keys = Keys(ReportVerb, composed_groups("report"), takes_workspace=True)
    options = ["-m", "--config-dir", "own"]
    assert prepare([*options, "~samples", str(tmp_path)], keys) == [*options, "~samples", f"workspace={tmp_path}"]
    with pytest.raises(InputError, match="nowhere: no such folder"):
        prepare([str(tmp_path / "nowhere")], keys)


def test_the_home_folder_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    cfg = read("predict", "input=~/x y", "model=~", "output=o")
    assert (cfg.input, cfg.model) == ("/home/anna/x y", "/home/anna")


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("traning.steps=2", "unknown key traning.steps; did you mean training.steps?"),
        ("steps=2", "unknown key steps; did you mean training.steps?"),
        ("lr=0.1", "unknown key lr; did you mean training.learning_rate.peak?"),
        ("batch_size=2", "unknown key batch_size; did you mean evaluation.batch_size or training.batch_size?"),
        ("device=cuda", "unknown key device; did you mean accelerator?"),
        ("+tune=asha", "unknown key tune"),
        ("~training.stepz", "unknown key training.stepz"),
        ("training=[1,2]", "training is '[1,2]'; it must be the name of an option"),
        ("space=null", "space is 'null'; it must be the name of an option"),
        ("recipe=single,sandwich,", "recipe=single,sandwich,: cannot be read"),
        ("foo", "foo: not of the form key=value"),
        ("training.steps=größe", "training.steps=größe: cannot be read; a value of other characters"),
        ("training.optimizer=adam,sgd", "training.optimizer=adam,sgd: several values are a sweep, which needs -m"),
    ],
)
def test_what_cannot_be_meant_is_one_line(argument: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        prepared("train", argument)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("workspace=", "workspace is ''; it must be a path"),
        ("dataset.val=5", "dataset.val is 5; it must be a mapping with the keys annotations, images, "),
        ("tier=../m", r"tier is '\.\./m'; it must be a name"),
        ("device.name=a/b", "device.name is 'a/b'; it must be a name"),
        ("dataset.name=../a", r"dataset.name is '\.\./a'; it must be a name"),
        ("seed=99999999999999999999", "seed is 99999999999999999999; it must be an integer from 0 to 4294967295"),
        (
            "threads=100000",
            r"threads is 100000; it must be one of auto or an integer from 1 to \d+ \(this machine has \d+ cores\)",
        ),
        ("~people_per_frame", "people_per_frame is missing"),
        ("devices=[]", r"devices is \[\]; it must be a list of at least 1 names of up to"),
    ],
)
def test_a_value_that_cannot_be_is_one_line(argument: str, told: str) -> None:
    with pytest.raises(InputError, match=f"^{told}"):
        read("search", argument)


def test_one_value_stands_for_a_list_of_it() -> None:
    assert list(read("export", "formats=onnx").formats) == ["onnx"]
    assert list(read("search", "devices=jetson_nano").devices) == ["jetson_nano"]
    assert list(read("search", "evaluation.scales=1").evaluation.scales) == [1]


def test_a_name_in_a_config_file_may_be_an_integer_but_no_other_number(compose_config: Compose) -> None:
    assert checked_config(compose_config("search", "device.name=855"), SearchVerb).device.name == "855"
    with pytest.raises(InputError, match=r"^device.name is 1\.1; it must be a name"):
        checked_config(compose_config("search", "device.name=1.10"), SearchVerb)


@pytest.mark.parametrize("key", ["training.augmentation.colour.brigthness", "recipe.phases.sandwich.elastics", "sed"])
def test_an_unknown_key_of_a_config_file_is_refused_at_every_level(compose_config: Compose, key: str) -> None:
    with pytest.raises(InputError, match=f"^unknown key {key}; the keys are "):
        checked_config(compose_config("train", f"+{key}=1"), TrainVerb)


def test_interpolations_are_resolved_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "${oc.env:SECRET}")
    monkeypatch.setenv("SECRET", "hunter2")
    cfg = read("search", "workspace='${oc.env:WHERE}'")
    assert cfg.workspace == "${oc.env:SECRET}"


def test_numbers_stay_as_they_were_written() -> None:
    cfg = read("train", "training.learning_rate.peak=1", "training.loss.sigmas=[1,2]")
    assert (type(cfg.training.learning_rate.peak), type(cfg.training.loss.sigmas[0])) == (int, int)
