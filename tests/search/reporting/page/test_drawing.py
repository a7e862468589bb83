"""Charts: how they look on the page, and as PNG files."""

from io import BytesIO
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from PIL import Image

from litepose_ofa.search.reporting.page.drawing import INK, PNG_INK, chart_config, save_png, spec_of
from litepose_ofa.search.reporting.page.section import Chart, Grid


def test_a_specification_has_all_data_and_the_pages_manner() -> None:
    chart = alt.Chart(pd.DataFrame({"x": range(6000)})).mark_point().encode(x="x:Q")
    spec = spec_of(Chart(chart, "what it shows"))
    assert len(next(iter(spec["datasets"].values()))) == 6000
    assert (spec["description"], spec["width"], spec["autosize"]["type"]) == ("what it shows", "container", "fit-x")


def test_every_setting_is_one_that_vega_knows() -> None:
    chart = alt.Chart(pd.DataFrame({"x": [1, 2], "k": ["a", "b"]})).mark_point().encode(x="x:Q", color="k:N")
    svg = vl_convert.vegalite_to_svg({**spec_of(Chart(chart, "it")), "width": 300})
    assert svg.count('fill="currentColor"') > 4
    assert "undefined" not in svg
    for ink in (INK, PNG_INK):
        alt.Config.from_dict(chart_config(ink))


def test_charts_become_one_picture_with_its_warning(tmp_path: Path) -> None:
    chart = alt.Chart(pd.DataFrame({"x": [1, 2], "k": ["<a>", "b"]})).mark_point().encode(x="x:Q", color="k:N")
    small = Chart(chart.properties(height=200), "it")
    sizes = []
    for number in (1, 2, 3):
        save_png(tmp_path / "one.png", ["text", Grid([small] * number)], "Title", warning="nothing was measured")
        picture = np.asarray(Image.open(BytesIO((tmp_path / "one.png").read_bytes())).convert("RGB"))
        sizes.append(picture.shape[1])
        assert picture[0, 0].tolist() == [255, 255, 255]
        red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
        assert ((red > 180) & (green < 130) & (blue < 80)).any(), "the warning is not in sight"
    assert sizes == sorted(sizes)
