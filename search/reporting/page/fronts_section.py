"""The Pareto front of every device: a chart with all that is known of a subnet where a pointer rests on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import altair as alt
import pandas as pd

from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.search.reporting.front_view import (
    ap_range,
    ap_title,
    interval_note,
    latency_title,
    latency_window,
    outside_note,
    staircase,
)
from litepose_ofa.search.reporting.page.front_points import (
    TOOLTIP,
    Kind,
    chosen_kinds,
    cloud_kinds,
    front_kind,
    published_kinds,
    verified_kinds,
)
from litepose_ofa.search.reporting.page.section import (
    BLUE,
    HEIGHT,
    INK,
    NARROW,
    Chart,
    Prose,
    Section,
)
from litepose_ofa.search.reporting.panels import DevicePanel
from litepose_ofa.search.reporting.summary import AP_BY
from litepose_ofa.supernet.archs.space import SearchSpace

INTERVAL_NOTE = "Bars: 80 % intervals of the latencies of the chosen subnets."


@dataclass(frozen=True)
class Scales:
    """What the layers of a chart share: its axes, and the legend of its kinds."""

    x: alt.X
    y: alt.Y
    colour: alt.Color
    shape: alt.Shape

    @classmethod
    def of(cls, panel: DevicePanel, kinds: Sequence[Kind], aps: tuple[float, float], dataset: str | None) -> Self:
        """Return the scales of a device's chart, whose APs are between two, in %."""
        window = latency_window(panel)
        labels = [kind.label for kind in kinds]
        x_scale = alt.Scale(
            type="log" if window.is_logarithmic else "linear", domain=[window.low_ms, window.high_ms], nice=False
        )
        return cls(
            alt.X("latency_ms:Q", title=latency_title(panel), scale=x_scale, axis=alt.Axis(format=".4~g")),
            alt.Y("ap:Q", title=ap_title(dataset), scale=alt.Scale(domain=list(aps), nice=False)),
            alt.Color("kind:N", title=None, scale=alt.Scale(domain=labels, range=[kind.colour for kind in kinds])),
            alt.Shape("kind:N", title=None, scale=alt.Scale(domain=labels, range=[kind.shape for kind in kinds])),
        )


def fronts_section(panels: Sequence[DevicePanel], *, space: SearchSpace, source: str, dataset: str | None) -> Section:
    """Return the section of the fronts, a chart a device.

    Args:
        panels: The devices.
        space: Of the subnets.
        source: Where the searches' accuracies come from.
        dataset: What the AP is of, if known.
    """
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
    scales = Scales.of(panel, kinds, aps, dataset)
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


def _symbols(kind: Kind, scales: Scales) -> alt.Chart:
    told = [alt.Tooltip(f"{name}:N", title=title) for name, title in TOOLTIP.items() if name in kind.points]
    mark = alt.Chart(kind.points.assign(kind=kind.label)).mark_point(
        filled=True, size=kind.size, opacity=kind.opacity, aria=kind.is_told, clip=True, strokeWidth=0
    )
    symbols: alt.Chart = mark.encode(x=scales.x, y=scales.y, color=scales.colour, shape=scales.shape, tooltip=told)
    return symbols


def _steps(panel: DevicePanel, scales: Scales) -> alt.Chart:
    """Return the front as a staircase, which comes from beyond the latencies shown."""
    front = staircase(panel.front)[["latency_ms", "ap"]].assign(ap=lambda points: 100 * points["ap"]).round(4)
    line = alt.Chart(front).mark_line(interpolate="step-after", strokeWidth=2, color=BLUE, clip=True)
    steps: alt.Chart = line.encode(x=scales.x, y=scales.y)
    return steps


def _budgets(summary: pd.DataFrame, scales: Scales) -> list[alt.Chart]:
    """Return the tiers' budgets as rules, and their names at the upper ends."""
    tiers = summary.groupby("budget_ms")["tier"].agg(", ".join)
    budgets = alt.Chart(pd.DataFrame({"latency_ms": tiers.index, "tier": tiers.str.upper()}))
    rules = budgets.mark_rule(strokeDash=[2, 3], opacity=0.55)
    names = budgets.mark_text(baseline="bottom", dy=-3, fontSize=11, opacity=0.75)
    return [rules.encode(x=scales.x), names.encode(x=scales.x, y=alt.value(0), text="tier:N")]


def _intervals(chosen: Kind, scales: Scales) -> alt.Chart:
    bars = alt.Chart(chosen.points.assign(latency_ms=chosen.points["latency_low_ms"]))
    rules = bars.mark_rule(color=chosen.colour, strokeWidth=1.5, clip=True)
    intervals: alt.Chart = rules.encode(x=scales.x, x2="latency_high_ms:Q", y=scales.y)
    return intervals


def _names(kind: Kind, scales: Scales) -> alt.Chart:
    """Return names above what was chosen, and below what is published where there is room for both."""
    named = alt.Chart(kind.points.groupby(["latency_ms", "ap"], as_index=False)["name"].agg(", ".join))
    if kind.is_chosen:
        text = named.mark_text(dy=-13, fontSize=12, fontWeight=700, color=INK)
    else:
        text = named.mark_text(dy=15, fontSize=10.5, color=INK, opacity=alt.expr(f"width < {NARROW} ? 0 : 0.85"))
    names: alt.Chart = text.encode(x=scales.x, y=scales.y, text="name:N")
    return names
