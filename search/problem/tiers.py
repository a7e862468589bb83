"""Tiers: named latency budgets of a device, and budgets given as numbers."""

from collections.abc import Mapping

from litepose_ofa.supernet.errors import InputError, require

Budgets = Mapping[str, Mapping[str, float]]
"""Milliseconds by space and tier."""


def budget_ms(budgets: Budgets, *, device: str, space: str, tier: str) -> float:
    """Return the latency budget of a tier, in ms.

    Args:
        budgets: The device's budgets.
        device: Name of the device.
        space: Name of the search space.
        tier: Name of the tier, such as ``xs``.

    Raises:
        InputError: If the device has no budgets for the space, or no such tier; the known ones are listed.
    """
    if space not in budgets:
        known = ", ".join(budgets) or "none"
        raise InputError(f"device {device} has no budgets for space {space!r} (it has: {known}); give budget_ms=...")
    tiers = budgets[space]
    if tier not in tiers:
        raise InputError(f"device {device} has no tier {tier!r} for space {space!r}; known: {', '.join(tiers)}")
    return checked_ms(tiers[tier], f"the budget of device {device}, tier {tier}")


def frame_budget_ms(frames_per_second: object) -> float:
    """Return the time of a frame at a rate, in ms.

    Raises:
        InputError: If the rate is no number above 0.
    """
    require(_is_positive(frames_per_second), "fps", frames_per_second, "frames per second above 0")
    assert isinstance(frames_per_second, int | float)
    return 1000 / frames_per_second


def checked_ms(budget: object, field: str) -> float:
    """Return a budget that came from outside, in ms.

    Raises:
        InputError: If it is no finite number above 0.
    """
    require(_is_positive(budget), field, budget, "milliseconds above 0")
    assert isinstance(budget, int | float)
    return float(budget)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
