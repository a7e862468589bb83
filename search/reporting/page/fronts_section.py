"""The Pareto front of every device: a chart with all that is known of a subnet where a pointer rests on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.search.reporting.page.section import (
    BLUE,
    GREY,
    HEIGHT,
    INK,
    NARROW,
    ORANGE,
    VERMILION,
    Chart,
    Prose,
    Section,
)
from litepose_ofa.search.reporting.page.summary_section import format_latency
from litepose_ofa.search.reporting.panels import (
    CHOSEN_BY,
    DevicePanel,
    LatencyWindow,
    ap_range,
    ap_title,
    interval_note,
    latency_title,
    latency_window,
    outside_note,
    staircase,
)
from litepose_ofa.search.reporting.summary import AP_BY
from litepose_ofa.search.study.trials import read_genome
from litepose_ofa.supernet.archs.space import SearchSpace

MOST_CLOUD = 2000
"""Subnets behind a front that a chart shows, at most."""

STAR = "M0,-1L.24,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.24,-.32Z"
"""A symbol's outline; it touches a circle of radius 1."""

CHOSEN_SHAPES = {"ap_val": "circle", "ap_search": "diamond", "ap_predicted": "square"}

TOOLTIP = {
    "tier": "tier", "ap_text": "AP", "latency": "latency", "interval": "80 % interval", "image_size": "resolution",
    "depths": "blocks a stage", "mmacs": "MACs, millions",
}  # fmt: skip
"""What is told of a subnet: columns, and what they are called."""


@dataclass(frozen=True)
class Kind:
    """One kind of points, as a legend explains it: a symbol, whose size is in square pixels, and its points.

    Points have ``latency_ms``, ``ap`` in %, and columns of ``TOOLTIP``; chosen ones also ``latency_low_ms`` and
    ``latency_high_ms``. Those that are told are read to readers who cannot see them.
    """

    label: str
    colour: str
    shape: str
    size: int
    points: pd.DataFrame
    opacity: float = 1.0
    is_told: bool = True
    is_chosen: bool = False


def front_kind(panel: DevicePanel, window: LatencyWindow, source: str, codec: GenomeCodec) -> Kind:
    """Return the subnets of a device's front."""
    front = staircase(panel.front)
    inside = front[front["latency_ms"].map(window.holds)]
    return Kind(f"front: AP by the {AP_BY[source]}", BLUE, "circle", 45, _described(inside, codec))


