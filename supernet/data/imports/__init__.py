"""Datasets of other formats, turned into COCO-format folders."""
