"""The paths of a workspace are those that earlier versions wrote, and those that the verbs' run folders are."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from litepose_ofa.search.workspace import Workspace

WORKSPACE = Workspace(Path("runs/mine"))


@pytest.mark.parametrize(
    ("verb", "overrides", "path"),
    [
        ("train", [], WORKSPACE.supernet.parent),
        ("sample", [], WORKSPACE.samples.parent),
        ("fit", [], WORKSPACE.predictor.parent),
        ("search", ["device=jetson_nano"], WORKSPACE.search("jetson_nano", "m")),
        ("search", ["devices=[a,b]", "goal=shared", "tier=s"], WORKSPACE.search(["a", "b"], "s", "shared")),
        ("finetune", ["device=jetson_nano", "tier=s"], WORKSPACE.finetuned("jetson_nano", "s").parent),
        ("sensitivity", [], WORKSPACE.sensitivity.parent),
        ("rank_fidelity", [], WORKSPACE.rank_fidelity.parent),
        ("validate_table", ["table=host_cpu"], WORKSPACE.table_validations),
    ],
)
def test_is_where_the_verbs_write(verb, overrides, path):
    with initialize_config_module("litepose_ofa.conf", version_base="1.3"):
        cfg = compose(verb, [f"workspace={WORKSPACE.root}", *overrides])
    assert WORKSPACE.root / cfg.run_folder == path


def test_finds_searches_and_finetunings(tmp_path):
    workspace = Workspace(tmp_path)
    for folder in ("search/a/m", "search/a+b/s-shared", "finetune/a/m"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "finetune/a/m/metrics.jsonl").touch()
    assert [found[:2] for found in workspace.searches()] == [("a", "m"), ("a+b", "s-shared")]
    assert workspace.finetunings() == [workspace.finetuned("a", "m").with_name("metrics.jsonl")]
