"""The Pareto front of every device: a chart with all that is known of a subnet where a pointer rests on it."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.search.reporting.findings import DevicePanel
from litepose_ofa.search.reporting.page.drawing import BLUE, GREY, HEIGHT, ORANGE, VERMILION, tooltips
from litepose_ofa.search.reporting.page.section import Chart, Section
from litepose_ofa.search.reporting.summary import AP_BY, format_latency
from litepose_ofa.search.study.trials import read_genome
from litepose_ofa.supernet.archs.space import SearchSpace

MOST_OTHERS = 2000
"""Subnets behind a front that a chart shows, at most."""

WIDEST_INTERVAL = 0.5
"""Greatest half-width of an interval that is drawn, by the extent of the chart."""

STAR = "M0,-1L.24,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.24,-.32Z"

FRONT = "front: AP by the {source}"
VERIFIED = "of the front, measured on the search split"
PUBLISHED = "published LitePose, AP as published"
CHOSEN = {
    "ap_val": "chosen: AP on held-out images",
    "ap_search": "chosen: AP on the search split",
    "ap_predicted": "chosen: AP by the {source}",
}
"""Kinds of points; of a chosen subnet the best AP that is known, the first column of the summary that has one."""

LOOKS = {
    FRONT: (BLUE, "circle", 45),
    VERIFIED: (BLUE, "cross", 40),
    PUBLISHED: (ORANGE, STAR, 190),
    CHOSEN["ap_val"]: (VERMILION, "circle", 110),
    CHOSEN["ap_search"]: (VERMILION, "diamond", 110),
    CHOSEN["ap_predicted"]: (VERMILION, "square", 110),
}
"""Colour, symbol and its size in square pixels of each kind."""

SIZES = {look: size for look, (*_, size) in LOOKS.items()}

PLACES = ["look", "kind", "name", "latency_ms", "latency_low_ms", "latency_high_ms", "ap"]
"""Columns of points that a pointer is not told as they are."""


def fronts_section(panels: Sequence[DevicePanel], *, space: SearchSpace, source: str, dataset: str | None) -> Section:
    """Return the section of the fronts, a chart a device."""
    intro = (
        f"Each step of a blue line is a subnet that no evaluated one beats in both latency and AP, by the "
        f"{AP_BY[source]}. Dotted lines are the tiers' latency budgets. All devices share the AP axis. "
        "Latencies of the published subnets are by the same tables. Point at a subnet to see what it is."
    )
    points = [panel_points(panel, space, source) for panel in panels]
    ends = [100 * end for panel, shown in zip(panels, points, strict=True) for end in _ap_ends(panel, shown)]
    scale = alt.Scale(domain=[min(ends), max(*ends, min(ends) + 1)], nice=False, padding=14)
    y = alt.Y("ap:Q", title=f"AP{'' if dataset is None else f' on {dataset}'}, %", scale=scale)
    charts = [_device_chart(panel, shown, y) for panel, shown in zip(panels, points, strict=True)]
    return Section("fronts", "Pareto fronts", [intro, *charts])


def _ap_ends(panel: DevicePanel, points: pd.DataFrame) -> list[float]:
    """Return the least and the greatest AP that a chart shows; a tenth of the other subnets may fall below."""
    others = panel.others["ap"].quantile([0.1, 1]).dropna()
    return [points["ap"].min(), points["ap"].max(), *others]


def staircase(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points of the fronts of all tiers that no other is faster and better than, the fastest first."""
    ordered = points.sort_values(["latency_ms", "ap"], ascending=[True, False])
    return ordered[ordered["ap"] > ordered["ap"].cummax().shift(fill_value=-np.inf)]


def latency_window(panel: DevicePanel) -> tuple[float, float]:
    """Return the latencies in ms that show budgets, choices, and the front from a third of the least budget on."""
    budgets, chosen = panel.summary["budget_ms"], panel.summary["latency_ms"]
    ends = [*staircase(panel.front)["latency_ms"], *chosen, *budgets]
    near = [ms for ms in panel.published["latency_ms"] if ms < 1.5 * max(ends)]
    low = min(max(min(ends), min(budgets) / 3), *chosen)
    return low, max([*ends, *near, 1.05 * low])


