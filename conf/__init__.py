"""The configs of the ``litepose`` command, and what they interpolate beyond OmegaConf's own: parts of paths.

In a notebook too: ``initialize_config_module("litepose_ofa.conf", version_base="1.3")``, then ``compose("train")``.
"""

from collections.abc import Iterable

from omegaconf import OmegaConf

from litepose_ofa.search.workspace import folder_name, folder_path, joined, tier_folder

Names = Iterable[str] | str | None


def search_folder(devices: Names, device: str, tiers: Names, tier: str, goal: str) -> str:
    """Return the folder of a search below ``search/``: its devices, and its tiers.

    Raises:
        InputError: If one of them cannot name a folder.
    """
    name = tier_folder(_folder(tiers, "tiers", tier, "tier"), goal)
    return f"{_folder(devices, 'devices', device, 'device.name')}/{name}"


def _folder(several: Names, field: str, single: str, single_field: str) -> str:
    names = [several] if isinstance(several, str | int) else list(several or ())
    return joined([folder_name(name, field) for name in names] or [folder_name(single, single_field)])


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
OmegaConf.register_new_resolver("folder_path", folder_path, replace=True)
OmegaConf.register_new_resolver("search_folder", search_folder, replace=True)
