"""The card of an exported subnet: what it is, where it runs, what it costs, how good it is, and what that rests on.

``card.json`` holds the facts, ``card.md`` shows them; both are made from the export's record and the latency tables.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost, shipped_decoding_costs
from litepose_ofa.latency_tables.table import shipped_tables
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import write_json, write_text

CARD_JSON = "card.json"
CARD_TEXT = "card.md"
TEMPLATE = "card.md.j2"


def write_card(folder: Path, arch: Arch, skeleton: Skeleton, record: Mapping[str, Any], *, table: LatencyTable) -> None:
    """Write ``card.json`` and ``card.md`` into an export folder."""
    others = [LatencyTable.load(name) for name in shipped_tables()]
    tables = [table, *(other for other in others if other.metadata.device != table.metadata.device)]
    decoding = [DecodingCost.load(name) for name in shipped_decoding_costs()]
    card = describe_subnet(arch, skeleton, record, tables=tables, decoding=decoding)
    sizes = {file: (folder / file).stat().st_size for each in card["formats"] for file in each["files"]}
    card["file_bytes"] = sizes
    write_json(folder / CARD_JSON, card)
    write_text(folder / CARD_TEXT, render_card(json.loads(json.dumps(card))))


def describe_subnet(
    arch: Arch,
    skeleton: Skeleton,
    record: Mapping[str, Any],
    *,
    tables: Sequence[LatencyTable],
    decoding: Sequence[DecodingCost],
) -> dict[str, Any]:
    """Return the facts of a card as plain values."""
    return {
        "arch_digest": arch.digest,
        "device": record["device"],
        "tier": record["tier"],
        "network": _network_facts(arch, skeleton),
        "complexity": record["complexity"],
        "latency": [_latency_facts(arch, skeleton.num_keypoints, table) for table in tables],
        "frame": record["latency"]["frame"],
        "decoding": [_decoding_facts(arch.image_size, cost) for cost in decoding],
        "accuracy": {**record["accuracy"], "inference": record["measured_on"].get("inference")},
        "formats": [{"format": name, **described} for name, described in record["formats"].items()],
        "origin": _origin_facts(record),
    }


def _network_facts(arch: Arch, skeleton: Skeleton) -> dict[str, Any]:
    kernels = Counter(block.kernel for stage in arch.stages for block in stage.blocks)
    expansions = Counter(block.expansion for stage in arch.stages for block in stage.blocks)
    return {
        "image_size": arch.image_size,
        "keypoints": skeleton.num_keypoints,
        "skeleton": skeleton.name,
        "stem_channels": arch.stem_channels,
        "stage_channels": [stage.channels for stage in arch.stages],
        "stage_depths": [len(stage.blocks) for stage in arch.stages],
        "deconv_channels": list(arch.deconv_channels),
        "kernels": {str(kernel): count for kernel, count in sorted(kernels.items())},
        "expansions": {str(expansion): count for expansion, count in sorted(expansions.items())},
    }


def _latency_facts(arch: Arch, num_keypoints: int, table: LatencyTable) -> dict[str, Any]:
    names = ("device", "processor", "runtime", "threads", "precision", "provenance")
    facts = {**{name: getattr(table.metadata, name) for name in names}, "table": table.digest}
    try:
        estimate = table.estimate(arch, num_keypoints)
    except InputError as error:
        return {**facts, "ms": None, "why_not": str(error)}
    return {
        **facts, "ms": estimate.ms, "low_ms": estimate.low_ms, "high_ms": estimate.high_ms,
        "unmeasured_operators": estimate.unmeasured,
    }  # fmt: skip


def _decoding_facts(image_size: int, cost: DecodingCost) -> dict[str, Any]:
    facts = {"measured_on": cost.name, "processor": cost.processor, "threads": cost.threads, "frame": list(cost.frame)}
    counts = list(cost.sizes[0].measured_ms)
    try:
        return {**facts, "ms_by_people": {str(people): cost.ms(image_size, people) for people in counts}}
    except InputError as error:
        return {**facts, "ms_by_people": None, "why_not": str(error)}


def _origin_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the supernet and the search behind a subnet, without what only a program needs of them."""
    search = record["search"]
    chosen = None
    if search is not None:
        about = search["search"]
        chosen = {
            "budget_ms": search["budget_ms"],
            "space": about["space"]["name"],
            "evaluator": about["evaluator"]["evaluator"],
            "strategy": about["strategy"]["strategy"],
            "evaluations": search.get("evaluations"),
            "ap_predicted": search["ap"] if search["ap_source"] != "supernet" else None,
            "ap_search": search["verified_ap"] if search["ap_source"] != "supernet" else search["ap"],
            "same_architecture": search["arch_digest"] == record["arch_digest"],
        }
    return {
        "source": record["source"],
        "finetuned": record["finetuned"] is not None,
        "equal_to_supernet": record["equal_to_supernet"],
        "search": chosen,
        "measured_on": {key: record["measured_on"].get(key) for key in ("split", "num_images", "bn")},
        "versions": record["versions"],
    }


def render_card(card: Mapping[str, Any]) -> str:
    """Return the text of ``card.md``."""
    loader = PackageLoader("litepose_ofa.search.reporting.page", "assets")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {
        "row": lambda *cells: f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |",
        "percent": lambda share: f"{100 * share:.1f}",
        "milliseconds": lambda ms, counts: [f"{ms[people]:.2g}" if people in ms else "-" for people in counts],
        "size_of": lambda files: sum(card["file_bytes"][file] for file in files),
    }
    return environment.get_template(TEMPLATE).render(card=card)
