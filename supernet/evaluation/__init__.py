"""Images to people, and how right they are."""

from supernet.evaluation.breakdown import keypoint_breakdown
from supernet.evaluation.comparison import compare_people
from supernet.evaluation.inference import evaluate_model
from supernet.evaluation.intervals import ap_interval
from supernet.evaluation.keypoint_ap import evaluate_keypoints
from supernet.evaluation.people import InferenceSettings
from supernet.evaluation.results import read_results, write_results

__all__ = [
    "InferenceSettings",
    "ap_interval",
    "compare_people",
    "evaluate_keypoints",
    "evaluate_model",
    "keypoint_breakdown",
    "read_results",
    "write_results",
]
