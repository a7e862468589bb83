"""Rendered people."""
