"""The search problem: devices, limits, tiers, and the subnets that are feasible."""
