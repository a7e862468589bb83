"""The card of an exported subnet."""

import copy
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import DecodingCost
from litepose_ofa.search.reporting.card import CARD_JSON, CARD_TEXT, describe_subnet, render_card, write_card
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.archs.space import SearchSpace
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.files import read_json

ARCH = SearchSpace.preset("tiny").smallest()
DIFFERENCE = {"low": -0.021, "high": 0.004, "confidence": 0.95}


@pytest.fixture
def record() -> dict[str, Any]:
    return {
        "device": "jetson_nano",
        "tier": "m",
        "arch_digest": ARCH.digest,
        "complexity": asdict(measure_complexity(ARCH)),
        "latency": {"frame": None},
        "search": {
            "arch_digest": ARCH.digest,
            "budget_ms": 1.5,
            "ap": 0.8,
            "ap_source": "predictor",
            "verified_ap": 0.77,
            "evaluations": 384,
            "search": {
                "space": {"name": "tiny"},
                "evaluator": {"evaluator": "predictor"},
                "strategy": {"strategy": "surrogate_evolution"},
            },
        },
        "source": {"checkpoint": "supernet/supernet.safetensors", "weights": "25a6c1174d2e"},
        "finetuned": None,
        "equal_to_supernet": {"images": 5, "bit_equal": True},
        "measured_on": {"split": "val", "num_images": 300, "bn": {}, "inference": {"flip_test": False}},
        "versions": {"torch": "2.13.0"},
        "accuracy": {
            "dataset": "people",
            "split": "val",
            "images": 300,
            "metrics": {"AP": 0.7564, "AP50": 0.93, "AR": 0.8},
            "interval": {"ap": 0.7564, "low": 0.74, "high": 0.77, "confidence": 0.95},
            "crowding": {"easy": {"people": 120, "ap": 0.81, "ar": 0.85}, "hard": {"people": 40, "ap": 0.6, "ar": 0.7}},
        },
        "formats": {
            "onnx": {
                "files": ["model.onnx"],
                "parity": {"images": 5, "max_abs_difference": 2.4e-6, "max_abs_output": 1.0, "tolerance": 1e-4},
                "accuracy": None,
            },
            "onnx_int8": {
                "files": ["model_int8.onnx"],
                "parity": {"images": 5, "max_abs_difference": 0.11, "max_abs_output": 1.0, "tolerance": None},
                "accuracy": {"AP": 0.748, "torch_AP": 0.7564, "difference": -0.0084, "difference_interval": DIFFERENCE},
            },
        },
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(bytes(200_000))
    (tmp_path / "model_int8.onnx").write_bytes(bytes(60_000))
    return tmp_path


def write(folder: Path, record: dict[str, Any], arch: Arch = ARCH) -> tuple[dict[str, Any], str]:
    write_card(folder, arch, CROWDPOSE, record, table=LatencyTable.load("jetson_nano"))
    return read_json(folder / CARD_JSON), (folder / CARD_TEXT).read_text()


def test_every_device_has_the_latency_of_its_table(folder: Path, record: dict[str, Any]) -> None:
    card, text = write(folder, record)
    assert card["latency"][0]["device"] == "jetson_nano", "the target comes first"
    assert len({each["device"] for each in card["latency"]}) == len(card["latency"]) == 5
    text = text.partition("## What it costs")[0]
    for each in card["latency"]:
        estimate = LatencyTable.load(each["device"]).estimate(ARCH)
        assert (each["ms"], each["low_ms"], each["high_ms"]) == (estimate.ms, estimate.low_ms, estimate.high_ms)
        (line,) = re.findall(rf"^\| {each['device']} \|.*$", text, re.MULTILINE)
        assert ("**estimated**" in line and f"~{estimate.ms:.4g}" in line) == (each["provenance"] != "measured")


def test_an_architecture_that_a_table_does_not_cover_is_said_to_be_unknown(record: dict[str, Any]) -> None:
    known = LatencyTable.load("host_cpu")
    empty = LatencyTable(known.metadata, dict(list(known.rows.items())[:1]))
    card = describe_subnet(ARCH, CROWDPOSE, record, tables=[empty], decoding=[])
    assert card["latency"][0]["ms"] is None
    assert "has no row for" in card["latency"][0]["why_not"]
    card["file_bytes"] = {"model.onnx": 1, "model_int8.onnx": 1}
    assert re.search(r"\| host_cpu \|.*\| unknown \|", render_card(card))


def test_the_network_is_described_as_it_is(folder: Path, record: dict[str, Any]) -> None:
    card, text = write(folder, record)
    network, blocks = card["network"], [block for stage in ARCH.stages for block in stage.blocks]
    assert network["stage_depths"] == [len(stage.blocks) for stage in ARCH.stages]
    assert sum(network["kernels"].values()) == sum(network["expansions"].values()) == len(blocks)
    assert "14 keypoints (crowdpose)" in text
    costs = measure_complexity(ARCH)
    assert f"{costs.params:,}" in text
    assert f"{costs.macs / 1e6:,.1f} M" in text
    assert f"{costs.macs_as_published / 1e6:,.1f} M" in text


def test_accuracies_stand_with_split_interval_and_crowding(folder: Path, record: dict[str, Any]) -> None:
    _, text = write(folder, record)
    assert "| AP | 75.6 (74.0 to 77.0) |" in text
    assert "| AP, hard images by crowding | 60.0 (40 people) |" in text
    assert "300 images of `people` (val)" in text
    assert "The interval is over images (95 %)" in text
    assert "the difference is known better than these intervals say" in text
    assert "74.8 (-0.8 against float32 in torch, -2.1 to +0.4)" in text
    assert "AP of onnx was not measured" in text


def test_decoding_times_are_those_measured(folder: Path, record: dict[str, Any]) -> None:
    card, text = write(folder, record)
    cost = DecodingCost.load("host_cpu")
    (known,) = card["decoding"]
    assert known["ms_by_people"] == {
        str(people): pytest.approx(cost.ms(ARCH.image_size, people)) for people in cost.sizes[0].measured_ms
    }
    assert "| host_cpu |" in text.partition("## Finding the people")[2]
    card["decoding"].append({"measured_on": "other", "ms_by_people": {"1": 0.5}})
    (line,) = re.findall(r"^\| other \|(.*)\|$", render_card(card), re.MULTILINE)
    assert [cell.strip() for cell in line.split("|")] == [
        "0.5" if people == "1" else "-" for people in known["ms_by_people"]
    ]


def test_what_stands_behind_it_is_said(folder: Path, record: dict[str, Any]) -> None:
    _, text = write(folder, record)
    assert "bit for bit equal to it on 5 images" in text
    assert "384 subnets tried, by surrogate evolution on the predictor, for at most 1.5 ms" in text
    assert "AP predicted 80.0, measured on the search split 77.0" in text
    assert "a demonstration, not a network for photographs" in text


def test_a_subnet_named_by_hand_and_finetuned_says_so(folder: Path, record: dict[str, Any]) -> None:
    other = copy.deepcopy(record)
    other.update(search=None, tier=None, finetuned={"rate": 1}, equal_to_supernet=None)
    other["accuracy"].update(interval=None, crowding={})
    _, text = write(folder, other)
    assert text.startswith("# LitePose for jetson_nano\n")
    assert "Chosen by hand" in text
    assert "no longer the supernet's" in text
    assert "| AP | 75.6 |" in text
    assert "these intervals" not in text, "there is none"


def test_the_frame_is_told_apart_from_the_network(folder: Path, record: dict[str, Any]) -> None:
    decoding = {"measured_on": "host_cpu", "people": 5, "provenance": "assumed"}
    record["latency"]["frame"] = {"ms": 4.2, "low_ms": 3.9, "high_ms": 4.6, "decoding": decoding}
    _, text = write(folder, record)
    assert (
        "A whole frame with 5 people on jetson_nano: 4.2 ms (3.9 to 4.6), with decoding as on host_cpu (assumed)"
        in text
    )


def test_without_formats_the_weights_are_all_there_is(tmp_path: Path, record: dict[str, Any]) -> None:
    _, text = write(tmp_path, {**record, "formats": {}})
    assert "`weights.safetensors` alone" in text


def test_tables_are_whole_whatever_they_hold(folder: Path, record: dict[str, Any]) -> None:
    record["accuracy"]["dataset"] = "a|b"
    record["accuracy"]["crowding"]["ve|ry"] = {"people": 1, "ap": 0.5, "ar": 0.5}
    _, text = write(folder, record)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
