"""Images to people, and how right they are."""

from supernet.evaluation.inference import evaluate_model
from supernet.evaluation.keypoint_ap import evaluate_keypoints
from supernet.evaluation.people import InferenceSettings

__all__ = ["InferenceSettings", "evaluate_keypoints", "evaluate_model"]
