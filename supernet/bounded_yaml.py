"""YAML whose aliases do not multiply: a few hundred bytes of them can stand for more values than a machine holds."""

from typing import Any

import yaml

MOST_VALUES = 10**6
"""Values of a document, each counted as often as aliases repeat it."""


def load_yaml(text: str) -> Any:
    """Return the value of a YAML document, without executing anything it names.

    Raises:
        yaml.YAMLError: If it is not YAML, or aliases make it endless or larger than ``MOST_VALUES`` values.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"its aliases make more than {MOST_VALUES:,} values of it")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values below a node; one that contains itself counts as too many."""
    if id(node) not in known:
        known[id(node)] = MOST_VALUES
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        inner = (part for item in parts for part in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = 1 + sum(_count(part, known) for part in inner)
    return known[id(node)]
