"""The verbs of the ``litepose`` command: what each does, and which script does it."""

from dataclasses import dataclass

HELP_FLAGS = frozenset({"-h", "--help"})
COMPLETION_FLAGS = frozenset({"-sc", "--shell-completion"})
"""What the shells' completion functions, which are Hydra's, call the command with."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Attributes:
        name: What users type.
        line: What it does.
        examples: Arguments worth showing.
        page: Where more is told, from the source tree; None if nowhere.
    """

    name: str
    line: str
    examples: tuple[str, ...] = ()
    page: str | None = None

    @property
    def module(self) -> str:
        """Its module in ``scripts.verbs``, and its config in ``conf``."""
        return self.name.replace("-", "_")


JOB = (
    Verb(
        "generate-people",
        "render a dataset of people, to try everything without a download",
        ("", "images.train=500 people=street data_root=/disk/datasets"),
        "docs/datasets.md",
    ),
    Verb(
        "check-dataset",
        "read a whole dataset and report what is wrong with it",
        ("dataset=coco", "dataset=coco data_root=/disk/datasets samples=32"),
        "docs/datasets.md",
    ),
    Verb(
        "train",
        "train the supernet, once for all devices",
        ("", "space=litepose dataset=coco init_from=weights.pth", "recipe=progressive training.steps=4000"),
        "docs/training.md",
    ),
    Verb(
        "evaluate",
        "measure the AP of one network",
        ("arch=smallest", "-m arch=smallest,largest", "weights=runs/tiny-people/export/jetson_nano/m breakdown=true"),
        "docs/evaluation.md",
    ),
    Verb(
        "sample",
        "measure subnets of the supernet, for the predictor",
        ("", "num_subnets=200 backend=ray", "refine.budget=100"),
        "docs/searching.md",
    ),
    Verb(
        "fit",
        "fit the accuracy predictor to them",
        ("", "predictor=gaussian_process"),
        "docs/searching.md",
    ),
    Verb(
        "search",
        "find the best subnet for each device and budget",
        (
            "device=jetson_nano tier=m",
            "-m 'device=glob(*)' tier=xs,s,m,l",
            "device=jetson_nano tier=mine fps=30",
            "space=litepose evaluator=published device=raspberry_pi_4b",
        ),
        "docs/searching.md",
    ),
    Verb(
        "export",
        "cut it out, prove it equal, measure it, write what a device runs",
        ("device=jetson_nano tier=m", "-m 'device=glob(*)' tier=xs,s,m,l", "device=jetson_nano arch=arch.json"),
        "docs/export.md",
    ),
    Verb(
        "finetune",
        "train one subnet on, alone",
        ("device=jetson_nano tier=m", "device=jetson_nano tier=m tune=asha"),
        "docs/training.md",
    ),
    Verb(
        "predict",
        "find people in pictures and videos, and draw them",
        (
            "input=photos model=runs/tiny-people/export/jetson_nano/m output=found",
            "input=clip.mp4 model=weights.pth arch=arch.json dataset=crowdpose",
        ),
        "docs/evaluation.md",
    ),
    Verb(
        "report",
        "put all that a workspace holds on one page",
        ("", "workspace=runs/tiny-people"),
        "docs/searching.md",
    ),
)

TABLES = (
    Verb(
        "profile",
        "write the folder that measures operators on your board",
        ("space=litepose runtime=onnxruntime sample=0.1",),
        "docs/measuring.md",
    ),
    Verb(
        "build-table",
        "turn what the board measured into a latency table",
        ("kit=kits/my_board name=my_board",),
        "docs/measuring.md",
    ),
    Verb(
        "validate-table",
        "compare a table with whole networks",
        ("table=raspberry_pi_4b space=litepose", "table=host_cpu kit=kits/check"),
        "docs/latency_tables.md",
    ),
    Verb(
        "estimate-tables",
        "estimate the tables of devices that are not at hand",
        ("", "device=raspberry_pi_4b"),
        "docs/latency_tables.md",
    ),
    Verb(
        "measure-decoding",
        "measure what a frame costs beyond its network",
        ("name=my_board output=tables",),
        "docs/latency_tables.md",
    ),
)

QUESTIONS = (
    Verb(
        "rank-fidelity",
        "does the supernet rank subnets as training each alone does?",
        ("", "num_subnets=16 seeds=2 parallel=8 gpus=1"),
        "docs/training.md",
    ),
    Verb(
        "sensitivity",
        "what is each dimension of the space worth?",
        ("", "devices=[jetson_nano]"),
        "docs/training.md",
    ),
)

INSTALLATION = (
    Verb("doctor", "check the installation"),
    Verb("completion", "print what makes bash, zsh or fish complete this command"),
)

SECTIONS = {
    "The job, in order": JOB,
    "Latency tables": TABLES,
    "Can it be trusted": QUESTIONS,
    "The installation": INSTALLATION,
}
"""Verbs by the headings that the help shows them under."""

VERBS = {verb.name: verb for verbs in SECTIONS.values() for verb in verbs}

CONFIGURED = {verb.name: verb for verb in (*JOB, *TABLES, *QUESTIONS)}
"""Those that are Hydra apps; the others read their own few arguments."""
