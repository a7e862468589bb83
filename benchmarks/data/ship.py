"""Build the networks that ship with the package from a workspace: its supernet, and its exports for ``host_cpu``.

    python benchmarks/data/ship.py runs/small-lspet runs/small-coco_real

The first workspace has the supernet, the fitted predictor, an export for each tier, and a measurement of each of these
networks and of the supernet's largest and smallest subnet on its dataset's val split (``litepose evaluate``). Cards say
these figures, those of the same networks in the other workspaces, and no others.

Kernels are rounded to float16. What that does to the outputs is measured on rendered people, and is in the cards.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litepose_ofa.search.accuracy.predictor import AccuracyPredictor
from litepose_ofa.search.rank_agreement import format_estimate
from litepose_ofa.search.workspace import RUN_RECORD, Workspace
from litepose_ofa.supernet.archs.arch import Arch
from litepose_ofa.supernet.archs.complexity import measure_complexity
from litepose_ofa.supernet.data.coco.dataset import KeypointDataset
from litepose_ofa.supernet.data.skeletons import CROWDPOSE
from litepose_ofa.supernet.data.synthetic.dataset import PeopleSettings, generate_split
from litepose_ofa.supernet.errors import InputError
from litepose_ofa.supernet.evaluation.subnets import Calibration
from litepose_ofa.supernet.export.bundle import ARCH_FILE, CONFIG_FILE, WEIGHTS_FILE, open_export, write_manifest
from litepose_ofa.supernet.export.shipped import (
    ABOUT,
    CARD_FILE,
    PREDICTOR_FILE,
    SHIPPED,
    SUPERNET_FILE,
    SUPERNET_KIND,
    named_path,
)
from litepose_ofa.supernet.files import read_json, replacing_folder, write_text
from litepose_ofa.supernet.network.checkpoints import (
    load_subnet,
    load_supernet,
    read_description,
    read_skeleton,
    save_network,
    weights_digest,
)
from litepose_ofa.supernet.network.extract import extract_subnet
from litepose_ofa.supernet.network.litepose import LitePose, PoseNetwork

DEVICE, TIERS = "host_cpu", ("xs", "s", "m", "l")
MOST_BYTES = 12_000_000
MOST_DIFFERENCE = 0.01
"""Of outputs by rounding, as a share of the largest output."""

PICTURES = 16

TERMS = {
    "lspet": (
        "research set, cite Johnson and Everingham, CVPR 2011",
        "Leeds Sports Pose Extended, a research set whose authors ask for the citation: S. Johnson and M. Everingham, "
        "Learning Effective Human Pose Estimation from Inaccurate Annotation, CVPR 2011",
    ),
    "no_people": (
        "research use, cite Dalal and Triggs, CVPR 2005",
        "photographs without people of the INRIA Person set, for research use: N. Dalal and B. Triggs, Histograms of "
        "Oriented Gradients for Human Detection, CVPR 2005",
    ),
    "coco_real": (
        "annotations CC BY 4.0",
        "photographs of COCO 2017, under the terms of Flickr, with annotations under CC BY 4.0: T.-Y. Lin et al., "
        "Microsoft COCO: Common Objects in Context, ECCV 2014",
    ),
    "people": ("rendered", "people rendered by litepose-ofa itself, no photographs"),
}
"""What using a dataset asks for, in short and in full."""


def ship(workspaces: Sequence[Path], shipped: Path = SHIPPED) -> None:
    """Write the folder of shipped networks, whole or not at all.

    Raises:
        InputError: If something of a workspace is missing or of another supernet, a dataset's terms are not known,
            rounding changes outputs, or the folder is too large; the message says what to do.
    """
    with replacing_folder(shipped) as folder, tempfile.TemporaryDirectory() as rendered:
        pictures = _Pictures(Path(rendered))
        name = _ship_supernet(workspaces, folder, pictures)
        for tier in TIERS:
            _ship_subnet(workspaces, tier, folder / f"{name}-{tier}", pictures)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise InputError(f"{shipped}: would have {size / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:.0f} MB ship")


class _Pictures:
    """Rendered people to compare networks on."""

    def __init__(self, folder: Path) -> None:
        generate_split(folder, "train", PICTURES, 0, PeopleSettings(image_size=(256, 256)), CROWDPOSE)
        dataset = KeypointDataset.load(folder / "annotations" / "train.json", folder / "images" / "train", CROWDPOSE)
        self._images = Calibration(dataset, num_images=PICTURES, batch_size=PICTURES)

    @torch.no_grad()
    def difference(self, before: LitePose, after: LitePose, *, own_statistics: bool) -> float:
        """Return the largest difference of outputs as a share of the largest output; refuse more than is allowed.

        Without statistics of their own, of a supernet's subnets, batch norms take those of the pictures.
        """
        (images,) = self._images.batches(before.arch.image_size)
        first, second = (network.train(not own_statistics)(images) for network in (before, after))
        share = max(_share(one, other) for one, other in zip(first, second, strict=True))
        if share > MOST_DIFFERENCE:
            raise InputError(
                f"rounding to float16 changes outputs of {before.arch.digest} by {share:.2%} of the largest"
            )
        return share


def _share(one: Tensor, other: Tensor) -> float:
    return ((one - other).abs().max() / one.abs().max()).item()


def _round(path: Path, network: PoseNetwork, source: Path) -> None:
    """Write a network with kernels in float16 and vectors, such as batch norms', in float32."""
    rounded = copy.deepcopy(network)
    for parameter in rounded.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half()
    save_network(path, rounded, read_description(source)["info"], skeleton=read_skeleton(source))


