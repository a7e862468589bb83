"""The study end to end on networks trained for a moment: what is written, what is not repeated, what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.scripts.verbs.rank_fidelity import RESULT_FILE, _folder_of, _result_of
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.files import write_text

RunScript = Callable[..., Any]


@pytest.fixture
def options(trained: Path, quick_training: tuple[str, ...], quick_evaluation: tuple[str, ...]) -> tuple[str, ...]:
    steps = ("training.steps=2", "num_subnets=3", "macs_tolerance=0.2", "top_k=1")
    return (f"workspace={trained}", *quick_training, *quick_evaluation, *steps)


def test_a_study_is_written_whole_and_repeats_nothing(
    run_script: RunScript, options: tuple[str, ...], trained: Path
) -> None:
    outcome = run_script("rank_fidelity", *options)
    assert outcome.status == 0, outcome.stderr
    assert "Kendall tau" in outcome.stdout
    folder = trained / "rank_fidelity"
    study = json.loads((folder / "rank_fidelity.json").read_text())
    assert (folder / "rank_fidelity.png").stat().st_size > 10_000
    assert [record["group"] for record in study["records"]] == ["spread"] * 3 + ["equal_macs"] * 3
    space = SearchSpace.preset("tiny")
    for record in study["records"]:
        arch = Arch.from_dict(study["archs"][record["arch_digest"]])
        assert space.contains(arch)
        assert record["macs"] == measure_complexity(arch, 14).macs
    equal = [record["macs"] for record in study["records"] if record["group"] == "equal_macs"]
    assert max(equal) / min(equal) < 1.23
    results = {path.parent: path.stat().st_mtime_ns for path in folder.glob("alone/*/result.json")}
    assert len(results) == len({record["arch_digest"] for record in study["records"]})

    again = run_script("rank_fidelity", *options, "seeds=2")
    assert "to train alone, 6 trained before" in again.stdout
    both = json.loads((folder / "rank_fidelity.json").read_text())
    for before, after in zip(study["records"], both["records"], strict=True):
        assert after["trained_aps"][0] == before["trained_aps"][0]
        assert len(after["trained_aps"]) == 2
    assert all(path.joinpath("result.json").stat().st_mtime_ns == time for path, time in results.items())


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"ap": null}'])
def test_a_result_that_is_not_whole_is_trained_for_again(tmp_path: Path, content: str | None) -> None:
    job = (SearchSpace.preset("tiny").smallest(), 0)
    if content is not None:
        write_text(_folder_of(tmp_path, job) / RESULT_FILE, content)
    assert _result_of(tmp_path, job) is None
    write_text(_folder_of(tmp_path, job) / RESULT_FILE, '{"ap": 0.25}')
    assert _result_of(tmp_path, job) == 0.25


def test_other_supernets_share_the_networks_trained_alone(
    run_script: RunScript, options: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    run_script("rank_fidelity", *options)
    copy = shutil.copy(trained / "supernet" / "supernet.safetensors", tmp_path / "other.safetensors")
    outcome = run_script("rank_fidelity", *options, f"supernet={copy}")
    assert "0 networks to train alone, 6 trained before" in outcome.stdout
    refused = run_script("rank_fidelity", *options, "training.batch_size=3")
    assert refused.status == 2
    assert "training.batch_size was 2, is 3" in refused.stderr


@pytest.mark.slow
def test_ray_trains_the_same_networks(
    run_script: RunScript, options: tuple[str, ...], trained: Path, tmp_path: Path
) -> None:
    for name, more in (("alone", ()), ("ray", ("parallel=2",))):
        workspace = shutil.copytree(trained, tmp_path / name)
        assert run_script("rank_fidelity", *options, f"workspace={workspace}", *more).status == 0
    studies = [
        json.loads((tmp_path / name / "rank_fidelity/rank_fidelity.json").read_text()) for name in ("alone", "ray")
    ]
    assert studies[0] == studies[1]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_subnets=2", "num_subnets is 2; it must be an integer from 3 to 10000"),
        ("seeds=none", "seeds is 'none'; it must be an integer"),
        ("top_k=9", "top_k is 9; it must be at most num_subnets, 8"),
    ],
)
def test_impossible_settings_are_named(run_script: RunScript, trained: Path, override: str, message: str) -> None:
    outcome = run_script("rank_fidelity", f"workspace={trained}", "threads=1", override)
    assert outcome.status == 2
    assert message in outcome.stderr
    assert not (trained / "rank_fidelity" / "run.json").exists()
