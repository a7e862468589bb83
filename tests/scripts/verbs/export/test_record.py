"""What the manifest says was measured is what was measured."""

from pathlib import Path
from typing import Any

import pytest

from litepose_ofa.latency_tables import LatencyTable
from litepose_ofa.latency_tables.decoding.cost import SHIPPED_DIR, DecodingCost
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.export.bundle import open_export
from litepose_ofa.supernet.files import read_json
from litepose_ofa.supernet.network.checkpoints import load_subnet, load_supernet, weights_digest

DEVICE = "raspberry_pi_4b"


def chosen_in(workspace: Path) -> Any:
    return read_json(workspace / "search" / DEVICE / "m" / "chosen.json")


def test_source_latency_and_accuracy_are_named(export: Any, searched: Path, bundle: Path) -> None:
    printed = export().printed
    record = open_export(bundle).record
    arch, chosen = Arch.load(bundle / "arch.json"), chosen_in(searched)
    assert {"arch": chosen.pop("arch"), "search": record["search"]} == {"arch": arch.to_dict(), "search": chosen}
    supernet = weights_digest(load_supernet(searched / "supernet" / "supernet.safetensors"))
    assert record["source"] == {"checkpoint": "supernet/supernet.safetensors", "weights": supernet}
    assert record["weights"] == weights_digest(load_subnet(bundle / "weights.safetensors"))
    assert record["equal_to_supernet"] == {"images": 2, "bit_equal": True, "recalibrated_after": True}
    table = LatencyTable.load(DEVICE)
    estimate, latency = table.estimate(arch), record["latency"]
    assert latency["table"] == {"name": DEVICE, "digest": table.digest}
    assert (latency["network"]["ms"], latency["network"]["high_ms"]) == (estimate.ms, estimate.high_ms)
    assert (latency["network"]["provenance"], latency["frame"]) == (estimate.provenance, None)
    accuracy = record["accuracy"]
    assert (accuracy["dataset"], accuracy["split"], accuracy["images"]) == ("people", "val", 4)
    assert accuracy["interval"]["low"] <= accuracy["metrics"]["AP"] <= accuracy["interval"]["high"]
    assert accuracy["crowding"].keys() <= {"easy", "medium", "hard"}
    assert sum(level["people"] for level in accuracy["crowding"].values()) > 0
    assert f"AP {100 * accuracy['metrics']['AP']:.1f} on 4 held-out images" in printed
    assert record["formats"]["onnx"]["accuracy"] is None
    assert record["formats"]["onnx"]["parity"]["images"] == 2


def test_a_frame_s_latency_stands_beside_the_network_s(
    export: Any, searched: Path, bundle: Path, tmp_path: Path, search_frames: Any
) -> None:
    decoding = DecodingCost.load("host_cpu")
    search_frames(searched, decoding)
    assert export("formats=[]").status == 0
    arch, chosen = Arch.load(bundle / "arch.json"), chosen_in(searched)
    latency = open_export(bundle).record["latency"]
    assert latency["frame"]["ms"] == pytest.approx(chosen["latency_ms"])
    assert latency["frame"]["high_ms"] == pytest.approx(chosen["latency_high_ms"])
    source = {"measured_on": "host_cpu", "digest": decoding.digest, "people": 3, "provenance": "assumed"}
    assert latency["frame"]["decoding"] == source
    assert latency["network"]["ms"] == LatencyTable.load(DEVICE).estimate(arch).ms
    assert latency["frame"]["ms"] - latency["network"]["ms"] == pytest.approx(decoding.ms(arch.image_size, 3))
    (tmp_path / "cost.yaml").write_text((SHIPPED_DIR / "host_cpu.yaml").read_text().replace("base_ms: ", "base_ms: 1"))
    told = export(f"device.decoding={tmp_path / 'cost.yaml'}").refusal
    assert f"was searched with the decoding cost host_cpu ({decoding.digest}), not " in told
    assert told.endswith("; search again, or pass device.decoding=... as then\n")


def test_a_table_that_is_not_the_search_s_is_named(export: Any, bundle: Path, tmp_path: Path) -> None:
    table = LatencyTable.load(DEVICE)
    slower = table.with_metadata(network_scale=2 * table.metadata.network_scale)
    slower.save(tmp_path / "slower.csv")
    told = export(f"device.table={tmp_path / 'slower.csv'}").refusal
    assert f"was searched with the table {DEVICE} ({table.digest}), not {slower.digest}; search again" in told
    assert not bundle.exists()


def test_the_ap_of_exported_files_is_measured_beside_torch_s(export: Any, bundle: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    printed = export("formats=[onnx,onnx_int8,onnx_peaks,litert]", "measure_formats=true").printed
    formats = open_export(bundle).formats
    assert formats["onnx_peaks"]["accuracy"] is None
    for name in ("onnx", "onnx_int8", "litert"):
        measured = formats[name]["accuracy"]
        assert measured["difference"] == pytest.approx(measured["AP"] - measured["torch_AP"])
        assert measured["difference_interval"]["low"] <= measured["difference_interval"]["high"]
        assert f"{name}: {formats[name]['files'][0]}, within" in printed
    assert formats["onnx"]["accuracy"]["torch_AP"] == formats["litert"]["accuracy"]["torch_AP"]
    assert formats["onnx"]["parity"]["max_abs_difference"] <= 1e-4
    assert formats["onnx_int8"]["parity"]["tolerance"] is None
    assert formats["onnx_int8"]["quantisation"]["calibration_images"] == 3
