"""The export folder of one subnet: architecture, weights, ONNX, how to feed it, and what was checked."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from supernet.checkpoints import save_subnet
from supernet.complexity import measure_complexity
from supernet.data.loading import IMAGE_MEAN, IMAGE_STD
from supernet.data.skeletons import SKELETONS, Skeleton
from supernet.export.onnx_model import INPUT_NAME, OPSET, OUTPUT_NAMES, export_onnx, measure_parity
from supernet.files import replacing_folder, write_json, write_text
from supernet.litepose import LitePose

ARCH_FILE = "arch.json"
CONFIG_FILE = "subnet.yaml"
WEIGHTS_FILE = "weights.safetensors"
ONNX_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"


def write_bundle(
    folder: Path, subnet: LitePose, *, skeleton: Skeleton, images: Tensor, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write an export folder, whole or not at all, and return its manifest.

    Args:
        folder: Where to; replaced if it exists.
        subnet: The network with BN statistics of its own, in eval mode.
        skeleton: Its keypoints.
        images: Inputs (B, 3, R, R) that torch and ONNX Runtime are compared on.
        facts: What else the manifest records: measured AP, latency, equality, source.

    Raises:
        ParityError: If ONNX Runtime and torch differ by more than 1e-4.
    """
    with replacing_folder(folder) as temporary:
        subnet.arch.save(temporary / ARCH_FILE)
        save_subnet(temporary / WEIGHTS_FILE, subnet, facts, skeleton=skeleton)
        export_onnx(temporary / ONNX_FILE, subnet)
        difference = measure_parity(temporary / ONNX_FILE, subnet, images)
        write_text(temporary / CONFIG_FILE, yaml.safe_dump(_usage(subnet, skeleton), sort_keys=False))
        files = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        manifest = {
            **facts,
            "arch_digest": subnet.arch.digest,
            "complexity": asdict(measure_complexity(subnet.arch, subnet.num_keypoints)),
            "onnx": {"opset": OPSET, "images_compared": len(images), "max_abs_difference": difference},
            "sha256": files,
        }
        write_json(temporary / MANIFEST_FILE, manifest)
    return manifest


def _usage(subnet: LitePose, skeleton: Skeleton) -> dict[str, Any]:
    size, keypoints = subnet.arch.image_size, subnet.num_keypoints
    return {
        "arch": ARCH_FILE,
        "weights": WEIGHTS_FILE,
        "onnx": ONNX_FILE,
        "num_keypoints": keypoints,
        "skeleton": skeleton.name if SKELETONS.get(skeleton.name) == skeleton else skeleton.to_dict(),
        "keypoints": list(skeleton.keypoints),
        "input": {
            "name": INPUT_NAME,
            "shape": [1, 3, size, size],
            "colour": "RGB",
            "range": "pixel / 255, minus mean, over std",
            "mean": list(IMAGE_MEAN),
            "std": list(IMAGE_STD),
        },
        "outputs": {
            OUTPUT_NAMES[0]: {"shape": [1, 2 * keypoints, size // 4, size // 4], "maps": "heatmaps, then AE tags"},
            OUTPUT_NAMES[1]: {"shape": [1, keypoints, size // 2, size // 2], "maps": "heatmaps"},
        },
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
