"""Hydra configs: one entry file a script, and the groups they choose from."""
