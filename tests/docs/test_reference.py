"""The generated reference: equal to what its generator writes now, complete, and with examples that run."""

import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from litepose_ofa.scripts.command.table import VERBS


@pytest.fixture(scope="module")
def generator(root: Path) -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root / "docs" / "generator")
        yield {name: importlib.import_module(name) for name in ("generate_reference", "config_files")}


def test_generating_it_again_changes_nothing(generator: dict[str, ModuleType]) -> None:
    pages = generator["generate_reference"].pages()
    changed = [path.name for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    assert changed == [], "run: python docs/generator/generate_reference.py"
    assert {"python.md", *(path.name for path in pages)} == {path.name for path in next(iter(pages)).parent.iterdir()}


def test_every_config_is_in_it(root: Path) -> None:
    reference = root / "docs" / "reference"
    commands, groups = (reference / f"{name}.md" for name in ("commands", "groups"))
    assert all(f"### litepose {verb}\n" in commands.read_text() for verb in VERBS)
    assert "?." not in commands.read_text()
    options = list((root / "conf").glob("*/*.yaml"))
    assert len(options) > 20
    assert [path.name for path in options if f"### {path.parent.name}={path.stem}\n" not in groups.read_text()] == []


def test_every_key_with_its_comments_is_read(generator: dict[str, ModuleType], tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(
        "# What it\n# is.\ndefaults:\n  - base\n  - device: pi\n  - _self_\n\n"
        "steps: 3      # of a step,\n              # and more\n# About two.\nouter:        # holds\n  first: {a: 1}\n"
        "  # About one.\n  second: x # y\nhydra:\n  run: 1\nlast: ${.x}/y\n"
    )
    config = generator["config_files"].read_config(path)
    assert (config.head, config.groups, config.builds_on) == ("What it\nis.", {"device": "pi"}, ("base",))
    assert [(key.name, key.default, key.comment, key.heading) for key in config.keys] == [
        ("steps", "3", "of a step, and more", ""),
        ("outer", None, "holds", "About two."),
        ("outer.first", "{a: 1}", "", ""),
        ("outer.second", "x", "y", "About one."),
        ("last", "${.x}/y", "", ""),
    ]


def test_the_examples_of_the_python_names_run(root: Path) -> None:
    page = (root / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto\w+:: ([\w.]+)\.(\w+)$", page, re.MULTILINE)
    modules = {getattr(importlib.import_module(module), name).__module__ for module, name in named}
    results = {name: doctest.testmod(importlib.import_module(name)) for name in sorted(modules)}
    assert {name: result.failed for name, result in results.items() if result.failed} == {}
    assert sum(result.attempted for result in results.values()) > 20
