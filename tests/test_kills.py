"""Verbs that are killed, right before a rename or at any moment, and started again: as if nothing had happened.

One process imports everything once and forks a child for every start.
"""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from litepose_ofa.search.accuracy.sampling import AccuracySamples, stratified_genomes
from litepose_ofa.search.costs.model import CostModel
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split
from litepose_ofa.supernet.export.bundle import write_bundle
from litepose_ofa.supernet.network.checkpoints import save_network
from litepose_ofa.supernet.network.elastic_litepose import LitePoseSupernet
from litepose_ofa.supernet.network.litepose import LitePose

pytestmark = pytest.mark.slow

SERVER = """
import json, os, signal, sys, time
import litepose_ofa.scripts.command.main
from litepose_ofa.scripts.verbs import check_dataset, estimate_tables, evaluate, export, fit, generate_people
from litepose_ofa.scripts.verbs import predict, report, sample, search

def count_renames(pipe, fatal):
    rename, done = os.replace, [0]
    def counted(source, target, **options):
        done[0] += 1
        if done[0] == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(pipe, b".")
        rename(source, target, **options)
    os.replace = counted

def start(job):
    readable, writable = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(readable)
        os.chdir(job["folder"])
        output = os.open("output", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(output, 1), os.dup2(output, 2)
        sys.argv = ["litepose", *job["arguments"]]
        count_renames(writable, job["before_rename"])
        if job["after_seconds"]:
            signal.setitimer(signal.ITIMER_REAL, job["after_seconds"])  # SIGALRM ends a process as SIGKILL does
        status = 0
        try:
            litepose_ofa.scripts.command.main.main()
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os._exit(status)
    os.close(writable)
    renames = 0
    while part := os.read(readable, 4096):
        renames += len(part)
    os.close(readable)
    _, ended = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(ended), "renames": renames, "seconds": time.perf_counter() - began}

for line in sys.stdin:
    print(json.dumps(start(json.loads(line))), flush=True)
"""


@dataclass(frozen=True)
class Start:
    """How a verb ended: its status or, negative, the signal; the renames that it made; how long it took."""

    status: int
    renames: int
    seconds: float


Run = Callable[..., Start]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Start a verb in a folder, and kill it before its n-th rename or after some seconds."""
    command = [sys.executable, "-c", SERVER]
    server: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(folder: Path, *arguments: str, before_rename: int = 0, after_seconds: float = 0) -> Start:
        job = {"folder": str(folder), "before_rename": before_rename, "after_seconds": after_seconds}
        server.stdin.write(json.dumps({**job, "arguments": arguments}) + "\n")
        server.stdin.flush()
        return Start(**json.loads(server.stdout.readline()))

    with server:
        yield start
        server.stdin.close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the verbs start from: rendered people, a supernet that was never trained, samples, an export."""
    folder = tmp_path_factory.mktemp("base")
    for split in ("train", "search", "val"):
        generate_split(folder / "data" / "people", split, 3, 0, PeopleSettings(image_size=(64, 64)), CROWDPOSE)
    space = SearchSpace.preset("tiny")
    torch.manual_seed(0)
    save_network(folder / "ws/supernet/supernet.safetensors", LitePoseSupernet(space, 14), {}, skeleton=CROWDPOSE)
    cost = CostModel(space)
    genomes = stratified_genomes(cost, 12, np.random.default_rng(0))
    ap = np.log(cost.evaluate(genomes)["macs"]) / 40
    AccuracySamples(space, 14, {"weights": "w"}, genomes, ap).save(folder / "fitted" / "accuracies" / "samples.json")
    images = np.zeros((0, 3, 64, 64), np.float32)
    network = LitePose(space.smallest().with_image_size(64)).eval()
    write_bundle(folder / "exported", network, skeleton=CROWDPOSE, images=images, formats=(), facts={})
    return folder


MEASURED = "threads=1 data_root={base}/data evaluation.bn_images=2 evaluation.bn_batch_size=2"
RECORDS = ("study.log", "accuracies.jsonl")
"""Of a finished search, which does not measure again for a file that is gone."""

MOMENTS = {"search": 10}
"""Kills at any moment, where they are more than one."""

