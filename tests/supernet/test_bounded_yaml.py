"""YAML aliases: honest ones are read, and no document is larger than what it is written in by more than a bound."""

import pytest
import yaml

from litepose_ofa.supernet.bounded_yaml import load_yaml

HONEST = "a: &x [1, {b: null}]\nc: *x\nd: {e: *x, f: 1.5, g: 'yes'}\n"


@pytest.mark.parametrize("text", ["", "3", "[]", HONEST, "&a [1, 2]", "- 1\n- - 2\n"])
def test_a_document_is_what_yaml_says(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)


def test_aliases_that_multiply_are_refused() -> None:
    lists = ["&a [x, x, x, x, x, x, x, x, x]"]
    lists += [f"&{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]" for i in range(8)]
    with pytest.raises(yaml.YAMLError, match="its aliases make more than 1,000,000 values of it"):
        load_yaml(f"device: [{', '.join(lists)}]")


def test_what_contains_itself_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="its aliases make more than"):
        load_yaml("&a [*a]")
