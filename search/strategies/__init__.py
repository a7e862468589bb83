"""How a search proposes its next subnets."""
