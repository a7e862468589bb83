"""Architectures and the spaces that hold them."""
