"""Tiers: named latency budgets of a device."""

from collections.abc import Mapping

from supernet.errors import InputError

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
    budget = tiers[tier]
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 < budget < float("inf"):
        raise InputError(f"the budget of device {device}, tier {tier} is {budget!r}; it must be milliseconds above 0")
    return float(budget)
