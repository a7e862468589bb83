"""Drawings on images and videos."""
