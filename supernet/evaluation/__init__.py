"""Images to people, and how right they are."""

from litepose_ofa.supernet.evaluation.breakdown import breakdown_table, keypoint_breakdown
from litepose_ofa.supernet.evaluation.inference import evaluate_dataset
from litepose_ofa.supernet.evaluation.intervals import ResampledAP
from litepose_ofa.supernet.evaluation.keypoint_ap import compare_people, evaluate_keypoints
from litepose_ofa.supernet.evaluation.people import InferenceSettings
from litepose_ofa.supernet.evaluation.results import write_results

__all__ = [
    "InferenceSettings",
    "ResampledAP",
    "breakdown_table",
    "compare_people",
    "evaluate_dataset",
    "evaluate_keypoints",
    "keypoint_breakdown",
    "write_results",
]
