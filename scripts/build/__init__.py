"""Values of the library from a checked config."""
