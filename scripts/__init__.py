"""Command-line scripts: Hydra apps that compose a config and call the library."""
