"""Write a profiling kit: a folder of models that a board times with its own runtime, without this project or torch."""

from pathlib import Path
from typing import Annotated

from omegaconf import DictConfig
from pydantic import Field
from tqdm import tqdm

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.profiling.exporters import find_exporter
from litepose_ofa.latency_tables.profiling.kit import write_kit
from litepose_ofa.latency_tables.profiling.plan import make_plan
from litepose_ofa.scripts.build.data import build_space, build_spaces
from litepose_ofa.scripts.command.app import run_folder, script
from litepose_ofa.scripts.settings.fields import Name, PathText
from litepose_ofa.scripts.settings.groups import KeypointNumbers, RunSettings, Spaces
from litepose_ofa.supernet.files import locked_folder
from litepose_ofa.supernet.validation import Fraction


class ProfileVerb(RunSettings):
    runtime: Name
    spaces: Spaces
    num_keypoints: KeypointNumbers
    sample: Fraction | None
    networks: Annotated[int, Field(ge=0, le=10_000)]
    table: PathText | None
    output: PathText


@script("profile", ProfileVerb)
def main(cfg: DictConfig) -> None:
    """Write the kit to ``output`` and say how to run it."""
    folder = Path(cfg.output)
    find_exporter(cfg.runtime)  # before the plan, which may take a while
    spaces = {space.name: space for space in (build_space(cfg), *build_spaces(cfg.spaces))}
    plan = make_plan(
        list(spaces.values()),
        num_keypoints=list(cfg.num_keypoints),
        networks=cfg.networks,
        sample=cfg.sample,
        known=LatencyTable.load(cfg.table).rows if cfg.table is not None else (),
        seed=cfg.seed,
    )
    with (
        locked_folder(run_folder()),
        tqdm(total=len(plan.subjects), desc=cfg.runtime, unit="model", disable=None) as bar,
    ):
        manifest = write_kit(folder, plan, cfg.runtime, on_progress=bar.update)
    print(f"{folder}: kit {manifest.kit}, {len(plan.timed)} of {plan.operators} operators, {len(plan.subjects)} models")
    print("copy the folder to the board and run there: python profile_board.py --threads 1")
