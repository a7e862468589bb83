"""Keypoint datasets on disk: skeletons, COCO-format folders, rendered people, augmentation."""
