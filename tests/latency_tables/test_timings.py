"""The CSV of timed networks: what serves as a name, and what is refused, in one line that names file and line."""

from pathlib import Path

import pytest

from litepose_ofa.latency_tables.few_shot import TimedNetwork
from litepose_ofa.latency_tables.timings import TimingsFile, write_blank
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

TINY = SearchSpace.preset("tiny")
SMALLEST, LARGEST = TINY.smallest(), TINY.largest()


@pytest.fixture
def timings(tmp_path: Path) -> TimingsFile:
    """A CSV beside two networks of a spread; in the workspace's exports is the smallest."""
    for folder, arch in (("own/a", SMALLEST), ("own/b", LARGEST), ("export/pi/m", SMALLEST)):
        (tmp_path / folder).mkdir(parents=True)
        arch.save(tmp_path / folder / "arch.json")
        (tmp_path / folder / "subnet.yaml").write_text("num_keypoints: 17\n")
    LARGEST.save(tmp_path / "own" / "largest.json")
    return TimingsFile(tmp_path / "own" / "timings.csv", tmp_path / "export")


@pytest.mark.parametrize("name", ["a", "{folder}/own/a", SMALLEST.digest, "../export/pi/m"])
def test_names_of_a_network(timings: TimingsFile, tmp_path: Path, name: str) -> None:
    (tmp_path / "own" / "timings.csv").write_text(f"network,ms\n{name.format(folder=tmp_path)},1.5\nlargest.json,20\n")
    assert timings.read(14) == [TimedNetwork(SMALLEST, 17, 1.5), TimedNetwork(LARGEST, 14, 20.0)]


def test_spreadsheets_habits_are_read(timings: TimingsFile, tmp_path: Path) -> None:
    (tmp_path / "own" / "timings.csv").write_bytes(b'\xef\xbb\xbfMS , Network\r\n 1.5 ,"a"\r\n,\r\n\r\n2e1,b\r\n')
    assert timings.read(14) == [TimedNetwork(SMALLEST, 17, 1.5), TimedNetwork(LARGEST, 17, 20.0)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "timings.csv, line 1: is ''; the columns are network and ms, separated by a comma"),
        ("network;ms\na;1\n", "line 1: is 'network;ms'; the columns are network and ms, separated by a comma"),
        ("network,s\na,1\n", "line 1: is 'network,s'; the columns are"),
        ("network,ms,ms\na,1,1\n", "line 1: is 'network,ms,ms'; the columns are"),
        ("network,ms\na,12,5\n", "line 2: has 3 fields; it must have 2, network and ms with a decimal point"),
        ('network,ms\na,"12,5"\n', "line 2: ms is '12,5'; it must be a number of milliseconds above 0, with a dec"),
        ("network,ms\na,\n", "line 2: ms is empty; fill it in, or take the line out"),
        ("network,ms\na,0\n", "line 2: ms is '0'; it must be a number of milliseconds above 0"),
        ("network,ms\na,-3\n", "line 2: ms is '-3'; it must be"),
        ("network,ms\na,3 ms\n", "line 2: ms is '3 ms'; it must be"),
        ("network,ms\na,nan\n", "line 2: ms is 'nan'; it must be"),
        ("network,ms\na,1e999\n", "line 2: ms is '1e999'; it must be"),
        ("network,ms\nb,1\nnone,1\n", "line 3: network is 'none'; it must be a folder that litepose export wrote, the"),
        ("network,ms\n0123456789ab,1\n", "line 2: network is '0123456789ab'; it must be"),
        ("network,ms\n,1\n", "line 2: network is ''; it must be"),
        ("network,ms\ntimings.csv,1\n", "line 2: {folder}/timings.csv: an architecture file ends in .json"),
        ("network,ms\n.,1\n", "line 2: {folder}: has no arch.json; litepose export writes one"),
        (f"network,ms\nb,1\na,1\n{SMALLEST.digest},1\n", "line 4: the architecture of line 3 again; each may stand"),
        ('network,ms\n"a,1\n', "timings.csv: is not CSV (unexpected end of data)"),
    ],
)
def test_what_is_refused(timings: TimingsFile, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "own" / "timings.csv").write_text(text)
    with pytest.raises(InputError) as refused:
        timings.read(14)
    assert told.format(folder=tmp_path / "own") in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path / 'own' / 'timings.csv'}")


def test_an_export_s_folder_is_checked(timings: TimingsFile, tmp_path: Path) -> None:
    (tmp_path / "own" / "timings.csv").write_text("network,ms\na,1\n")
    (tmp_path / "own" / "a" / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"line 2: .*a/manifest\.json: is not of an export"):
        timings.read(14)
    (tmp_path / "own" / "a" / "manifest.json").unlink()
    (tmp_path / "own" / "a" / "subnet.yaml").write_text("num_keypoints: many\n")
    with pytest.raises(InputError, match=r"line 2: .*a/subnet\.yaml: num_keypoints is 'many'; it must be an integer"):
        timings.read(14)


def test_a_blank_file_is_read_when_it_is_filled_in(timings: TimingsFile, tmp_path: Path) -> None:
    path = tmp_path / "own" / "timings.csv"
    write_blank(path, ["a", "b"])
    with pytest.raises(InputError, match="line 2: ms is empty"):
        timings.read(14)
    path.write_text(path.read_text().replace("a,", "a,1").replace("b,", "b,2"))
    assert [network.ms for network in timings.read(14)] == [1, 2]
