"""The study end to end on networks trained for a moment: what is written, and what is not repeated."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.scripts.verbs.rank_fidelity import RESULT_FILE, _folder_of, _result_of
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.files import read_json, write_text


@pytest.fixture
def rank(run_script: Any, trained: Path, quick_training: tuple[str, ...], quick_evaluation: tuple[str, ...]) -> Any:
    steps = ("training.steps=2", "num_subnets=3", "macs_tolerance=0.2", "top_k=1")
    given = (f"workspace={trained}", *quick_training, *quick_evaluation, *steps)
    return lambda *overrides: run_script("rank_fidelity", *given, *overrides)


def test_a_study_is_written_whole_and_repeats_nothing(rank: Any, trained: Path, tmp_path: Path) -> None:
    assert "Kendall tau" in rank().printed
    folder = trained / "rank_fidelity"
    study = read_json(folder / "rank_fidelity.json")
    assert (folder / "rank_fidelity.png").stat().st_size > 10_000
    assert [record["group"] for record in study["records"]] == ["spread"] * 3 + ["equal_macs"] * 3
    space = SearchSpace.preset("tiny")
    for record in study["records"]:
        arch = Arch.from_dict(study["archs"][record["arch_digest"]])
        assert space.contains(arch)
        assert record["macs"] == measure_complexity(arch, 14).macs
    equal = [record["macs"] for record in study["records"] if record["group"] == "equal_macs"]
    assert max(equal) / min(equal) < 1.23
    results = {path: path.stat().st_mtime_ns for path in folder.glob("alone/*/result.json")}
    assert len(results) == len({record["arch_digest"] for record in study["records"]})

    assert "to train alone, 6 trained before" in rank("seeds=2").printed
    both = read_json(folder / "rank_fidelity.json")
    for before, after in zip(study["records"], both["records"], strict=True):
        assert after["trained_aps"][0] == before["trained_aps"][0]
        assert len(after["trained_aps"]) == 2
    assert all(path.stat().st_mtime_ns == time for path, time in results.items())

    other = shutil.copy(trained / "supernet" / "supernet.safetensors", tmp_path / "other.safetensors")
    assert "0 networks to train alone, 6 trained before" in rank(f"supernet={other}").printed
    assert "training.batch_size was 2, is 3" in rank("training.batch_size=3").refusal


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"ap": null}'])
def test_a_result_that_is_not_whole_is_trained_for_again(tmp_path: Path, content: str | None) -> None:
    job = (SearchSpace.preset("tiny").smallest(), 0)
    if content is not None:
        write_text(_folder_of(tmp_path, job) / RESULT_FILE, content)
    assert _result_of(tmp_path, job) is None
    write_text(_folder_of(tmp_path, job) / RESULT_FILE, '{"ap": 0.25}')
    assert _result_of(tmp_path, job) == 0.25


@pytest.mark.slow
def test_ray_trains_the_same_networks(rank: Any, trained: Path, tmp_path: Path) -> None:
    studies = []
    for name, more in (("alone", ()), ("ray", ("parallel=2",))):
        workspace = Path(shutil.copytree(trained, tmp_path / name))
        assert rank(f"workspace={workspace}", *more).status == 0
        studies.append(read_json(workspace / "rank_fidelity" / "rank_fidelity.json"))
    assert studies[0] == studies[1]
