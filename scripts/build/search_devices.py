"""From the composed config to the devices of a search: their tables, decoding costs and budgets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.scripts.build.data import build_space, option_of, plain
from litepose_ofa.scripts.settings.base import DeviceSettings
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.search.problem.problem import SearchProblem
from litepose_ofa.search.problem.tiers import budget_ms, checked_ms, frame_budget_ms
from litepose_ofa.supernet.errors import InputError, require
from litepose_ofa.supernet.validation import validate

NO_BUDGET = "none"


@dataclass(frozen=True)
class SearchedDevice:
    """A device of the search.

    Attributes:
        name: Its name.
        table: Name or path of its latency table.
        decoding: Name or path of its decoding cost, or None.
        budgets_ms: Its budgets by space and tier; None for a renamed device, whose config has another one's.
    """

    name: str
    table: str
    decoding: str | None
    budgets_ms: Mapping[str, Any] | None


def find_devices(cfg: DictConfig) -> list[SearchedDevice]:
    """Return the devices that ``devices`` names, or the one of the ``device`` group.

    Raises:
        InputError: If a name is unknown, or given twice.
    """
    chosen = SearchedDevice(
        cfg.device.name,
        cfg.device.table,
        cfg.device.get("decoding"),
        None if _is_renamed() or cfg.device.get("budgets_ms") is None else plain(cfg.device.budgets_ms),
    )
    if cfg.devices is None:
        return [chosen]
    require(len(set(cfg.devices)) == len(cfg.devices), "devices", list(cfg.devices), "a list of different names")
    return [chosen if name == chosen.name else _configured_device(name) for name in cfg.devices]


def _is_renamed() -> bool:
    """Say whether the command line renames the device, and so leaves it the budgets of another one."""
    typed = [override.lstrip("+") for override in HydraConfig.get().overrides.task]
    return any(key.startswith("device.name=") for key in typed) and not any("device.budgets_ms" in key for key in typed)


def build_problem(cfg: DictConfig, devices: list[SearchedDevice], num_keypoints: int) -> SearchProblem:
    """Return the search problem of the config's space, devices and constraints.

    Raises:
        InputError: If the tier is unknown, a table does not cover the space, or nothing meets a budget.
    """
    require(cfg.goal == "front" or len(devices) > 1, "goal", cfg.goal, "front, as there is one device; or give devices")
    budgets = {device.name: _given_budget_ms(cfg, device) for device in devices}
    cost = CostModel(
        build_space(cfg),
        tables={device.name: LatencyTable.load(device.table) for device in devices},
        num_keypoints=num_keypoints,
        decoding={device.name: DecodingCost.load(device.decoding) for device in devices if device.decoding is not None},
        people=cfg.people_per_frame,
    )
    return SearchProblem(
        cost,
        {name: cost.slowest(name)[1] if budget is None else budget for name, budget in budgets.items()},
        max_macs=cfg.max_macs,
        max_params=cfg.max_params,
        max_peak_memory_bytes=cfg.max_peak_memory_bytes,
        confidence=cfg.confidence,
        goal=cfg.goal,
    )


def _given_budget_ms(cfg: DictConfig, device: SearchedDevice) -> float | None:
    """Return ``budget_ms``, the time of a frame at ``fps``, or the tier's budget; None if any latency is allowed."""
    given = cfg.budget_ms
    if cfg.fps is not None:
        require(given is None, "budget_ms", given, "null where fps is given")
        return frame_budget_ms(cfg.fps)
    if isinstance(given, DictConfig):
        require(device.name in given, "budget_ms", plain(given), f"a number, or have one for {device.name}")
        given = given[device.name]
    if given == NO_BUDGET:
        return None
    if given is not None:
        return checked_ms(given, f"the budget of device {device.name}")
    if device.budgets_ms is None:
        raise InputError(f"device {device.name} has no budgets of its own; give budget_ms=<milliseconds>")
    return budget_ms(device.budgets_ms, device=device.name, space=cfg.space.name, tier=cfg.tier)


def _configured_device(name: str) -> SearchedDevice:
    """Return an option of the ``device`` group, of the shipped configs or of the user's own folder."""
    values = validate(DeviceSettings, option_of("device", name), key="device")
    return SearchedDevice(values.name, values.table, values.decoding, values.budgets_ms)
