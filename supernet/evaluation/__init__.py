"""Images to people, and how right they are."""

from litepose_ofa.supernet.evaluation.breakdown import FoundSettings, breakdown_table, found_people, keypoint_breakdown
from litepose_ofa.supernet.evaluation.inference import evaluate_dataset
from litepose_ofa.supernet.evaluation.intervals import Rate, ResampledAP
from litepose_ofa.supernet.evaluation.keypoint_ap import compare_people, evaluate_keypoints
from litepose_ofa.supernet.evaluation.pck import measure_pck
from litepose_ofa.supernet.evaluation.people import InferenceSettings
from litepose_ofa.supernet.evaluation.results import write_results

__all__ = [
    "FoundSettings",
    "InferenceSettings",
    "Rate",
    "ResampledAP",
    "breakdown_table",
    "compare_people",
    "evaluate_dataset",
    "evaluate_keypoints",
    "found_people",
    "keypoint_breakdown",
    "measure_pck",
    "write_results",
]
