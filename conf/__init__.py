"""The configs of the ``litepose`` command, and what they interpolate beyond OmegaConf's own: parts of paths.

In a notebook too: ``initialize_config_module("litepose_ofa.conf", version_base="1.3")``, then ``compose("train")``.
"""

from collections.abc import Iterable

from omegaconf import OmegaConf

from litepose_ofa.search.workspace import folder_name, folder_path, tier_folder


def search_folder(devices: Iterable[str] | str | None, device: str, tier: str, goal: str) -> str:
    """Return the folder of a search below ``search/``: its devices, and its tier.

    Raises:
        InputError: If one of them cannot name a folder.
    """
    names = [devices] if isinstance(devices, str | int) else list(devices or ())
    parts = [folder_name(name, "devices") for name in names] or [folder_name(device, "device.name")]
    return f"{'+'.join(parts)}/{tier_folder(folder_name(tier, 'tier'), goal)}"


OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
OmegaConf.register_new_resolver("folder_path", folder_path, replace=True)
OmegaConf.register_new_resolver("search_folder", search_folder, replace=True)
