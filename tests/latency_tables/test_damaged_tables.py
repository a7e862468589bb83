"""Damaged table files are refused with one line, or read as what was saved; no number changes silently."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.errors import InputError

NUMBERS = """nan NaN .nan inf -inf .inf -1 -0 0 1 1e3 1E-3 1e999 1. .5 +1.5 0x1F 0o17 017 1_000 1:30 1:30.5 ٣ ３ 1,5
"1" '1' 1#2"""
YAML_TOKENS = "yes no on off true ~ null '' [] {} 2026-01-31 &a *a | > % @ ` << = \t"
YAML_PHRASES = ("!!str 1", "!!float 2", "!!python/object/apply:os.getcwd []", "!!binary aGVsbG8=", "- 1", "? 1")
YAML_LINES = """network_scale: 9.5
threads: 7
checksum: sha256:0
watts: 5
<<: {network_scale: 3.5}
<<: [{batch: 2}, {threads: 2}]
? threads
---
...
%YAML 1.1
validation_errors: *e
\u2028"""
CSV_LINES = """stem,96,3,32,8,3,2,0,5.0,0.1,50
stem,96,3,32,8,3,2,0,5.0,0.1,50,7.5
STEM,96,3,32,8,3,2,0,5.0,0.1,50
head,1,1,1,1,1,1,0,1e-9,0,0
,,,,,,,,,,
"
\x00
#
\u2028
 """


def bytes_damaged(draw: st.DrawFn, content: bytes, suffix: str) -> bytes:
    """Flip a bit, delete, repeat, overwrite or insert a few bytes, or cut the file off."""
    start = draw(st.integers(0, max(len(content) - 1, 0)))
    end = start + draw(st.integers(1, 12))
    span = content[start:end]
    flipped = st.integers(0, 7).map(lambda bit: bytes(b ^ (1 << bit) if i == 0 else b for i, b in enumerate(span)))
    texts = st.text(max_size=3).map(lambda text: text.encode("utf-8", "surrogatepass"))
    new = draw(flipped | st.sampled_from([b"", span + span, span[::-1]]) | st.binary(max_size=4) | texts)
    return content[:start] + new + (b"" if draw(st.integers(0, 9)) == 0 else content[end:])


def lines_damaged(draw: st.DrawFn, content: bytes, suffix: str) -> bytes:
    """Delete, repeat, move or exchange lines, or put a treacherous one between them."""
    lines = content.split(b"\n")
    place, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    treacherous = draw(st.sampled_from((CSV_LINES if suffix == ".csv" else YAML_LINES).split("\n"))).encode()
    changes: dict[str, Callable[[], object]] = {
        "delete": lambda: lines.pop(place),
        "repeat": lambda: lines.insert(other, lines[place]),
        "move": lambda: lines.insert(other, lines.pop(place)),
        "insert": lambda: lines.insert(place, treacherous),
    }
    changes[draw(st.sampled_from(list(changes)))]()
    return b"\n".join(lines)


def tokens_damaged(draw: st.DrawFn, content: bytes, suffix: str) -> bytes:
    """Replace a field or a value, or exchange two fields of a line."""
    lines = content.split(b"\n")
    place = draw(st.integers(0, len(lines) - 1))
    separator = b"," if suffix == ".csv" else b": "
    fields = lines[place].split(separator)
    first, second = (draw(st.integers(0, len(fields) - 1)) for _ in range(2))
    if draw(st.booleans()):
        fields[first], fields[second] = fields[second], fields[first]
    else:
        tokens = [*NUMBERS.split(), "1 ", " 1"]
        tokens += [] if suffix == ".csv" else [*YAML_TOKENS.split(" "), *YAML_PHRASES]
        fields[first] = draw(st.sampled_from(tokens)).encode()
    lines[place] = separator.join(fields)
    return b"\n".join(lines)


def digit_damaged(draw: st.DrawFn, content: bytes, suffix: str) -> bytes:
    """Change one digit: the damage that nothing but the checksum can see."""
    place = draw(st.sampled_from([i for i, byte in enumerate(content) if chr(byte).isdigit()] or [len(content)]))
    return content[:place] + str(draw(st.integers(0, 9))).encode() + content[place + 1 :]


def endings_damaged(draw: st.DrawFn, content: bytes, suffix: str) -> bytes:
    """Change what ends lines, the encoding, or what stands around the text."""
    exchanges = [(b"\n", b"\r\n"), (b"\n", b"\r"), (b"\n", b"\n\n"), (b".", b","), (b",", b";"), (b": ", b":\t")]
    utf_16 = content.decode("utf-8", "replace").encode("utf-16")
    whole = [content.rstrip(b"\n"), content + b"\n", b"\xef\xbb\xbf" + content, utf_16, b""]
    return draw(st.sampled_from([*(content.replace(*exchange) for exchange in exchanges), *whole]))


DAMAGES = (bytes_damaged, lines_damaged, tokens_damaged, digit_damaged, endings_damaged)


def test_a_damaged_table_is_refused_or_read_correctly(tmp_path: Path) -> None:
    shipped, path = LatencyTable.load("snapdragon_855"), tmp_path / "damaged"
    operators = operators_of(SearchSpace.preset("tiny").smallest())
    rows = {o: replace(shipped.lookup(o), samples=50, energy_mj=1.5) for o in operators}
    table = LatencyTable(shipped.metadata, rows)
    table.save(path)
    pair = {suffix: path.with_suffix(suffix).read_bytes() for suffix in (".csv", ".yaml")}
    outcomes = set()

    @settings(max_examples=500, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def refused_or_equal(data: st.DataObject) -> None:
        damaged = dict(pair)
        for _ in range(data.draw(st.integers(1, 3))):
            suffix = data.draw(st.sampled_from(list(pair)))
            damaged[suffix] = data.draw(st.sampled_from(DAMAGES))(data.draw, damaged[suffix], suffix)
        for suffix, content in damaged.items():
            path.with_suffix(suffix).write_bytes(content)
        message = None
        try:
            loaded = LatencyTable.load(path)
        except InputError as error:
            message = str(error)
        outcomes.add(message is None)
        if message is None:
            assert (loaded.metadata, loaded.rows) == (table.metadata, table.rows)
        else:
            assert message.startswith(str(path))
            assert len(message.splitlines()) == 1

    refused_or_equal()
    assert outcomes == {True, False}
