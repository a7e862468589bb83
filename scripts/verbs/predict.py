"""Find the people in a picture, a folder of pictures or a video; started again, it goes on with what is not done."""

import logging
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from litepose_ofa.scripts.build.data import settings_of
from litepose_ofa.scripts.build.network_files import open_network_or_subnet
from litepose_ofa.scripts.command.app import run_folder, script, start_run
from litepose_ofa.scripts.settings.config import literal_config
from litepose_ofa.scripts.settings.fields import PathText, Text, fields_of
from litepose_ofa.scripts.settings.groups import ImageSize, MeasuringSettings
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation import InferenceSettings
from litepose_ofa.supernet.export.shipped import named_path, tell_shipped
from litepose_ofa.supernet.files import locked_folder
from litepose_ofa.supernet.pictures.files import PICTURE_SUFFIXES, find_pictures
from litepose_ofa.supernet.pictures.prediction import PICTURES_FOLDER, Prediction, PredictionOptions
from litepose_ofa.supernet.pictures.videos import VideoReader, is_video

logger = logging.getLogger(__name__)

SHOWN_KINDS = 8


class PredictVerb(MeasuringSettings, fields_of(PredictionOptions)):  # type: ignore[misc]
    input: PathText
    model: PathText
    output: PathText
    arch: Text | None
    image_size: ImageSize | None
    inference: fields_of(InferenceSettings)  # type: ignore[valid-type]
    supernet: PathText


@script("predict", PredictVerb)
def main(cfg: DictConfig) -> None:
    """Predict, draw and report."""
    source, folder = Path(cfg.input), run_folder()
    options = settings_of(PredictionOptions, cfg)
    settings = settings_of(InferenceSettings, cfg.inference, "inference")
    video, left_out = is_video(source), Counter[str]()
    unit = "frame" if video else "picture"
    total = _count_frames(source, folder) if video else _count_pictures(source, folder, left_out)
    network = open_network_or_subnet(cfg, named_path(cfg.model, "model"))
    predictor = network.open_predictor(settings)
    with locked_folder(folder), tqdm(total=total or None, unit=unit, disable=None) as bar:
        # a finished picture depends on these: another start with other values is refused
        binding = {
            "input": str(source.resolve()),
            "model": network.digest,
            "image_size": predictor.image_size,
            "skeleton": predictor.skeleton.name,
            "inference": asdict(settings),
            "min_score": options.min_score,
        }
        start_run(literal_config(binding), artefacts=(PICTURES_FOLDER,))
        tell_shipped(cfg.model)
        start = time.perf_counter()
        job = Prediction(source, folder, predictor, options, bar.update)
        result = job.predict_video() if video else job.predict_pictures()
        bar.close()
        _report(job, unit, time.perf_counter() - start, result)
    if left_out:
        logger.warning("%s: left out %s; pictures end in %s", source, _listed(left_out), ", ".join(PICTURE_SUFFIXES))
    if video and job.count < total:
        told = "states %d frames, of which %d could be read; the others are left out"
        logger.warning("%s: " + told, source, total, job.count)


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


def _count_frames(source: Path, folder: Path) -> int:
    """Return how many frames the file states, and refuse to draw into its folder."""
    if source.parent.resolve() == folder.resolve():
        raise InputError(f"output is {folder}; it must be another folder than the video's")
    with VideoReader(source) as video:
        return video.num_frames


def _listed(left_out: Counter[str]) -> str:
    shown = left_out.most_common(SHOWN_KINDS)
    others = left_out.total() - sum(count for _, count in shown)
    return ", ".join([*(f"{count} x {kind}" for kind, count in shown), *([f"{others} others"] if others else [])])


def _report(job: Prediction, unit: str, seconds: float, result: Path) -> None:
    earlier = f" ({job.count - job.predicted} of them before)" if job.count > job.predicted > 0 else ""
    counted = f"{job.count} {unit}{'' if job.count == 1 else 's'}{earlier}"
    skipped = f", {job.skipped} skipped" if job.skipped else ""
    found = f"{counted}, {job.people} people of score {job.options.min_score:g} and above{skipped}"
    if job.predicted == 0:
        logger.info("%s: already done: %s", result, found)
        return
    predictor = job.predictor
    network, decode = (1000 * time / job.predicted for time in (predictor.network_seconds, predictor.decode_seconds))
    logger.info(
        "%s: %s; network %.1f ms, decoding %.1f ms a %s, %.1f %ss/s with reading and drawing",
        result, found, network, decode, unit, job.predicted / seconds, unit,
    )  # fmt: skip
