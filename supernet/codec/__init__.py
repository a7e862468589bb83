"""Keypoints to training targets, and network outputs to people."""

from litepose_ofa.supernet.codec.grouping import decode_people
from litepose_ofa.supernet.codec.heatmap import make_heatmaps, to_heatmap_pixels

__all__ = ["decode_people", "make_heatmaps", "to_heatmap_pixels"]