def cloud_kinds(panel: DevicePanel, window: LatencyWindow, aps: tuple[float, float]) -> list[Kind]:
    """Return the subnets behind the front that a chart has room for, evenly thinned where there are too many."""
    if panel.cloud is None:
        return []
    points = pd.DataFrame({"latency_ms": panel.cloud.latency_ms, "ap": 100 * panel.cloud.ap})
    points = points[points["latency_ms"].map(window.holds) & points["ap"].between(*aps)]
    points = points.iloc[:: -(-len(points) // MOST_CLOUD) or 1].round({"latency_ms": 4, "ap": 2})
    mark = _estimate_mark(panel)
    told = {
        "ap_text": points["ap"].map("{:.1f}".format),
        "latency": points["latency_ms"].map(f"{mark}{{:.4g}} ms".format),
    }
    return [Kind(panel.cloud.label, GREY, "circle", 18, points.assign(**told), opacity=0.45, is_told=False)]


def verified_kinds(panel: DevicePanel, window: LatencyWindow, codec: GenomeCodec) -> list[Kind]:
    """Return the subnets of the fronts whose AP was measured, there."""
    rows = panel.front[panel.front["verified_ap"].notna() & panel.front["latency_ms"].map(window.holds)]
    if rows.empty:
        return []
    points = _described(rows.assign(ap=rows["verified_ap"]), codec)
    return [Kind("of the front, measured on the search split", BLUE, "cross", 40, points, opacity=0.8)]


def chosen_kinds(panel: DevicePanel, source: str, codec: GenomeCodec) -> list[Kind]:
    """Return the chosen subnets by the best AP that is known of each."""
    genomes = panel.front.drop_duplicates("arch_digest").set_index("arch_digest")["genome"]
    left, kinds = panel.summary, []
    for column, label in CHOSEN_BY.items():
        known, left = left[left[column].notna()], left[left[column].isna()]
        if len(known):
            points = _described(known.assign(ap=known[column], genome=known["arch_digest"].map(genomes)), codec)
            label = label.format(source=AP_BY[source])
            points["name"] = points["tier"].str.upper()
            kinds.append(Kind(label, VERMILION, CHOSEN_SHAPES[column], 110, points, is_chosen=True))
    return kinds


def published_kinds(panel: DevicePanel, window: LatencyWindow, foot: float) -> list[Kind]:
    """Return the published subnets inside."""
    mark = _estimate_mark(panel)
    by_label: dict[str, list[dict[str, Any]]] = {}
    for point in panel.published:
        if window.holds(point.latency_ms):
            known = "AP as published" if point.ap is not None else "no published AP on this dataset"
            row = {
                "latency_ms": point.latency_ms,
                "ap": foot if point.ap is None else 100 * point.ap,
                "name": f"LitePose-{point.name}",
                "tier": f"published LitePose-{point.name}",
                "ap_text": "not published" if point.ap is None else f"{100 * point.ap:.1f}, published",
                "latency": f"{mark}{point.latency_ms:.4g} ms",
            }
            by_label.setdefault(f"published LitePose, {known}", []).append(row)
    return [Kind(label, ORANGE, STAR, 190, pd.DataFrame(rows)) for label, rows in by_label.items()]


def _described(rows: pd.DataFrame, codec: GenomeCodec) -> pd.DataFrame:
    """Return points with what is told of them, from rows of the fronts or of the summary with their genomes."""
    records = rows.to_dict("records")
    points = pd.DataFrame([_describe({str(key): value for key, value in row.items()}, codec) for row in records])
    return points.round({"latency_ms": 4, "latency_low_ms": 4, "latency_high_ms": 4, "ap": 3})


def _describe(row: Mapping[str, Any], codec: GenomeCodec) -> dict[str, Any]:
    stages = codec.decode(np.array(read_genome(row["genome"]))).stages if isinstance(row["genome"], str) else ()
    return {
        "latency_ms": row["latency_ms"],
        "latency_low_ms": row["latency_low_ms"],
        "latency_high_ms": row["latency_high_ms"],
        "ap": 100 * row["ap"],
        "tier": row["tier"],
        "ap_text": f"{100 * row['ap']:.1f}",
        "latency": f"{format_latency(row)} ms",
        "interval": f"{row['latency_low_ms']:.4g} to {row['latency_high_ms']:.4g} ms",
        "image_size": f"{row['image_size']} px",
        "depths": " - ".join(str(len(stage.blocks)) for stage in stages),
        "mmacs": f"{row['macs'] / 1e6:,.1f}",
    }


def _estimate_mark(panel: DevicePanel) -> str:
    """Return what stands before the latencies of a device that the summary does not hold."""
    return "" if set(panel.summary["latency_provenance"]) == {"measured"} else "~"


INTERVAL_NOTE = "Bars: 80 % intervals of the latencies of the chosen subnets."


def _scales(panel: DevicePanel, kinds: Sequence[Kind], aps: tuple[float, float], dataset: str | None) -> dict[str, Any]:
    """Return the channels that all layers of a chart share: its axes, and the legend of its kinds."""
    window = latency_window(panel)
    labels, domain = [kind.label for kind in kinds], [window.low_ms, window.high_ms]
    x_scale = alt.Scale(type="log" if window.is_logarithmic else "linear", domain=domain, nice=False)
    colours, shapes = ([getattr(kind, look) for kind in kinds] for look in ("colour", "shape"))
    return {
        "x": alt.X("latency_ms:Q", title=latency_title(panel), scale=x_scale, axis=alt.Axis(format="~g")),
        "y": alt.Y("ap:Q", title=ap_title(dataset), scale=alt.Scale(domain=list(aps), nice=False)),
        "color": alt.Color("kind:N", title=None, scale=alt.Scale(domain=labels, range=colours)),
        "shape": alt.Shape("kind:N", title=None, scale=alt.Scale(domain=labels, range=shapes)),
    }


def fronts_section(panels: Sequence[DevicePanel], *, space: SearchSpace, source: str, dataset: str | None) -> Section:
    """Return the section of the fronts, a chart a device."""
    lows, highs = zip(*(ap_range(panel, latency_window(panel)) for panel in panels), strict=True)
    margin = 0.06 * (max(highs) - min(lows)) or 1.0
    aps = (min(lows) - margin, max(highs) + margin)
    intro = (
        f"Each step of a blue line is a subnet that no evaluated one beats in both latency and AP, by the "
        f"{AP_BY[source]}. Dotted lines are the tiers' latency budgets. All devices share the AP axis. "
        "Latencies of the published subnets are by the same tables. Point at a subnet to see what it is."
    )
    charts = [_device_chart(panel, aps, GenomeCodec(space), source, dataset) for panel in panels]
    return Section("fronts", "Pareto fronts", [Prose(intro), *charts])


def _device_chart(
    panel: DevicePanel, aps: tuple[float, float], codec: GenomeCodec, source: str, dataset: str | None
) -> Chart:
    window = latency_window(panel)
    behind, chosen = cloud_kinds(panel, window, aps), chosen_kinds(panel, source, codec)
    published = published_kinds(panel, window, foot=aps[0])
    front = front_kind(panel, window, source, codec)
    kinds = [*behind, front, *verified_kinds(panel, window, codec), *published, *chosen]
    scales = _scales(panel, kinds, aps, dataset)
    too_wide = interval_note(panel)
    layers: list[alt.Chart] = [
        *_budgets(panel.summary, scales),
        *(_symbols(kind, scales) for kind in behind),
        _steps(panel, scales),
        *(_intervals(kind, scales) for kind in chosen if not too_wide),
        *(_symbols(kind, scales) for kind in kinds[len(behind) :]),
        *(_names(kind, scales) for kind in [*published, *chosen]),
    ]
    chart = alt.layer(*layers).properties(width="container", height=HEIGHT, title=panel.title)
    notes = (too_wide or INTERVAL_NOTE, outside_note(panel.published, window), panel.note)
    return Chart(chart, f"{panel.title}: AP against latency. {' '.join(note for note in notes if note)}")


def _symbols(kind: Kind, scales: dict[str, Any]) -> alt.Chart:
    told = [alt.Tooltip(f"{name}:N", title=title) for name, title in TOOLTIP.items() if name in kind.points]
    mark = alt.Chart(kind.points.assign(kind=kind.label)).mark_point(
        filled=True, size=kind.size, opacity=kind.opacity, aria=kind.is_told, clip=True, strokeWidth=0
    )
    symbols: alt.Chart = mark.encode(**scales, tooltip=told)
    return symbols


def _steps(panel: DevicePanel, scales: dict[str, Any]) -> alt.Chart:
    """Return the front as a staircase, which comes from beyond the latencies shown."""
    front = staircase(panel.front)[["latency_ms", "ap"]].assign(ap=lambda points: 100 * points["ap"]).round(4)
    line = alt.Chart(front).mark_line(interpolate="step-after", strokeWidth=2, color=BLUE, clip=True)
    steps: alt.Chart = line.encode(x=scales["x"], y=scales["y"])
    return steps


def _budgets(summary: pd.DataFrame, scales: dict[str, Any]) -> list[alt.Chart]:
    """Return the tiers' budgets as rules, and their names at the upper ends."""
    tiers = summary.groupby("budget_ms")["tier"].agg(", ".join)
    budgets = alt.Chart(pd.DataFrame({"latency_ms": tiers.index, "tier": tiers.str.upper()}))
    rules = budgets.mark_rule(strokeDash=[2, 3], opacity=0.55)
    names = budgets.mark_text(baseline="bottom", dy=-3, fontSize=11, opacity=0.75)
    return [rules.encode(x=scales["x"]), names.encode(x=scales["x"], y=alt.value(0), text="tier:N")]


def _intervals(chosen: Kind, scales: dict[str, Any]) -> alt.Chart:
    bars = alt.Chart(chosen.points.assign(latency_ms=chosen.points["latency_low_ms"]))
    rules = bars.mark_rule(color=chosen.colour, strokeWidth=1.5, clip=True)
    intervals: alt.Chart = rules.encode(x=scales["x"], x2="latency_high_ms:Q", y=scales["y"])
    return intervals


def _names(kind: Kind, scales: dict[str, Any]) -> alt.Chart:
    """Return names above what was chosen, and below what is published where there is room for both."""
    named = alt.Chart(kind.points.groupby(["latency_ms", "ap"], as_index=False)["name"].agg(", ".join))
    if kind.is_chosen:
        text = named.mark_text(dy=-13, fontSize=12, fontWeight=700, color=INK)
    else:
        text = named.mark_text(dy=15, fontSize=10.5, color=INK, opacity=alt.expr(f"width < {NARROW} ? 0 : 0.85"))
    names: alt.Chart = text.encode(x=scales["x"], y=scales["y"], text="name:N")
    return names
