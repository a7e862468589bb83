"""The points of a front's chart, kind by kind, and what is told of each where a pointer rests on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from litepose_ofa.search.genome import GenomeCodec
from litepose_ofa.search.reporting.front_view import CHOSEN_BY, LatencyWindow, staircase
from litepose_ofa.search.reporting.page.section import (
    BLUE,
    GREY,
    ORANGE,
    VERMILION,
)
from litepose_ofa.search.reporting.page.summary_section import format_latency
from litepose_ofa.search.reporting.panels import DevicePanel
from litepose_ofa.search.reporting.summary import AP_BY
from litepose_ofa.search.study.trials import read_genome

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
    """One kind of points, as a legend explains it.

    Attributes:
        label: What they are.
        colour: Their colour.
        shape: Their symbol.
        size: Its area in square pixels.
        points: ``latency_ms``, ``ap`` in %, and columns of ``TOOLTIP``.
        opacity: Of the symbols.
        is_told: Whether each of them is read to those who cannot see it.
        is_chosen: Whether they are what was chosen, with columns ``latency_low_ms`` and ``latency_high_ms``.
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
    """Return the subnets of a device's front.

    Args:
        panel: The device.
        window: The latencies shown.
        source: Where the searches' accuracies come from.
        codec: Of the searches' space.
    """
    front = staircase(panel.front)
    inside = front[front["latency_ms"].map(window.holds)]
    return Kind(f"front: AP by the {AP_BY[source]}", BLUE, "circle", 45, _described(inside, codec))


def cloud_kinds(panel: DevicePanel, window: LatencyWindow, aps: tuple[float, float]) -> list[Kind]:
    """Return the subnets behind the front that a chart has room for, evenly thinned where there are too many.

    Args:
        panel: The device.
        window: The latencies shown.
        aps: The least and the greatest AP shown, in %.
    """
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
    """Return the published subnets inside.

    Args:
        panel: The device.
        window: The latencies shown.
        foot: The AP, in %, at which a subnet stands that has none on this dataset.
    """
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
