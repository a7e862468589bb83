"""Block diagrams of subnets: everything is there, at its place, and to scale."""

import random
from itertools import pairwise
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litepose_ofa.search.reporting.page.subnet_drawing import (
    BODY,
    HEAD_FEEDS,
    KERNEL_COLOURS,
    OTHER_KERNEL,
    RAW_SKIPS,
    Scale,
    draw_comparison,
    draw_subnet,
    groups_of,
)
from litepose_ofa.supernet.archs.arch import Arch, BlockArch, StageArch
from litepose_ofa.supernet.archs.operators import operators_of
from litepose_ofa.supernet.archs.published import published_archs
from litepose_ofa.supernet.archs.space import SearchSpace

SVG = "{http://www.w3.org/2000/svg}"
KINDS = ("stem", "bottleneck", "fusion_deconv", "head")
SPACE = SearchSpace.preset("litepose")

archs = st.integers(0, 2**32 - 1).map(lambda seed: SPACE.sample(random.Random(seed)))


def blocks(svg: Element, *kinds: str) -> list[Element]:
    return [group for group in svg.iter(f"{SVG}g") if group.get("class") in (kinds or KINDS)]


def box(block: Element) -> tuple[float, float, float, float]:
    """Left, top, width and height of a block."""
    rect = block.find(f"{SVG}rect")
    assert rect is not None
    left, top, width, height = (float(rect.get(name, "nan")) for name in ("x", "y", "width", "height"))
    return left, top, width, height


def texts(svg: Element) -> list[str]:
    return [text.text or "" for text in svg.iter(f"{SVG}text")]


def title(element: Element) -> str:
    found = element.find(f"{SVG}title")
    assert found is not None
    assert found.text
    return found.text


@settings(max_examples=25, deadline=None)
@given(archs)
def test_every_operator_is_a_block_of_its_height_inside_the_drawing(arch: Arch) -> None:
    svg = fromstring(draw_subnet(arch))
    operators = sorted(operators_of(arch), key=lambda operator: operator.kind == "head")
    drawn = blocks(svg)
    assert [block.get("class") for block in drawn] == [operator.kind for operator in operators]
    assert len(blocks(svg, "bottleneck")) == sum(len(stage.blocks) for stage in arch.stages)
    widest = max(operator.out_channels for operator in operators)
    width, height = float(svg.get("width", 0)), float(svg.get("height", 0))
    for block, operator in zip(drawn, operators, strict=True):
        left, top, block_width, block_height = box(block)
        assert block_height == pytest.approx(BODY * operator.out_channels / widest, abs=0.01)
        assert left >= 0
        assert left + block_width <= width
        assert top >= 0
        assert top + block_height <= height
    for before, after in pairwise(map(box, drawn)):
        assert before[0] + before[2] < after[0], "depth goes along x"


@settings(max_examples=25, deadline=None)
@given(archs)
def test_kernels_are_colours_and_expansions_bars(arch: Arch) -> None:
    svg = fromstring(draw_subnet(arch))
    settings_of_blocks = [block for stage in arch.stages for block in stage.blocks]
    largest = max(block.expansion for block in settings_of_blocks)
    for drawn, block in zip(blocks(svg, "bottleneck"), settings_of_blocks, strict=True):
        body, bar = drawn.findall(f"{SVG}rect")
        assert body.get("fill") == KERNEL_COLOURS[block.kernel]
        room = float(body.get("height", 0)) - 4
        assert float(bar.get("height", 0)) == pytest.approx(room * block.expansion / largest, abs=0.02)


def test_raw_features_and_heads_are_connected_at_their_blocks() -> None:
    svg = fromstring(draw_subnet(published_archs()["search-L"]))
    places = {title(block).partition(":")[0].partition(",")[0]: box(block) for block in blocks(svg)}
    lines = {title(line): line.get("points", "").split() for line in svg.iter(f"{SVG}polyline")}
    expected = [("raw", source, target) for source, targets in RAW_SKIPS for target in targets]
    expected += [("refined", source, target) for source, target in HEAD_FEEDS]
    assert list(lines) == [f"{kind} {source} to {target}" for kind, source, target in expected]
    for (kind, source, target), points in zip(expected, lines.values(), strict=True):
        ends = [tuple(map(float, point.split(","))) for point in (points[0], points[-1])]
        for name, (x, y) in zip((source, target), ends, strict=True):
            left, top, width, height = places[name]  # of a stage, its last block
            edge = top if kind == "raw" else top + height
            assert (x, y) == pytest.approx((left + width / 2, edge), abs=0.02)


