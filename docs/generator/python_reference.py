"""The reference of the names to script against, from their signatures and docstrings."""

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from docstrings import to_markdown

WIDTH = 110

NAMES = (
    "litepose_ofa.supernet.archs.arch.Arch",
    "litepose_ofa.supernet.archs.space.SearchSpace",
    "litepose_ofa.supernet.network.litepose.LitePose",
    "litepose_ofa.supernet.network.elastic_litepose.LitePoseSupernet",
    "litepose_ofa.supernet.network.extract.extract_subnet",
    "litepose_ofa.supernet.network.checkpoints.load_weights",
    "litepose_ofa.supernet.network.checkpoints.load_subnet",
    "litepose_ofa.supernet.network.checkpoints.load_supernet",
    "litepose_ofa.supernet.archs.complexity.measure_complexity",
    "litepose_ofa.supernet.archs.complexity.Complexity",
    "litepose_ofa.supernet.codec.decode_people",
    "litepose_ofa.supernet.evaluation.evaluate_keypoints",
    "litepose_ofa.supernet.errors.InputError",
    "litepose_ofa.supernet.errors.InfeasibleBudgetError",
    "latency_tables.LatencyTable",
    "latency_tables.LatencyEstimate",
    "latency_tables.OperatorLatency",
    "litepose_ofa.latency_tables.coverage.coverage",
    "litepose_ofa.search.genome.GenomeCodec",
    "litepose_ofa.search.costs.model.CostModel",
    "litepose_ofa.search.study.optuna_sampler.StageAwareSampler",
    "litepose_ofa.search.study.ray_tune_search.GenerationSearcher",
)

CALLED_BY_FRAMEWORKS = ("StageAwareSampler", "GenerationSearcher")
"""Classes whose methods are Optuna's and Ray Tune's to call."""

HEAD = """\
# Python

The names to script against. Those with an example are kept: their arguments stay, more may be added with defaults.
In shapes B is the batch, N people, K keypoints, H and W a map's height and width.
"""


def page() -> str:
    """Return the page."""
    return "\n\n".join([HEAD.strip(), *(part for name in NAMES for part in _described(name))]) + "\n"


def resolve(dotted: str) -> Any:
    """Return what a dotted name of a module's attribute names."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _described(dotted: str) -> Iterator[str]:
    value = resolve(dotted)
    yield f"## {dotted}"
    if not inspect.isclass(value):
        yield _code(_signature(value.__name__, _definition(value)))
        yield to_markdown(inspect.getdoc(value) or "")
        return
    yield _code(_class_signature(value))
    yield to_markdown(inspect.getdoc(value) or "")
    for name, member in () if value.__name__ in CALLED_BY_FRAMEWORKS else _members(value):
        yield f"### {value.__name__}.{name}"
        if isinstance(member, str):
            yield to_markdown(member)
        else:
            yield _code(_signature(f"{value.__name__}.{name}", _definition(member)))
            yield to_markdown(inspect.getdoc(member) or "")


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield public methods as functions, and properties as their docstrings, in the order of the source."""
    for name, raw in vars(cls).items():
        if name.startswith("_"):
            continue
        value = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
        if inspect.isfunction(value) and not _is_generated(value):
            yield name, value
        elif not inspect.isfunction(value) and not inspect.isclass(value) and inspect.isfunction(_getter(value)):
            yield name, inspect.cleandoc(_getter(value).__doc__ or "")


def _getter(value: Any) -> Any:
    return getattr(value, "fget", None) or getattr(value, "func", None)


def _is_generated(function: Any) -> bool:
    return str(function.__code__.co_filename).startswith("<")


def _definition(function: Any) -> ast.FunctionDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node


def _signature(name: str, node: ast.FunctionDef) -> str:
    positional = node.args.posonlyargs or node.args.args
    if positional and positional[0].arg in ("self", "cls"):
        positional.pop(0)
    arguments = _arguments(node.args)
    returns = "" if node.returns is None or node.name == "__init__" else ast.unparse(node.returns).strip("'")
    return _wrapped(name, arguments, f" -> {returns}" if returns else "")


def _arguments(arguments: ast.arguments) -> list[str]:
    found = [(argument, None) for argument in (*arguments.posonlyargs, *arguments.args)]
    defaults = [None] * (len(found) - len(arguments.defaults)) + list(arguments.defaults)
    shown = [_argument(argument, default) for (argument, _), default in zip(found, defaults, strict=True)]
    if arguments.vararg:
        shown.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        shown.append("*")
    shown += [_argument(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [*shown, f"**{ast.unparse(arguments.kwarg)}"] if arguments.kwarg else shown


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else "")


def _class_signature(cls: type) -> str:
    if "__init__" in vars(cls) and not _is_generated(vars(cls)["__init__"]):
        return _signature(cls.__name__, _definition(vars(cls)["__init__"]))
    node = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(node, ast.ClassDef)
    return _wrapped(cls.__name__, [ast.unparse(field) for field in node.body if isinstance(field, ast.AnnAssign)], "")


def _wrapped(name: str, arguments: list[str], returns: str) -> str:
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {argument}," for argument in arguments), f"){returns}"])


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
