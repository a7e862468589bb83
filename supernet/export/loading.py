"""From a path to a network and its keypoints: export folders, subnets, and weights that do not describe themselves."""

from pathlib import Path

from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.skeletons import Skeleton, require_keypoints
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.export.bundle import CONFIG_FILE, WEIGHTS_FILE, exported_skeleton, open_export
from litepose_ofa.supernet.network.checkpoints import load_subnet, load_weights, read_description, read_skeleton
from litepose_ofa.supernet.network.litepose import LitePose


def find_weights(path: Path) -> Path:
    """Return a file, or the weights in the export folder that is named.

    Raises:
        InputError: If there is no such file or folder, or the folder is not a whole export folder.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return open_export(path).folder / WEIGHTS_FILE if path.is_dir() else path


def load_network(path: Path, arch: str | None, skeleton: Skeleton) -> tuple[LitePose, Skeleton]:
    """Load a network, in eval mode, and find out which keypoints it has.

    A subnet's file knows its architecture, which ``arch``, another file, may repeat. It has the keypoints that it
    states, or else those of the export folder it is in, or else those of the dataset, ``skeleton``. Weights alone have
    the architecture ``arch`` and the keypoints of the dataset.

    Raises:
        InputError: If the file is missing or damaged, holds no static network, or does not fit ``arch`` or skeleton.
    """
    if kind_of(path, arch) != "weights":
        network = load_subnet(path)
        if arch is not None and not (Path(arch).suffix and Arch.load(arch) == network.arch):
            raise InputError(f"arch is {arch!r}; it must be null, or a file of the architecture that {path} states")
        return network, _skeleton_of(path, network, skeleton)
    if arch is None:
        raise InputError(f"{path}: holds weights alone; give arch=FILE.json, and dataset=... for their keypoints")
    network = LitePose(Arch.load(arch), skeleton.num_keypoints)
    try:
        load_weights(network, path)
    except InputError as error:
        keypoints = f"{skeleton.num_keypoints} keypoints of dataset.skeleton {skeleton.name}"
        raise InputError(f"{error} (the model is {arch} with the {keypoints})") from None
    return network.eval(), skeleton


def kind_of(path: Path, arch: str | None) -> str:
    """Return what a file holds: ``supernet``, ``subnet``, or ``weights``, which do not describe themselves.

    With ``arch``, a safetensors file that is damaged or of others is taken for weights.
    """
    if path.suffix != ".safetensors":
        return "weights"
    try:
        return str(read_description(path)["kind"])
    except InputError:
        if arch is None:
            raise
        return "weights"


def _skeleton_of(path: Path, network: LitePose, of_dataset: Skeleton) -> Skeleton:
    stated = read_skeleton(path)
    if stated is not None:
        return stated
    exported = (path.parent / CONFIG_FILE).is_file()
    skeleton = exported_skeleton(path.parent) if exported else of_dataset
    where = CONFIG_FILE if exported else "dataset.skeleton"
    require_keypoints(f"{path}: is a network", network.num_keypoints, skeleton, where=where)
    return skeleton