def _ship_supernet(workspaces: Sequence[Path], shipped: Path, pictures: _Pictures) -> str:
    """Write the supernet's folder, and return its name: that of the space."""
    workspace = Workspace(workspaces[0])
    supernet = load_supernet(workspace.supernet)
    digest, space = weights_digest(supernet), supernet.space
    folder = shipped / space.name
    folder.mkdir()
    _round(folder / SUPERNET_FILE, supernet, workspace.supernet)
    rounded = load_supernet(folder / SUPERNET_FILE)
    _ship_predictor(workspace, digest, weights_digest(rounded), folder / PREDICTOR_FILE)
    ends = {"largest subnet": space.largest(), "smallest subnet": space.smallest()}
    differences = [
        pictures.difference(extract_subnet(supernet, arch), extract_subnet(rounded, arch), own_statistics=False)
        for arch in ends.values()
    ]
    figures = _figures(workspaces, digest, ends, "litepose evaluate arch={}")
    quality = read_json(workspace.predictor_quality)
    tau = quality["regressors"][quality["chosen"]]["held_out"]["kendall_tau"]
    facts = [
        f"A supernet of the space `{space.name}`: every subnet of it is cut out of these weights.",
        f"Its predictor was fitted to {quality['num_samples']} measured subnets. Of the held-out ones it ranks with a "
        f"Kendall tau of {format_estimate(tau)}.",
        _rounding(max(differences)),
    ]
    _write_texts(folder, figures, facts, _trained_on(workspace.supernet), {}, kind=SUPERNET_KIND)
    return space.name


def _ship_predictor(workspace: Workspace, measured: str, shipped: str, path: Path) -> None:
    """Write the predictor as one of the rounded weights, with the dataset whose AP it predicts."""
    fitted = AccuracyPredictor.load(workspace.predictor)
    if fitted.identity.get("weights") != measured:
        raise InputError(f"{workspace.predictor}: is of other weights than {workspace.supernet}; sample and fit again")
    dataset = read_description(workspace.supernet)["info"]["dataset"]
    identity = {**fitted.identity, "weights": shipped, "dataset": dataset}
    described: dict[str, Any] = {"identity": identity, "kind": fitted.kind, "num_keypoints": fitted.num_keypoints}
    AccuracyPredictor(fitted.space, fitted.genomes, fitted.ap, **described).save(path)


def _ship_subnet(workspaces: Sequence[Path], tier: str, folder: Path, pictures: _Pictures) -> None:
    workspace = Workspace(workspaces[0])
    manifest = open_export(workspace.export(DEVICE, tier))
    source = manifest.folder / WEIGHTS_FILE
    subnet, digest = load_subnet(source), manifest.record["weights"]
    folder.mkdir()
    _round(folder / WEIGHTS_FILE, subnet, source)
    for name in (ARCH_FILE, CONFIG_FILE):
        write_text(folder / name, (manifest.folder / name).read_text(encoding="utf-8"))
    rounded = load_subnet(folder / WEIGHTS_FILE)
    difference = pictures.difference(subnet, rounded, own_statistics=True)
    figures = _figures(workspaces, digest, {folder.name: subnet.arch}, f"litepose evaluate weights={manifest.folder}")
    trained_on = _trained_on(workspace.supernet)
    if tuned := manifest.record["finetuned"]:
        trained_on[tuned["dataset"]] = max(trained_on.get(tuned["dataset"], 0), tuned["images"])
    cost, latency = measure_complexity(subnet.arch, subnet.num_keypoints), manifest.record["latency"]["network"]
    facts = [
        f"{subnet.arch.image_size} px, {cost.macs / 1e6:.1f} MMACs, {cost.params / 1e6:.2f} M parameters; "
        f"{latency['ms']:.3g} ms on `{DEVICE}` by its latency table ({latency['provenance']}), the network alone.",
        _rounding(difference),
    ]
    record = {**manifest.record, "weights": weights_digest(rounded), "formats": {}}
    unsealed = {key: value for key, value in record.items() if key not in {"kind", "schema", "sha256", "digest"}}
    _write_texts(folder, figures, facts, trained_on, unsealed)