def panel_points(panel: DevicePanel, space: SearchSpace, source: str) -> pd.DataFrame:
    """Return the subnets that a panel's chart shows before the others, with what is told of them, kind by kind.

    Returns:
        ``look`` (a key of ``LOOKS``), ``kind`` (for the legend), ``name`` (written beside it, or empty), latency and
        its interval, ``ap`` in [0, 1], and texts that a pointer is told.
    """
    aps = panel.summary[list(CHOSEN)].astype(float)
    chosen = panel.summary.assign(ap=aps.bfill(axis=1).iloc[:, 0], look=aps.notna().idxmax(axis=1).map(CHOSEN))
    genomes = panel.front.drop_duplicates("arch_digest").set_index("arch_digest")["genome"]
    chosen = chosen.assign(genome=chosen["arch_digest"].map(genomes), name=chosen["tier"].str.upper())
    verified = panel.front.dropna(subset="verified_ap")
    verified = verified.assign(ap=verified["verified_ap"].astype(float), look=VERIFIED)
    parts = [staircase(panel.front).assign(look=FRONT), verified, _published(panel), chosen.sort_values("look")]
    points = pd.concat([part.dropna(axis="columns", how="all") for part in parts if len(part)], ignore_index=True)
    points = points[points["latency_ms"].between(*latency_window(panel))]
    codec = GenomeCodec(space)
    told = pd.DataFrame([_told(row, codec) for row in points.to_dict("records")], index=points.index)
    kinds = points["look"].map(lambda look: look.format(source=AP_BY[source]))
    return pd.concat([points.assign(kind=kinds, name=points["name"].fillna(""))[PLACES], told], axis=1)


def _published(panel: DevicePanel) -> pd.DataFrame:
    """Return the published subnets with an AP as rows of a front."""
    points = panel.published.dropna(subset="ap")
    names, provenance = "LitePose-" + points["name"].astype(str), "measured" if _is_measured(panel) else "estimated"
    return points.assign(name=names, tier="published " + names, look=PUBLISHED, latency_provenance=provenance)


def _told(row: Mapping[Any, Any], codec: GenomeCodec) -> dict[str, str]:
    """Return what is told of a subnet, a row of the fronts or of the summary, or a published one."""
    told = {"tier": row["tier"], "AP": f"{100 * row['ap']:.1f}", "latency": f"{format_latency(row)} ms"}
    if row["look"] == PUBLISHED:
        return told | {"AP": f"{told['AP']}, published"}
    told["80 % interval"] = f"{row['latency_low_ms']:.4g} to {row['latency_high_ms']:.4g} ms"
    told["resolution"] = f"{row['image_size']:.0f} px"
    if isinstance(row["genome"], str):
        stages = codec.decode(np.array(read_genome(row["genome"]))).stages
        told["blocks a stage"] = " - ".join(str(len(stage.blocks)) for stage in stages)
    return told | {"MACs, millions": f"{row['macs'] / 1e6:,.1f}"}


def _is_measured(panel: DevicePanel) -> bool:
    return set(panel.summary["latency_provenance"]) == {"measured"}


def _elsewhere(panel: DevicePanel, window: tuple[float, float]) -> str:
    """Say where the published subnets are that the chart cannot show: outside of it, or without an AP."""
    hidden = panel.published[panel.published["ap"].isna() | ~panel.published["latency_ms"].between(*window)]
    listed = ", ".join(f"{row.name}\N{NO-BREAK SPACE}{row.latency_ms:,.0f}" for row in hidden.itertuples(index=False))
    where = "Published LitePose, outside of this picture or without an AP on this dataset, ms"
    return f"{where}: {listed}." if listed else ""