def test_labels_give_every_number() -> None:
    arch = Arch(
        96,
        8,
        tuple(StageArch(c, s, (BlockArch(4, 5), BlockArch(2, 3))) for c, s in ((16, 2), (24, 2), (40, 2), (56, 1))),
        (32, 48, 64),
    )
    svg = fromstring(draw_subnet(arch, name="mine"))
    shown = texts(svg)
    assert [text for text in shown if text.endswith(" px")] == [
        *("48 px", "24 px", "12 px", "6 px", "6 px", "12 px", "24 px", "48 px", "24 px", "48 px")
    ]
    assert {"8", "16", "24", "40", "56", "32", "48", "64", "28", "14"} <= set(shown)
    steps = [line for line in svg.iter(f"{SVG}line") if line.get("class") == "step"]
    assert len(steps) == 8, "the size changes between all neighbours but stages 3 and 4"
    second = next(block for block in blocks(svg, "bottleneck") if title(block).startswith("stage 2, block 1"))
    assert title(second) == (
        "stage 2, block 1: 16 to 24 channels, expansion 4 (64 channels), 5x5 kernel, 24 to 12 px, "
        f"{operators_of(arch)[3].macs / 1e6:.3g} MMACs"
    )


def test_a_screen_reader_and_both_themes_are_served() -> None:
    svg = fromstring(draw_subnet(SearchSpace.preset("tiny").smallest(), name="the smallest"))
    assert svg.get("role") == "img"
    assert svg.get("aria-label", "").startswith("the smallest: 96 px input")
    assert svg.find(f"{SVG}title") is not None
    assert svg.find(f"{SVG}desc") is not None
    assert svg.get("fill") == "currentColor"
    assert all(text.get("fill") is None for text in svg.iter(f"{SVG}text")), "texts take the page's ink"


def test_names_cannot_break_out() -> None:
    hostile = '"><script>alert(1)</script>'
    arch = SearchSpace.preset("tiny").smallest()
    for drawing in (draw_subnet(arch, name=hostile), draw_comparison([(hostile, arch)], name=hostile)):
        assert "<script" not in drawing
        assert title(fromstring(drawing)) == hostile


def test_an_unknown_kernel_is_drawn() -> None:
    arch = SearchSpace.preset("tiny").smallest()
    stages = (StageArch(8, 2, (BlockArch(2, 9),)), *arch.stages[1:])
    svg = fromstring(draw_subnet(Arch(arch.image_size, arch.stem_channels, stages, arch.deconv_channels)))
    assert blocks(svg, "bottleneck")[0].findall(f"{SVG}rect")[0].get("fill") == OTHER_KERNEL
    assert "9x9" in texts(svg)


def test_two_drawings_of_one_scale_can_be_compared() -> None:
    small, large = published_archs()["search-XS"], published_archs()["search-L"]
    scale = Scale.of([small, large])
    assert scale == Scale(160, 6)
    heights = [max(box(block)[3] for block in blocks(fromstring(draw_subnet(a, scale=scale)))) for a in (small, large)]
    assert heights == pytest.approx([BODY * 80 / 160, BODY])


def test_a_comparison_has_rows_of_one_scale_whose_stages_begin_alike() -> None:
    rng = random.Random(5)
    chosen = [(name, SPACE.sample(rng)) for name in ("xs", "s", "m")]
    svg = fromstring(draw_comparison(chosen, name="board"))
    assert [text for text in texts(svg) if text in ("xs", "s", "m")] == ["xs", "s", "m"]
    drawn = iter(blocks(svg))
    starts, ratios, bottoms, tops = [], set(), [], []
    for _, arch in chosen:
        row = [(group, operator, box(next(drawn))) for group in groups_of(arch) for operator in group.operators]
        starts.append([next(place[0] for group, _, place in row if group.name == f"stage {s}") for s in range(1, 5)])
        ratios |= {round(place[3] / operator.out_channels, 2) for _, operator, place in row}
        tops.append(min(place[1] for _, _, place in row))
        bottoms.append(max(place[1] + place[3] for _, _, place in row))
    assert next(drawn, None) is None
    assert starts[0] == starts[1] == starts[2]
    assert max(ratios) - min(ratios) <= 0.011
    assert all(bottom < top for bottom, top in zip(bottoms, tops[1:], strict=False)), "rows do not overlap"
