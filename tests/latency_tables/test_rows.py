"""The CSV of a table is read strictly: file, line and field are named."""

from pathlib import Path

import pytest

from litepose_ofa.latency_tables.rows import COLUMNS, ENERGY_COLUMN, OperatorLatency, parse_rows, read_rows, rows_to_csv
from litepose_ofa.supernet.archs.operators import Operator
from litepose_ofa.supernet.errors import InputError

BLOCK = "bottleneck,32,16,96,16,7,1,6,1.5,0.1,50"
STEM = "stem,64,3,32,16,3,2,0,1.25,0,0"
HEADER = ",".join(COLUMNS)


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_reads_what_stands_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", BLOCK, STEM)
    rows = read_rows(path)
    assert rows == {
        Operator("bottleneck", 32, 16, 96, 16, 7, 1, 6): OperatorLatency(1.5, 0.1, 50),
        Operator("stem", 64, 3, 32, 16, 3, 2): OperatorLatency(1.25, 0.0, 0),
    }
    header, *values = (",".join(reversed(line.split(","))) for line in (HEADER, BLOCK, STEM))
    assert read_rows(write(tmp_path / "b.csv", *values, header=header)) == rows, "columns in any order"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_rows(path) == rows, "a byte order mark and other line ends"


@pytest.mark.parametrize(
    ("field", "values", "allowed"),
    [
        ("kind", ("block", "", " stem"), "one of stem, bottleneck, fusion_deconv, head"),
        ("resolution", ("0", "32.0", "1000001"), "an integer from 1 to 1000000"),
        ("kernel", ("-7", "07", " 7", "1_0", "\u0667"), "an integer from 1 to 1000000"),
        ("samples", ("-1", "1e3"), "an integer from 0 to 1000000"),
        ("ms", ("0", "nan", "inf", "1e999", "1_0.5", "\u0661.5"), "a finite number above 0"),
        ("spread_ms", ("-0.1", ""), "a finite number of at least 0"),
    ],
)
def test_an_impossible_value_is_named(tmp_path: Path, field: str, values: tuple[str, ...], allowed: str) -> None:
    for value in values:
        fields = BLOCK.split(",")
        fields[COLUMNS.index(field)] = value
        path = write(tmp_path / "t.csv", STEM, ",".join(fields))
        with pytest.raises(InputError) as caught:
            read_rows(path)
        assert str(caught.value) == f"{path}, line 3: {field} is {value!r}; it must be {allowed}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((HEADER, STEM, BLOCK.rpartition(",")[0]), "line 3: it has 10 fields; it must have 11"),
        ((HEADER, STEM, f"{BLOCK},9"), "line 3: it has 12 fields; it must have 11"),
        ((HEADER, STEM, ""), "line 3: it has 0 fields; it must have 11"),
        (
            (HEADER, BLOCK, STEM, BLOCK.replace("1.5", "2")),
            "line 4: the operator of line 2 again; a row may stand once",
        ),
        ((HEADER.replace(",ms", ""),), "line 1: the column 'ms' is missing"),
        ((f"{HEADER},watts", f"{BLOCK},3"), "line 1: the column 'watts' is unknown; the columns are kind, "),
        ((f"{HEADER},ms", f"{BLOCK},3"), "line 1: the column 'ms' stands twice"),
        (("",), "line 1: the column 'kind' is missing"),
        (('kind,"ms', "1,2"), "is not CSV"),
    ],
)
def test_lines_and_columns_that_do_not_fit_are_named(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    path = write(tmp_path / "t.csv", *lines[1:], header=lines[0])
    with pytest.raises(InputError, match=message) as caught:
        read_rows(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_energy_is_a_column_of_its_own(tmp_path: Path) -> None:
    header = f"{HEADER},{ENERGY_COLUMN}"
    path = write(tmp_path / "t.csv", f"{BLOCK},12.5", f"{STEM},", header=header)
    rows = read_rows(path)
    assert [row.energy_mj for row in rows.values()] == [12.5, None]
    assert parse_rows(rows_to_csv(rows), path) == rows
    assert ENERGY_COLUMN not in rows_to_csv({operator: OperatorLatency(1.0, 0.0, 0) for operator in rows})
    for bad in ("0", "-1", "nan", "none"):
        message = f"line 2: energy_mj is '{bad}'; it must be a finite number above 0, or empty"
        with pytest.raises(InputError, match=message):
            read_rows(write(path, f"{BLOCK},{bad}", header=header))
