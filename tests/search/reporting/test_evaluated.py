"""What a search evaluated, read from its study, and latencies as it counted them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.search.reporting.evaluated import EvaluatedSubnets, arch_latency_ms, device_latency
from litepose_ofa.search.reporting.findings import published_points
from litepose_ofa.search.reporting.searches import FinishedSearch, read_searches
from litepose_ofa.search.study.study import IDENTITY_KEY
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import write_json


@pytest.fixture
def cell(workspace: Path) -> FinishedSearch:
    return read_searches(workspace)[0][0]


def with_decoding(cell: FinishedSearch, **changes: object) -> FinishedSearch:
    """The search, as if it had counted the decoding of 7 people in."""
    cost = DecodingCost.load("host_cpu")
    decoding = {"measured_on": cost.name, "digest": cost.digest, "people": 7, **changes}
    search = {**cell.search, "devices": {cell.device: {"decoding": decoding}}}
    return replace(cell, outcome=replace(cell.outcome, record={**cell.record, "search": search}))


def test_published_subnets_have_the_latency_of_the_table(cell: FinishedSearch) -> None:
    points, archs = published_points(cell), published_archs()
    assert points[["name", "ap"]].to_numpy().tolist() == [["XS", 0.495], ["S", 0.583], ["M", 0.599], ["L", 0.619]]
    expected = [LatencyTable.load("jetson_nano").estimate(archs[f"search-{name}"]).ms for name in points["name"]]
    assert points["latency_ms"].tolist() == expected
    decoding = [DecodingCost.load("host_cpu").ms(archs[f"search-{name}"].image_size, 7) for name in points["name"]]
    assert published_points(with_decoding(cell))["latency_ms"].tolist() == pytest.approx(np.add(expected, decoding))


@pytest.mark.parametrize("decoded", [False, True])
def test_genomes_and_architectures_have_one_latency(cell: FinishedSearch, decoded: bool) -> None:
    cell, codec = with_decoding(cell) if decoded else cell, GenomeCodec(cell.space)
    genomes = codec.sample(5, np.random.default_rng(0))
    expected = [arch_latency_ms(cell, arch) for arch in codec.decode_many(genomes)]
    np.testing.assert_allclose(device_latency(cell, cell.space)(genomes), expected)


def test_what_has_changed_since_the_search_is_refused(cell: FinishedSearch) -> None:
    changed = replace(cell.outcome, record={**cell.record, "search": {**cell.search, "table": "0" * 12}})
    with pytest.raises(InputError, match="latency table jetson_nano has changed since"):
        device_latency(replace(cell, outcome=changed), cell.space)
    with pytest.raises(InputError, match="is not the one that the search used"):
        device_latency(with_decoding(cell, digest="0" * 12), cell.space)


def test_a_study_that_was_begun_anew_is_refused(cell: FinishedSearch) -> None:
    path = cell.run_folder / "study.log"
    path.unlink()
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="anew")
    study.set_user_attr(IDENTITY_KEY, {key: value for key, value in cell.search.items() if key != "table"})
    with pytest.raises(InputError, match="has no evaluated subnet"):
        EvaluatedSubnets.of(cell)


def test_a_study_in_a_database_is_read_and_let_go_of(cell: FinishedSearch, workspace: Path) -> None:
    file = workspace / "studies.db"
    expected = EvaluatedSubnets.of(cell)
    storage = RDBStorage(f"sqlite:///{file}")
    source = JournalStorage(JournalFileBackend(str(cell.run_folder / "study.log")))
    (known,) = optuna.get_all_study_names(source)
    optuna.copy_study(from_study_name=known, from_storage=source, to_storage=storage, to_study_name="copy")
    storage.remove_session()
    storage.engine.dispose()
    write_json(cell.run_folder / "run.json", {"config": {"storage": f"sqlite:///{file}"}})
    (cell, *_), _ = read_searches(workspace)
    found = EvaluatedSubnets.of(cell)
    np.testing.assert_array_equal(found.genomes, expected.genomes)
    np.testing.assert_array_equal(found.ap, expected.ap)
    assert file not in [path.resolve() for path in Path("/proc/self/fd").iterdir()]
    file.unlink()
    with pytest.raises(InputError, match=r"is gone \(.*studies\.db\)"):
        EvaluatedSubnets.of(cell)
    assert not file.exists(), "a report makes no database"