COMMANDS = {
    "generate-people": "data_root=data workers=1 images.train=3 images.search=1 images.val=1",
    "search": "workspace=ws devices=[jetson_nano,raspberry_pi_4b] tiers=[s,l] search.first=6 search.batch=4 "
    "search.generations=2 search.evolution.population=10 search.evolution.generations=2 {measured}",
    "estimate-tables": "workspace=ws output=tables device=jetson_nano spaces=[tiny]",
    "sample": "workspace=ws num_subnets=3 {measured}",
    "fit": "workspace=fitted predictor=ridge folds=2 repeats=1",
    "evaluate": "workspace=ws arch=smallest resamples=10 save_results=true {measured}",
    "export": "workspace=ws arch=smallest checked_images=1 resamples=0 {measured}",
    "predict": "model={base}/exported input={base}/data/people/images/val output=out threads=1",
    "check-dataset": "workspace=ws workers=1 data_root={base}/data",
}


@dataclass(frozen=True)
class Job:
    """A verb's command, and what an uninterrupted start leaves where."""

    arguments: tuple[str, ...]
    base: Path
    folder: Path
    whole: Start
    left: dict[str, str]

    def outputs(self) -> list[str]:
        """Return the files that the verb wrote, but an export's record and a search's: nothing goes on from these."""
        written = (name for name in self.left if not (self.base / name).exists())
        return sorted(name for name in written if "/.runs/" not in name and Path(name).name not in RECORDS)


T = TypeVar("T")


def some(places: Sequence[T], verb: str) -> list[T]:
    """Return a few of the places where something may happen to a verb, drawn by its name."""
    return random.Random(verb).sample(places, min(2, len(places)))


def prepare(base: Path, folder: Path) -> None:
    for name in ("ws", "fitted"):
        shutil.copytree(base / name, folder / name)


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file but logs."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    kept = [path for path in files if path.suffix != ".log" or path.name == "study.log"]
    digests = {path.relative_to(folder).as_posix(): hashlib.sha256(_plain(path)).hexdigest() for path in kept}
    return {name: digest for name, digest in digests.items() if Path(name).name not in ("output", ".lock")}


def _plain(path: Path) -> bytes:
    if path.name != "study.log":
        return path.read_bytes()
    logs = [json.loads(line) for line in path.read_text().splitlines()]  # who wrote a trial, and when, differs
    return json.dumps([{**log, "worker_id": 0, "datetime_start": 0, "datetime_complete": 0} for log in logs]).encode()


@pytest.fixture(scope="module")
def job(run: Run, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Job]:
    @cache
    def make(verb: str) -> Job:
        arguments = (verb, *COMMANDS[verb].format(base=base, measured=MEASURED.format(base=base)).split())
        folder = tmp_path_factory.mktemp("whole")
        prepare(base, folder)
        whole = run(folder, *arguments)
        assert whole.status == 0, (folder / "output").read_text()
        return Job(arguments, base, folder, whole, contents(folder))

    return make


@pytest.mark.parametrize("verb", COMMANDS)
def test_killed_before_any_rename_or_at_any_moment_a_verb_ends_as_if_it_had_not_been(
    run: Run, job: Callable[[str], Job], tmp_path: Path, verb: str
) -> None:
    done = job(verb)
    assert done.whole.renames > 0
    kills = [{"before_rename": number} for number in some(range(1, done.whole.renames + 1), verb)]
    drawn = random.Random(verb)
    moments = [{"after_seconds": drawn.uniform(0.1, 1) * done.whole.seconds} for _ in range(MOMENTS.get(verb, 1))]
    for number, kill in enumerate([*kills, *moments]):
        folder = tmp_path / str(number)
        prepare(done.base, folder)
        killed = run(folder, *done.arguments, **kill)
        assert killed.status == -9 or "after_seconds" in kill
        assert run(folder, *done.arguments).status == 0, (folder / "output").read_text()
        assert contents(folder) == done.left


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_result_that_is_empty_is_made_again_or_named(
    run: Run, job: Callable[[str], Job], tmp_path: Path, verb: str
) -> None:
    """As after a power failure on a file system that does not keep what it was asked to."""
    done = job(verb)
    for number, name in enumerate(some(done.outputs(), verb)):
        folder = Path(shutil.copytree(done.folder, tmp_path / str(number)))
        (folder / name).write_bytes(b"")
        again = run(folder, *done.arguments)
        said = (folder / "output").read_text().splitlines()
        if again.status == 2:
            assert said[-1].startswith("error: ")
            assert name in said[-1]
            (folder / name).unlink()
            again = run(folder, *done.arguments)
        assert again.status == 0, (folder / "output").read_text()
        assert contents(folder)[name] == done.left[name]
