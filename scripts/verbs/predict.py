"""Find the people in a picture, a folder of pictures or a video: drawn skeletons, and predictions in COCO's form.

Started again, it goes on: a picture that is done is not predicted again.
"""

import logging
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from litepose_ofa.scripts.build.builders import plain
from litepose_ofa.scripts.build.construct import construct
from litepose_ofa.scripts.build.pose_models import open_pose_network
from litepose_ofa.scripts.build.prediction_jobs import (
    LOG_FILE,
    PICTURES_FOLDER,
    Job,
    Options,
    fingerprint,
    predict_pictures,
    predict_video,
)
from litepose_ofa.scripts.command.app import run_folder, script, start_run
from litepose_ofa.scripts.settings.config import literal_config
from litepose_ofa.scripts.settings.people import PredictVerb
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.evaluation.prediction_log import read_entries
from litepose_ofa.supernet.files import locked_folder
from litepose_ofa.supernet.pictures.files import PICTURE_SUFFIXES, find_pictures
from litepose_ofa.supernet.pictures.videos import VideoReader, is_video

logger = logging.getLogger(__name__)

SHOWN_KINDS = 8


@script("predict", PredictVerb)
def main(cfg: DictConfig) -> None:
    """Predict, draw and report."""
    source, folder = Path(cfg.input), run_folder()
    options = Options.from_config(cfg)
    settings = construct(InferenceSettings, plain(cfg.inference), "inference")
    video = is_video(source)
    left_out: Counter[str] = Counter()
    total = _count_frames(source, folder) if video else _count_pictures(source, folder, left_out)
    job = Job(source, folder, open_pose_network(cfg, settings), options)
    with locked_folder(folder):
        if next(read_entries(job.log_path), None) is None:
            job.log_path.unlink(missing_ok=True)
        start_run(_binding(job, settings, video=video), artefacts=(LOG_FILE,))
        start = time.perf_counter()
        result = predict_video(job, total) if video else predict_pictures(job, total)
        count = _report(job, "frame" if video else "picture", time.perf_counter() - start, result)
    if left_out:
        logger.warning("%s: left out %s; pictures end in %s", source, _listed(left_out), ", ".join(PICTURE_SUFFIXES))
    if video and count < total:
        logger.warning("%s: states %d frames, of which %d could be read; the others are left out", source, total, count)


def _binding(job: Job, settings: InferenceSettings, *, video: bool) -> DictConfig:
    """Return what a finished picture depends on: another start with other values is refused."""
    predictor = job.network.predictor
    return literal_config(
        {
            "input": str(job.source.resolve()),
            "video": fingerprint(job.source) if video else None,
            "model": job.network.digest,
            "image_size": predictor.image_size,
            "skeleton": job.network.skeleton.name,
            "inference": asdict(settings),
            "min_score": job.options.min_score,
        }
    )


def _count_pictures(source: Path, folder: Path, left_out: Counter[str]) -> int:
    """Return how many pictures there are, count what else there is, and refuse to draw into their folder."""
    pictures, drawn = (source if source.is_dir() else source.parent).resolve(), (folder / PICTURES_FOLDER).resolve()
    if pictures.is_relative_to(drawn) or (source.is_dir() and drawn.is_relative_to(pictures)):
        raise InputError(f"output is {folder}; it must be outside of the input, whose pictures it would mix with")
    total = sum(1 for _ in find_pictures(source, left_out))
    if total == 0:
        others = f", but {_listed(left_out)}" if left_out else ""
        raise InputError(f"{source}: holds no pictures{others}; they end in {', '.join(PICTURE_SUFFIXES)}")
    return total


def _listed(left_out: Counter[str]) -> str:
    shown = [f"{count} x {kind}" for kind, count in left_out.most_common(SHOWN_KINDS)]
    others = left_out.total() - sum(count for _, count in left_out.most_common(SHOWN_KINDS))
    return ", ".join([*shown, *([f"{others} others"] if others else [])])


def _count_frames(source: Path, folder: Path) -> int:
    """Return how many frames the file states, and refuse to draw into its folder."""
    if source.parent.resolve() == folder.resolve():
        raise InputError(f"output is {folder}; it must be another folder than the video's")
    with VideoReader(source) as video:
        return video.num_frames


def _report(job: Job, unit: str, seconds: float, result: Path) -> int:
    """Say what was found, and return the number of pictures or frames."""
    count = people = 0
    for entry in read_entries(job.log_path):
        count += 1
        people += sum(person["score"] >= job.options.min_score for person in entry["people"])
    earlier = f" ({count - job.predicted} of them before)" if count > job.predicted > 0 else ""
    counted = f"{count} {unit}{'' if count == 1 else 's'}{earlier}"
    found = f"{counted}, {people} people of score {job.options.min_score:g} and above"
    skipped = f", {job.skipped} skipped" if job.skipped else ""
    if job.predicted == 0:
        logger.info("%s: already done: %s%s", result, found, skipped)
        return count
    predictor = job.network.predictor
    network, decode = (1000 * time / job.predicted for time in (predictor.network_seconds, predictor.decode_seconds))
    logger.info(
        "%s: %s%s; network %.1f ms, decoding %.1f ms a %s, %.1f %ss/s with reading and drawing",
        result, found, skipped, network, decode, unit, job.predicted / seconds, unit,
    )  # fmt: skip
    return count
