"""The export folder of one subnet: architecture, weights, runtime files, how to feed them, and what was checked."""

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.data.loading import IMAGE_MEAN, IMAGE_STD
from litepose_ofa.supernet.data.skeletons import SKELETONS, Skeleton
from litepose_ofa.supernet.export.formats import ExportFormat, FloatArray, measure_parity
from litepose_ofa.supernet.export.manifest import Manifest, write_manifest
from litepose_ofa.supernet.export.onnx_model import INPUT_NAME, OUTPUT_NAMES
from litepose_ofa.supernet.files import replacing_folder, write_text
from litepose_ofa.supernet.network.checkpoints import save_subnet, weights_digest
from litepose_ofa.supernet.network.litepose import LitePose

ARCH_FILE = "arch.json"
CONFIG_FILE = "subnet.yaml"
WEIGHTS_FILE = "weights.safetensors"

Examine = Callable[[ExportFormat, Path], Mapping[str, Any]]
"""Looks at a format whose files are in a folder, and returns what the manifest is to say of it beyond its parity."""

Complete = Callable[[Path, Mapping[str, Any]], None]
"""Adds files to a folder, given what its manifest will say beside kind, schema and hashes."""

PACKAGES = ("litepose-ofa", "torch", "numpy", "onnx")
"""What the manifest states the versions of, beside those of the runtimes that each format states."""


def write_bundle(
    folder: Path,
    subnet: LitePose,
    *,
    skeleton: Skeleton,
    images: FloatArray,
    formats: Sequence[ExportFormat],
    facts: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    examine: Examine | None = None,
    complete: Complete | None = None,
) -> Manifest:
    """Write an export folder, whole or not at all, and return its manifest.

    Equal arguments give equal bytes: nothing says when or where it was written.

    Args:
        folder: Where to; replaced if it exists.
        subnet: The network with BN statistics of its own, in eval mode, on the CPU.
        skeleton: Its keypoints.
        images: Normalised images (B, 3, R, R) that each format is really run on, beside torch.
        formats: The formats to write; none are needed to use the folder here.
        facts: What else the manifest records: measured AP, latency, equality, source.
        config: What ``subnet.yaml`` says of training and measuring the subnet again.
        examine: Adds to what the manifest says of a format, such as its AP.
        complete: Adds files, such as a card, when all others are written.

    Raises:
        ParityError: If a runtime and torch differ by more than the format's tolerance.
    """
    with replacing_folder(folder) as temporary:
        subnet.arch.save(temporary / ARCH_FILE)
        save_subnet(temporary / WEIGHTS_FILE, subnet, facts, skeleton=skeleton)
        described = {fmt.name: _write_format(temporary, fmt, subnet, images, examine) for fmt in formats}
        usage = _usage(subnet, skeleton, config or {})
        one_line = math.inf  # a command is to be copied whole
        write_text(temporary / CONFIG_FILE, yaml.safe_dump(usage, sort_keys=False, width=one_line))
        record = {
            **facts,
            "arch_digest": subnet.arch.digest,
            "weights": weights_digest(subnet),
            "complexity": asdict(measure_complexity(subnet.arch, subnet.num_keypoints)),
            "formats": described,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        }
        if complete is not None:
            complete(temporary, record)
        sealed = write_manifest(temporary, record)
    return Manifest(folder, sealed.record)


def _write_format(
    folder: Path, fmt: ExportFormat, subnet: LitePose, images: FloatArray, examine: Examine | None
) -> dict[str, Any]:
    files = fmt.write(folder, subnet)
    parity = measure_parity(fmt, folder, subnet, images)
    more = {} if examine is None else examine(fmt, folder)
    return {**fmt.describe(), "files": files, "parity": asdict(parity), **more}


def _usage(subnet: LitePose, skeleton: Skeleton, config: Mapping[str, Any]) -> dict[str, Any]:
    size, keypoints = subnet.arch.image_size, subnet.num_keypoints
    return {
        "arch": ARCH_FILE,
        "weights": WEIGHTS_FILE,
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
        **config,
    }