def _rounding(difference: float) -> str:
    return (
        "The figures were measured before kernels were rounded to float16, which changes the outputs on "
        f"{PICTURES} rendered pictures by at most {difference:.2%} of the largest one."
    )


def _figures(
    workspaces: Sequence[Path], digest: str, archs: Mapping[str, Arch], command: str
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what was measured of weights, by the name of the architecture; each on the first workspace's val split."""
    found = []
    for name, arch in archs.items():
        ours = list(_evaluations(workspaces[:1], digest, arch))
        if not ours:
            how = command.format(name.split()[0])
            raise InputError(f"{workspaces[0]}: has no measurement of {name} on the val split; run {how} split=val")
        found += [(name, record) for record in (*ours, *_evaluations(workspaces[1:], digest, arch))]
    return found


def _evaluations(workspaces: Sequence[Path], digest: str, arch: Arch) -> Iterator[Mapping[str, Any]]:
    for workspace in workspaces:
        for path in sorted({*workspace.glob("evaluations/*_val.json")} - {*workspace.glob("evaluations/results_*")}):
            record = read_json(path)
            if record["measured_on"]["weights"] == digest and Arch.from_dict(record["arch"]) == arch:
                yield record


def _trained_on(supernet: Path) -> dict[str, int]:
    """Return the images of each dataset that a supernet was trained on, those of the weights it began with too."""
    info = read_description(supernet)["info"]
    found = {info["dataset"]: info["images"]}
    found |= {name: member["images"] for name, member in info.get("mixture", {}).items()}
    run = supernet.with_name(RUN_RECORD)
    start = read_json(run)["config"]["init_from"] if run.exists() else None
    if start is not None:
        found = _trained_on(named_path(start, "init_from")) | found
    return found


def _write_texts(
    folder: Path,
    figures: Sequence[tuple[str, Mapping[str, Any]]],
    facts: Sequence[str],
    trained_on: Mapping[str, int],
    record: Mapping[str, Any],
    **kind: str,
) -> None:
    """Write card and manifest."""
    unknown = sorted(trained_on.keys() - TERMS.keys())
    if unknown:
        raise InputError(f"{folder.name}: was trained on {', '.join(unknown)}, whose terms TERMS does not know")
    first = figures[0]
    sets = ", ".join(f"{name} ({TERMS[name][0]})" for name in trained_on)
    about = f"{first[0]} {_spelled(first[1], ('AP', 'AP50', 'AR50'))}; trained on {sets}"
    metrics = list(dict.fromkeys(metric for _, each in figures for metric in each["metrics"]))
    rows = [("network", "images", *metrics), ("---",) * (len(metrics) + 2)]
    rows += [(name, _images(each), *(_percent(each, metric) for metric in metrics)) for name, each in figures]
    text = [
        f"# {folder.name}",
        "\n\n".join(facts),
        "## How good it is",
        "\n".join(f"| {' | '.join(row)} |" for row in rows),
        "Percent, with 95 % intervals over images; official OKS evaluation on val splits.",
        "## What it was trained on",
        "\n".join(f"- `{name}`, {count:,} images: {TERMS[name][1]}." for name, count in trained_on.items()),
        "Weights that were trained on research sets are for research too. Cite the sets in what you publish.",
    ]
    write_text(folder / CARD_FILE, "\n\n".join(text) + "\n")
    write_manifest(folder, {**record, ABOUT: about}, **kind)


def _spelled(record: Mapping[str, Any], metrics: Sequence[str]) -> str:
    shown = [f"{metric} {_percent(record, metric)}" for metric in metrics if metric in record["metrics"]]
    return f"{', '.join(shown)} on {_images(record)}"


def _images(record: Mapping[str, Any]) -> str:
    return f"{record['measured_on']['num_images']:,} of {record['run']['config']['dataset']['name']}"


def _percent(record: Mapping[str, Any], metric: str) -> str:
    if metric not in record["metrics"]:
        return "-"
    interval = record["ap_interval"] if metric == "AP" else None
    bounds = f" ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})" if interval else ""
    return f"{100 * record['metrics'][metric]:.1f}{bounds}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspaces", nargs="+", type=Path, help="the trained one, then others with measurements")
    try:
        ship(parser.parse_args().workspaces)
    except InputError as error:
        sys.exit(f"error: {error}")
