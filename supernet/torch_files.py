"""Files of ``torch.save``: tensors and plain values, read without executing anything, and state dicts found in them."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litepose_ofa.supernet.errors import InputError, shown
from litepose_ofa.supernet.files import require_regular

WRAPPERS = ("module.", "_orig_mod.", "1.")
"""Prefixes of all keys that data parallelism, ``torch.compile`` and LitePose's own training leave."""

_REFUSED_TYPE = re.compile(r"Unsupported (?:global: GLOBAL|class) (\S+)")


def read_torch_file(path: Path | str) -> Any:
    """Read a ``torch.save`` file of tensors and plain values.

    Raises:
        InputError: If the file is missing, damaged, or holds anything that would execute code.
    """
    require_regular(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that torch may not read
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError and more for damaged files
        refused = _REFUSED_TYPE.search(str(error))
        if refused is not None:
            raise InputError(
                f"{path}: holds more than tensors and plain values: {refused[1]}, which could execute code; "
                "save its state dict alone"
            ) from None
        sentence = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0].partition(". ")[0]
        reason = sentence[:160] or type(error).__name__
        raise InputError(f"{path}: is damaged or holds more than tensors ({reason})") from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that holds a state dict, perhaps under the key ``state_dict``.

    Raises:
        InputError: If the file cannot be read or has no such dict; the message lists what it has.
    """
    value = read_torch_file(path)
    if isinstance(value, Mapping) and isinstance(value.get("state_dict"), Mapping):
        value = value["state_dict"]
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    ):
        found = f"the keys {shown(list(value))}" if isinstance(value, Mapping) else f"one {type(value).__name__}"
        raise InputError(
            f"{path}: holds no state dict (a dict of tensors, or one under the key state_dict); it has {found}"
        )
    return dict(value)


def plain_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip the prefixes that wrappers leave, as often as all names begin with one."""
    prefix = next((prefix for prefix in WRAPPERS if weights and all(name.startswith(prefix) for name in weights)), None)
    if prefix is None:
        return weights
    return plain_names({name.removeprefix(prefix): tensor for name, tensor in weights.items()})
