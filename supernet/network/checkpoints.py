"""Weights on disk: supernets and subnets as safetensors with their description, and files of others read in.

Nothing that is loaded here can execute code: safetensors, or ``torch.load`` with ``weights_only=True``. What reads a
file of ours raises ``InputError`` if it is missing, damaged, or not ours.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from litepose_ofa.supernet.archs.arch import MOST_KEYPOINTS, Arch
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError, NotFiniteError, located
from litepose_ofa.supernet.files import replacing, require_regular
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose, PoseNetwork
from litepose_ofa.supernet.torch_files import plain_names, read_state_dict
from litepose_ofa.supernet.validation import Checked, validate

Network = TypeVar("Network", bound=PoseNetwork)

logger = logging.getLogger(__name__)

FORMAT = "litepose-ofa 1"
"""The only metadata key of our files, so that equal weights are equal bytes: safetensors does not order its keys."""

UNUSED_PUBLISHED = re.compile(r"\.Linear[35]x[35]\.(weight|bias)$")
KERNEL_MATRIX = re.compile(r"\.matrix_\d+to\d+$")


class _Description(Checked, extra="ignore"):
    """The keys that every description holds, beside ``space`` or ``arch``."""

    kind: str
    num_keypoints: Annotated[int, Field(ge=1, le=MOST_KEYPOINTS)]
    info: dict[str, Any]
    weights: str | None = None


def save_network(
    path: Path | str, model: PoseNetwork, info: Mapping[str, Any] | None = None, *, skeleton: Skeleton | None = None
) -> None:
    """Write the weights of a supernet with its space, or of a static network with its architecture.

    ``info`` is any JSON that tells where it came from, ``skeleton`` the keypoints that it finds.

    Raises:
        NotFiniteError: If a weight is not finite; the file stays as it was.
    """
    if isinstance(model, LitePoseSupernet):
        description: dict[str, Any] = {"kind": "supernet", "space": model.space.to_dict()}
    else:
        assert isinstance(model, LitePose)
        description = {"kind": "subnet", "arch": model.arch.to_dict()}
    description["num_keypoints"] = model.num_keypoints
    if skeleton is not None:
        description["skeleton"] = skeleton.to_dict()
    require_finite(model, f"{path}: not written, as the network is ruined")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    description |= {"info": dict(info or {}), "weights": _digest(tensors)}
    with replacing(path) as temporary:
        temporary.write_bytes(serialise(tensors, metadata={FORMAT: json.dumps(description)}))


def load_supernet(path: Path | str) -> LitePoseSupernet:
    """Read a supernet that ``save_network`` wrote; in eval mode."""
    return _built(path, "supernet", lambda d: LitePoseSupernet(SearchSpace.from_dict(d["space"]), d["num_keypoints"]))


def load_subnet(path: Path | str) -> LitePose:
    """Read a static network that ``save_network`` wrote; in eval mode."""
    return _built(path, "subnet", lambda d: LitePose(Arch.from_dict(d["arch"]), d["num_keypoints"]))


def _built(path: Path | str, kind: str, build: Callable[[dict[str, Any]], Network]) -> Network:
    description = read_description(path)
    if description["kind"] != kind:
        raise InputError(f"{path}: holds a {description['kind']}, not a {kind}")
    with located(path):
        network = build({"space": None, "arch": None, **description})
    _load(network, read_weights(path), path)
    return network.eval()


def read_description(path: Path | str) -> dict[str, Any]:
    """Return what a file of ours says about itself: kind, space or arch, num_keypoints, skeleton, info."""
    with _opened(path) as file:
        metadata = file.metadata() or {}
    try:
        description = json.loads(metadata[FORMAT])
    except (KeyError, json.JSONDecodeError):
        description = None
    if not isinstance(description, dict):
        raise InputError(f"{path}: was not written by this project, as {FORMAT!r}")
    validate(_Description, description, f"{path}: its description")
    return description


def read_skeleton(path: Path | str) -> Skeleton | None:
    """Return the keypoints that a file of ours says its network finds; None where it does not say."""
    values = read_description(path).get("skeleton")
    with located(f"{path}: its skeleton is damaged"):
        return None if values is None else Skeleton.from_dict(values)


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a file of ours, checked against the digest it carries."""
    digest = read_description(path).get("weights")
    tensors = _read_tensors(path)
    if digest not in (None, _digest(tensors)):
        raise InputError(f"{path}: is damaged: its weights are not those of its digest")
    return tensors


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Load weights of the same architecture or space into a model: our files, and the published LitePose files.

    A ``.safetensors`` file or a torch file; the dict may be wrapped in ``state_dict``, keys may begin with ``module.``
    or ``1.``. The published supernets' ``Linear5x5`` and ``Linear3x3`` were never used by their authors and are left
    out; a supernet's kernel matrices that a file lacks stay as they are.

    Raises:
        InputError: If the file is missing, damaged or not plain tensors, or if its names or shapes are not the model's.
        NotFiniteError: If a weight is not finite.

    Example:
        >>> model = LitePose(SearchSpace.preset("tiny").smallest())
        >>> load_weights(model, "weights.safetensors")  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        _load(model, read_state_dict(path), path)
        return
    with _opened(path) as file:
        is_ours = FORMAT in (file.metadata() or {})
    _load(model, read_weights(path) if is_ours else _read_tensors(path), path)


def _load(model: nn.Module, tensors: dict[str, Tensor], path: Path | str) -> None:
    own, given = model.state_dict(), plain_names(tensors)
    weights = {name: tensor for name, tensor in given.items() if not UNUSED_PUBLISHED.search(name)}
    if unused := len(given) - len(weights):
        logger.info("%s: left out %d Linear5x5/Linear3x3 tensors, which no published network uses", path, unused)
    weights = {name: tensor for name, tensor in own.items() if KERNEL_MATRIX.search(name)} | weights
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    found = (("lacks", missing), ("has the unknown", unknown))
    parts = [f"it {what} {names[0]!r} and {len(names) - 1} more" for what, names in found if names]
    if parts:
        raise InputError(f"{path}: does not fit the model: {'; '.join(parts)}")
    for name, tensor in own.items():
        _require_like(weights[name], tensor, f"{path}: does not fit the model: {name}")
    model.load_state_dict(weights)
    require_finite(model, f"{path}: holds a ruined network")


def _require_like(given: Tensor, own: Tensor, where: str) -> None:
    plain = given.layout is torch.strided and given.device.type == "cpu" and not given.is_nested
    if not plain or given.is_floating_point() != own.is_floating_point() or given.is_complex():
        what = f"{given.layout} of {given.dtype} on {given.device}"
        raise InputError(f"{where} is {what}; it must be an ordinary tensor")
    if given.shape != own.shape:
        raise InputError(f"{where} has shape {tuple(given.shape)}, the model needs {tuple(own.shape)}")


def require_finite(model: nn.Module, problem: str) -> None:
    """Raise ``NotFiniteError``, a problem and the first name, if any weights or statistics are not finite."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise NotFiniteError(f"{problem}: {name} is not finite")


def weights_digest(model: nn.Module) -> str:
    """First 12 hexadecimal digits of the SHA-256 of all weights and statistics, names included."""
    return _digest(model.state_dict())


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    require_regular(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is damaged or is not a safetensors file ({error})") from None


def _read_tensors(path: Path | str) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
