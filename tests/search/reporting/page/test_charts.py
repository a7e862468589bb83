"""What all charts of the page have in common."""

import altair as alt
import pandas as pd
import vl_convert

from litepose_ofa.search.reporting.page.charts import (
    BLUE,
    CONFIG,
    INK,
    PALETTE,
    percent_axis,
    spec_of,
)


def contrast(colour: str, paper: str) -> float:
    """The contrast ratio of WCAG 2.2 between two colours, 1 to 21."""

    def luminance(text: str) -> float:
        channels = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(colour), luminance(paper)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_specification_has_all_data_and_the_pages_manner() -> None:
    frame = pd.DataFrame({"x": range(6000)})
    chart = alt.Chart(frame).mark_point().encode(x=alt.X("x:Q", **percent_axis("share, %")))
    spec = spec_of(chart.properties(width="container"), "what it shows")
    assert len(next(iter(spec["datasets"].values()))) == 6000
    assert (spec["description"], spec["width"]) == ("what it shows", "container")
    assert spec["autosize"]["type"] == "fit-x"
    assert spec["config"]["axis"]["labelColor"] == INK
    assert spec["encoding"]["x"]["title"] == "share, %"
    assert spec["encoding"]["x"]["scale"]["zero"] is False


def test_every_setting_is_one_that_vega_knows() -> None:
    chart = alt.Chart(pd.DataFrame({"x": [1, 2], "k": ["a", "b"]})).mark_point().encode(x="x:Q", color="k:N")
    svg = vl_convert.vegalite_to_svg({**spec_of(chart, "it"), "width": 300})
    assert svg.count('fill="currentColor"') > 4
    assert "undefined" not in svg
    alt.Config.from_dict(CONFIG)


def test_colours_are_seen_on_white_and_on_black() -> None:
    assert len(set(PALETTE)) == len(PALETTE)
    assert min(contrast(BLUE, paper) for paper in ("#ffffff", "#14171b")) > 3
    for colour in PALETTE:
        assert contrast(colour, "#14171b") > 3
        assert contrast(colour, "#ffffff") > 2