def _device_chart(panel: DevicePanel, points: pd.DataFrame, y: alt.Y) -> Chart:
    low, high = latency_window(panel)
    title = "latency by measured operators, ms" if _is_measured(panel) else "estimated latency, ms"
    scale = alt.Scale(type="log" if high > 6 * low else "linear", domain=[low, high], nice=False, padding=20)
    x = alt.X("latency_ms:Q", title=title, scale=scale, axis=alt.Axis(format="~g"))
    others = panel.others[panel.others["latency_ms"].between(low, high)]
    others = _in_percent(others.iloc[:: -(-len(others) // MOST_OTHERS) or 1])
    points, steps = _in_percent(points), _in_percent(staircase(panel.front)[["latency_ms", "ap"]])
    symbols = {"x": x, "y": y, **_legend([*others["kind"].unique(), *points["kind"].unique()], points)}
    half = float((panel.summary["latency_high_ms"] - panel.summary["latency_low_ms"]).median()) / 2
    has_room = half < WIDEST_INTERVAL * (high - low)
    intervals = "Bars: 80 % intervals of the latencies of the chosen subnets."
    if not has_room:
        intervals = f"80 % intervals of the latencies, \N{PLUS-MINUS SIGN}{half:.2g} ms, are wider than this picture."
    bars = alt.Chart(points[points["look"].isin(CHOSEN.values()) & has_room])

    def named(rows: "pd.Series[bool]") -> alt.Chart:
        """Return one name a place: a subnet may be chosen twice."""
        return alt.Chart(points[rows].groupby(["latency_ms", "ap"], as_index=False)["name"].agg(", ".join))

    chart = alt.layer(
        *_budgets(panel.summary, x),
        alt.Chart(others).mark_point(filled=True, size=18, opacity=0.45, aria=False, clip=True).encode(**symbols),
        alt.Chart(steps).mark_line(interpolate="step-after", color=BLUE, clip=True).encode(x, y),
        bars.mark_rule(color=VERMILION, strokeWidth=1.5, clip=True).encode(
            alt.X("latency_low_ms:Q", title=title, scale=scale), y, x2="latency_high_ms:Q"
        ),
        alt.Chart(points.assign(size=points["look"].map(SIZES))).mark_point(filled=True, opacity=1, clip=True).encode(
            **symbols, size=alt.Size("size:Q", scale=None), tooltip=tooltips(points.drop(columns=PLACES))
        ),
        named(points["look"].isin(CHOSEN.values())).mark_text(dy=-13, fontWeight=700).encode(x, y, text="name:N"),
        named(points["look"] == PUBLISHED).mark_text(dy=15, fontSize=10.5).encode(x, y, text="name:N"),
    )  # fmt: skip
    notes = f"{panel.title}: AP against latency.", intervals, _elsewhere(panel, (low, high)), panel.note
    return Chart(chart.properties(height=HEIGHT, title=panel.title), " ".join(filter(None, notes)))


def _in_percent(points: pd.DataFrame) -> pd.DataFrame:
    return points.assign(ap=100 * points["ap"]).round({"latency_ms": 4, "ap": 3})


def _legend(kinds: list[str], points: pd.DataFrame) -> dict[str, Any]:
    """Return the channels of the colours and symbols of kinds of points."""
    known = points.drop_duplicates("kind").set_index("kind")["look"].map(LOOKS).to_dict()
    looks = [known.get(kind, (GREY, "circle", 18)) for kind in kinds]
    colours, shapes, _ = (alt.Scale(domain=kinds, range=list(each)) for each in zip(*looks, strict=True))
    return {"color": alt.Color("kind:N", scale=colours), "shape": alt.Shape("kind:N", scale=shapes)}


def _budgets(summary: pd.DataFrame, x: alt.X) -> list[alt.Chart]:
    """Return the tiers' budgets as rules, and their names at the upper ends."""
    tiers = summary.groupby("budget_ms")["tier"].agg(lambda names: ", ".join(names).upper())
    budgets = alt.Chart(pd.DataFrame({"latency_ms": tiers.index, "tier": tiers})).encode(x)
    names = budgets.mark_text(baseline="bottom", dy=-3, fontSize=11, opacity=0.75)
    return [budgets.mark_rule(strokeDash=[2, 3], opacity=0.55), names.encode(y=alt.value(0), text="tier:N")]
