"""The CSV of a table is read strictly: file, line and field are named."""

from pathlib import Path

import pytest

from litepose_ofa.latency_tables.rows import COLUMNS, ENERGY_COLUMN, OperatorLatency, parse_rows, read_rows, rows_to_csv
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.errors import InputError

GOOD = {
    "kind": "bottleneck",
    "resolution": "32",
    "in_channels": "16",
    "mid_channels": "96",
    "out_channels": "16",
    "kernel": "7",
    "stride": "1",
    "expansion": "6",
    "ms": "1.5",
    "spread_ms": "0.1",
    "samples": "50",
}
STEM = "stem,64,3,32,16,3,2,0,1.25,0,0"


def write(path: Path, *lines: str, header: str = ",".join(COLUMNS)) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def line(**changes: str) -> str:
    return ",".join({**GOOD, **changes}.values())


def test_reads_what_stands_there(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "t.csv", line(), STEM))
    assert rows == {
        Operator("bottleneck", 32, 16, 96, 16, 7, 1, 6): OperatorLatency(1.5, 0.1, 50),
        Operator("stem", 64, 3, 32, 16, 3, 2): OperatorLatency(1.25, 0.0, 0),
    }


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    header, values = ",".join(reversed(COLUMNS)), ",".join(reversed(line().split(",")))
    shuffled = read_rows(write(tmp_path / "a.csv", values, header=header))
    assert shuffled == read_rows(write(tmp_path / "b.csv", line()))


def test_rows_are_sorted_in_the_text() -> None:
    row = OperatorLatency(1.0, 0.0, 1)
    late, early = (Operator("bottleneck", size, 16, 96, 16, 7, 1, 6) for size in (128, 64))
    lines = rows_to_csv({late: row, early: row}).splitlines()
    assert [text.split(",")[1] for text in lines[1:]] == ["64", "128"]


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("kind", "block", "one of stem, bottleneck, fusion_deconv, head"),
        ("resolution", "0", "an integer from 1"),
        ("resolution", "32.0", "an integer from 1"),
        ("in_channels", "-16", "an integer from 1"),
        ("expansion", "-1", "an integer from 0"),
        ("samples", "1e3", "an integer from 0"),
        ("kernel", "07", "an integer from 1"),
        ("kernel", " 7", "an integer from 1"),
        ("kernel", "1_0", "an integer from 1"),
        ("kernel", "\u0667", "an integer from 1"),
        ("resolution", "1000001", "an integer from 1 to 1000000"),
        ("ms", "0", "a finite number above 0"),
        ("ms", "nan", "a finite number above 0"),
        ("ms", "inf", "a finite number above 0"),
        ("ms", "1e999", "a finite number above 0"),
        ("ms", "1_0.5", "a finite number above 0"),
        ("ms", "\u0661.5", "a finite number above 0"),
        ("spread_ms", "-0.1", "a finite number of at least 0"),
        ("spread_ms", "", "a finite number of at least 0"),
    ],
)
def test_an_impossible_value_is_named(tmp_path: Path, field: str, value: str, allowed: str) -> None:
    path = write(tmp_path / "t.csv", STEM, line(**{field: value}))
    with pytest.raises(InputError) as caught:
        read_rows(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 3: {field} is {value!r}; it must be {allowed}")
    assert "\n" not in message


@pytest.mark.parametrize(("bad", "found"), [(line().rsplit(",", 1)[0], 10), (f"{line()},9", 12), ("", 0)])
def test_a_line_with_too_few_or_too_many_fields_is_named(tmp_path: Path, bad: str, found: int) -> None:
    with pytest.raises(InputError, match=f"line 3: it has {found} fields; it must have 11"):
        read_rows(write(tmp_path / "t.csv", STEM, bad))


def test_a_row_that_stands_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 4: the operator of line 2 again"):
        read_rows(write(tmp_path / "t.csv", line(), STEM, line(ms="2")))


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    header = ",".join(name for name in COLUMNS if name != column)
    with pytest.raises(InputError, match=f"the column '{column}' is missing"):
        read_rows(write(tmp_path / "t.csv", header=header))


def test_unknown_and_repeated_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: the column 'watts' is unknown; the columns are kind, .*energy_mj"):
        read_rows(write(tmp_path / "t.csv", f"{line()},3", header=",".join([*COLUMNS, "watts"])))
    with pytest.raises(InputError, match="line 1: the column 'ms' stands twice"):
        read_rows(write(tmp_path / "t.csv", f"{line()},3", header=",".join([*COLUMNS, "ms"])))


def test_line_endings_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.csv", line(), STEM)
    other = tmp_path / "b.csv"
    other.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"))
    assert read_rows(other) == read_rows(plain)


def test_energy_is_a_column_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", f"{line()},12.5", f"{STEM},", header=",".join([*COLUMNS, ENERGY_COLUMN]))
    rows = read_rows(path)
    assert [row.energy_mj for row in rows.values()] == [12.5, None]
    assert parse_rows(rows_to_csv(rows), path) == rows
    assert ENERGY_COLUMN not in rows_to_csv({operator: OperatorLatency(1.0, 0.0, 0) for operator in rows})
    for bad in ("0", "-1", "nan", "none"):
        path.write_text(f"{','.join([*COLUMNS, ENERGY_COLUMN])}\n{line()},{bad}\n")
        with pytest.raises(
            InputError, match=f"line 2: energy_mj is '{bad}'; it must be a finite number above 0, or empty"
        ):
            read_rows(path)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b'kind,"ms\n1,2', f"{','.join(COLUMNS)}\n{line()},9,9".encode()]
)
def test_what_is_no_table_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
