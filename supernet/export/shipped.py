"""Networks that ship with the package, by name: a supernet with its predictor, and subnets as export folders.

Each has a folder with a card and a manifest of hashes. The folders are built by ``benchmarks/data/ship.py``, with
kernels in float16; a network computes in float32 once it is loaded.
"""

import logging
from pathlib import Path

from litepose_ofa.supernet.errors import InputError, require, shown
from litepose_ofa.supernet.export.bundle import KIND, MANIFEST_FILE, Manifest, open_files

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[1] / "shipped"
"""The folder of the networks' folders."""

SUPERNET_KIND = "litepose-supernet"
SUPERNET_FILE = "supernet.safetensors"
PREDICTOR_FILE = "predictor.safetensors"
CARD_FILE = "card.md"

ABOUT = "about"
"""The manifest's line on what a network was trained on and how good it is."""


def shipped_names() -> list[str]:
    """Return the names of the networks that this version ships."""
    return sorted(manifest.parent.name for manifest in SHIPPED.glob(f"*/{MANIFEST_FILE}"))


def named_path(given: str, key: str) -> Path:
    """Return the path that a text stands for: a shipped network's, or the text itself.

    The name of a shipped network goes before a file or folder of that name, which ``./NAME`` stands for. A supernet's
    path is its file, a subnet's its export folder.

    Raises:
        InputError: If the text is neither such a name, nor a path that exists, nor looks like one by a ``/`` or a
            suffix; it names the config key ``key`` and the names. Also if a file of a shipped network was changed.
    """
    if given in shipped_names():
        return _open_shipped(given)
    path = Path(given)
    if "/" not in given and not path.suffix and not path.exists():
        names = ", ".join(shipped_names())
        ships = (
            f"a network that ships with this version: {names}" if names else "a path: this version ships no networks"
        )
        raise InputError(f"{key} is {shown(given)}; there is no such file or folder, and it is not {ships}")
    return path


def shipped_predictor(name: str, key: str) -> Path:
    """Return the accuracy predictor of a shipped supernet; errors are as for ``named_path``."""
    supernets = [each for each in shipped_names() if (SHIPPED / each / PREDICTOR_FILE).exists()]
    require(name in supernets, key, name, f"a file, or a supernet that ships with this version: {', '.join(supernets)}")
    return named_path(name, key).with_name(PREDICTOR_FILE)


def _open_shipped(name: str) -> Path:
    manifest, is_supernet = _manifest(name)
    return manifest.folder / SUPERNET_FILE if is_supernet else manifest.folder


def tell_shipped(*given: str | None) -> None:
    """Log of every shipped network that is named what it was trained on and how good it is."""
    for name in filter(shipped_names().__contains__, given):
        manifest, _ = _manifest(str(name))
        logger.info("%s, shipped: %s; more in %s", name, manifest.record[ABOUT], manifest.folder / CARD_FILE)


def _manifest(name: str) -> tuple[Manifest, bool]:
    """Return a network's manifest, every file checked, and whether it is a supernet."""
    folder = SHIPPED / name
    is_supernet = any((folder / file).exists() for file in (SUPERNET_FILE, PREDICTOR_FILE))
    try:
        return open_files(folder, kind=SUPERNET_KIND if is_supernet else KIND), is_supernet
    except InputError as error:
        problem = str(error).rpartition(";")[0]
        raise InputError(f"{problem}; install litepose-ofa again") from None
