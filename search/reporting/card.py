"""The card of an exported subnet: what it is, where it runs, what it costs, how good it is, and what that rests on.

``card.json`` holds the facts, ``card.md`` shows them; both are made from the export's record and the latency tables.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost, shipped_decoding_costs
from litepose_ofa.latency_tables.table import shipped_tables
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.data.skeletons import Skeleton
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.files import write_json, write_text

CARD_JSON = "card.json"
CARD_TEXT = "card.md"


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
    blocks = [block for stage in arch.stages for block in stage.blocks]
    return {
        "image_size": arch.image_size,
        "keypoints": skeleton.num_keypoints,
        "skeleton": skeleton.name,
        "stem_channels": arch.stem_channels,
        "stage_channels": [stage.channels for stage in arch.stages],
        "stage_depths": [len(stage.blocks) for stage in arch.stages],
        "deconv_channels": list(arch.deconv_channels),
        "kernels": {str(kernel): count for kernel, count in sorted(Counter(b.kernel for b in blocks).items())},
        "expansions": {str(e): count for e, count in sorted(Counter(b.expansion for b in blocks).items())},
    }


def _latency_facts(arch: Arch, num_keypoints: int, table: LatencyTable) -> dict[str, Any]:
    about = table.metadata
    facts = {
        "device": about.device,
        "processor": about.processor,
        "runtime": about.runtime,
        "threads": about.threads,
        "precision": about.precision,
        "provenance": about.provenance,
        "table": table.digest,
    }
    try:
        estimate = table.estimate(arch, num_keypoints)
    except InputError as error:
        return {**facts, "ms": None, "why_not": str(error)}
    found = {"ms": estimate.ms, "low_ms": estimate.low_ms, "high_ms": estimate.high_ms}
    return {**facts, **found, "unmeasured_operators": estimate.unmeasured}


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


PROVENANCE = {"measured": "measured there, operator by operator", "calibrated-estimate": "**estimated**, not measured"}
"""What a latency rests on, for readers."""

TARGET_NOTE = "Batch 1, the network alone. The first line is the device that the subnet was exported for."


def render_card(card: Mapping[str, Any]) -> str:
    """Return the text of ``card.md``."""
    parts = [
        _heading(card),
        _section("Where it runs", _latency(card)),
        _section("What it costs", _costs(card)),
        _section("How good it is", _accuracy(card)),
        _section("Files", _files(card)),
        _section("Finding the people", _decoding(card)),
        _section("Where it comes from", _origin(card)),
        _section("Limits", [_list(_limits(card))]),
    ]
    return "\n\n".join(parts) + "\n"


def _heading(card: Mapping[str, Any]) -> str:
    network = card["network"]
    name = f"LitePose for {card['device']}" + ("" if card["tier"] is None else f", tier {card['tier']}")
    depths, widths = (" / ".join(map(str, network[key])) for key in ("stage_depths", "stage_channels"))
    kernels = ", ".join(f"{count} of {kernel}x{kernel}" for kernel, count in network["kernels"].items())
    expansions = ", ".join(f"{count} of {expansion}" for expansion, count in network["expansions"].items())
    size = network["image_size"]
    return (
        f"# {name}\n\n"
        f"A bottom-up pose network: {size} x {size} pixels in, heatmaps and associative-embedding tags of "
        f"{network['keypoints']} keypoints ({network['skeleton']}) out, for any number of people. "
        f"Architecture `{card['arch_digest']}`: stages of {depths} inverted bottlenecks with {widths} channels, "
        f"depthwise kernels {kernels}, expansions {expansions}."
    )


def _latency(card: Mapping[str, Any]) -> list[str]:
    rows = []
    for each in card["latency"]:
        threads = "" if each["threads"] is None else f", {_count(each['threads'], 'thread')}"
        where = f"{each['processor']}; {each['runtime']}{threads}, {each['precision']}"
        if each["ms"] is None:
            rows.append((each["device"], where, "unknown", "", each["why_not"]))
            continue
        mark = "" if each["provenance"] == "measured" else "~"
        basis = PROVENANCE[each["provenance"]]
        if each["provenance"] == "measured" and each["unmeasured_operators"]:
            basis += f"; {_count(each['unmeasured_operators'], 'operator')} fitted or interpolated"
        interval = f"{each['low_ms']:.3g} to {each['high_ms']:.3g}"
        rows.append((each["device"], where, f"{mark}{each['ms']:.4g}", interval, basis))
    table = _table(("device", "runs on", "latency in ms", "80 % interval", "this number is"), rows)
    frame = card["frame"]
    if frame is None:
        return [table, TARGET_NOTE]
    source = frame["decoding"]
    return [
        table,
        TARGET_NOTE,
        f"A whole frame with {source['people']:g} people on {card['device']}: {frame['ms']:.4g} ms "
        f"({frame['low_ms']:.3g} to {frame['high_ms']:.3g}), with decoding as on {source['measured_on']} "
        f"({source['provenance']}).",
    ]


def _costs(card: Mapping[str, Any]) -> list[str]:
    costs = card["complexity"]
    rows = [
        ("multiply-accumulates", f"{costs['macs'] / 1e6:,.1f} M"),
        (
            "the same, counted as in the LitePose paper",
            f"{costs['macs_as_published'] / 1e6:,.1f} M (transposed convolutions four times; norms, activations too)",
        ),
        ("parameters", f"{costs['params']:,}"),
        ("peak memory of feature maps", f"{costs['peak_activation_bytes'] / 2**20:.2f} MiB, float32, batch 1"),
    ]
    return [_table(("", ""), rows)]


def _accuracy(card: Mapping[str, Any]) -> list[str]:
    accuracy = card["accuracy"]
    metrics, interval = accuracy["metrics"], accuracy["interval"]
    bounds = "" if interval is None else f" ({_percent(interval['low'])} to {_percent(interval['high'])})"
    rows = [("AP", _percent(metrics["AP"]) + bounds)]
    rows += [(name, _percent(metrics[name])) for name in ("AP50", "AP75", "AR", "AR50", "AR75") if name in metrics]
    rows += [
        (f"AP, {level} images by crowding", f"{_percent(group['ap'])} ({group['people']:,} people)")
        for level, group in accuracy["crowding"].items()
    ]
    settings = accuracy["inference"] or {}
    flip = "with" if settings.get("flip_test") else "without"
    words = (
        f"Measured by the official OKS evaluation on {_count(accuracy['images'], 'image')} of `{accuracy['dataset']}` "
        f"({accuracy['split']}), which neither training nor search saw, {flip} flip test."
    )
    if interval is not None:
        words += f" The interval is a bootstrap over images ({100 * interval['confidence']:g} %)."
    return [_table(("", "percent"), rows), words]


def _files(card: Mapping[str, Any]) -> list[str]:
    rows = []
    for each in card["formats"]:
        parity, accuracy = each["parity"], each.get("accuracy")
        limit = "reported only" if parity["tolerance"] is None else f"at most {parity['tolerance']:.1e} accepted"
        difference = f"{parity['max_abs_difference']:.1e} ({limit})"
        files = ", ".join(f"`{name}`" for name in each["files"])
        size = sum(card["file_bytes"][name] for name in each["files"]) / 1e6
        rows.append((each["format"], files, f"{size:.2f}", difference, _ap_difference(accuracy)))
    if not rows:
        return ["`weights.safetensors` alone: no runtime format was exported."]
    images = card["formats"][0]["parity"]["images"]
    head = ("format", "files", "MB", f"largest difference from torch, {images} images", "AP in percent")
    return [_table(head, rows)]


def _ap_difference(accuracy: Mapping[str, Any] | None) -> str:
    if accuracy is None:
        return "not measured"
    difference = f"{100 * accuracy['difference']:+.1f} against float32 in torch"
    interval = accuracy.get("difference_interval")
    bounds = f", {100 * interval['low']:+.1f} to {100 * interval['high']:+.1f}" if interval else ""
    return f"{_percent(accuracy['AP'])} ({difference}{bounds})"


def _decoding(card: Mapping[str, Any]) -> list[str]:
    known = [each for each in card["decoding"] if each["ms_by_people"]]
    if not known:
        return ["Not measured at this input size."]
    counts = list(known[0]["ms_by_people"])
    rows = [
        (each["measured_on"], *(_milliseconds(each["ms_by_people"].get(people)) for people in counts)) for each in known
    ]
    words = (
        "Milliseconds a frame beyond the network, by the number of people in it: reading it into the network's input, "
        "peaks, grouping by tags."
    )
    return [_table(("measured on", *counts), rows), words]


def _origin(card: Mapping[str, Any]) -> list[str]:
    origin = card["origin"]
    source, equality, search = origin["source"], origin["equal_to_supernet"], origin["search"]
    lines = [f"Weights: `{source['checkpoint']}` of the workspace, digest `{source['weights']}`."]
    if origin["finetuned"]:
        lines.append("Finetuned after it was cut out, so its outputs are no longer the supernet's.")
    elif equality is not None:
        lines.append(
            f"Cut out of the supernet and bit for bit equal to it on {_count(equality['images'], 'image')}; "
            "its batch norms were recalibrated after that."
        )
    if search is None:
        lines.append("Chosen by hand: no search stands behind it.")
    else:
        tried = "" if search["evaluations"] is None else f", {search['evaluations']:,} subnets tried"
        asked = f"Searched in the space `{search['space']}`{tried}, by {search['strategy'].replace('_', ' ')} on the "
        lines.append(f"{asked}{search['evaluator']}, for at most {search['budget_ms']:g} ms.{_aps(search)}")
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    return [_list(lines), f"Made with {versions}."]


def _aps(search: Mapping[str, Any]) -> str:
    if not search["same_architecture"]:
        return " Finetuning preferred another subnet of its front."
    known = (("predicted", search["ap_predicted"]), ("measured on the search split", search["ap_search"]))
    said = [f"{what} {_percent(ap)}" for what, ap in known if ap is not None]
    return f" AP {', '.join(said)}." if said else ""


def _limits(card: Mapping[str, Any]) -> list[str]:
    accuracy, network = card["accuracy"], card["network"]
    lines = []
    if any(each["provenance"] != "measured" for each in card["latency"]):
        lines.append(
            "Latencies marked ~ come from published measurements of other networks: nobody ran this one there. "
            "Measure on the board before promising a frame rate (`litepose profile`)."
        )
    lines.append("Latency is the network's alone; reading frames and finding people come on top.")
    of_dataset = f"AP is that of `{accuracy['dataset']}`; on other cameras, poses and crowds it is another."
    overlap = " Two subnets whose intervals overlap may be equally good." if accuracy["interval"] is not None else ""
    lines.append(of_dataset + overlap)
    if accuracy["dataset"] == "people":
        lines.append("Trained on rendered people: a demonstration, not a network for photographs.")
    lines.append(
        f"Input is square, {network['image_size']} pixels, RGB, normalised as `subnet.yaml` says; "
        "frames of other shapes are scaled and padded."
    )
    unmeasured = [each["format"] for each in card["formats"] if each.get("accuracy") is None]
    if unmeasured:
        lines.append(f"AP of {', '.join(unmeasured)} was not measured, only the difference of outputs.")
    return lines


def _section(title: str, parts: Sequence[str]) -> str:
    return "\n\n".join([f"## {title}", *parts])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _milliseconds(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
