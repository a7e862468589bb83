"""The verbs of the ``litepose`` command: a module in ``scripts.verbs`` and a config in ``conf``, of the same name."""

HELP_FLAGS = frozenset({"-h", "--help"})
COMPLETION_FLAGS = frozenset({"-sc", "--shell-completion"})
"""What the shells' completion functions, which are Hydra's, call the command with."""

INSTALLATION = "The installation"
SECTIONS = {
    "The job, in order": {
        "generate-people": "render a dataset of people, to try everything without a download",
        "import-dataset": "turn a dataset of LSP, YOLO or Label Studio into a COCO-format folder",
        "check-dataset": "read a whole dataset and report what is wrong with it",
        "train": "train the supernet, once for all devices",
        "evaluate": "measure the AP of one network",
        "sample": "measure subnets of the supernet, for the predictor",
        "fit": "fit the accuracy predictor to them",
        "search": "find the best subnet for each device and budget",
        "export": "cut it out, prove it equal, measure it, write what a device runs",
        "finetune": "train one subnet on, alone",
        "predict": "find people in pictures and videos, and draw them",
        "report": "put all that a workspace holds on one page",
    },
    "Latency tables": {
        "profile": "write the folder that measures operators on your board",
        "build-table": "turn what the board measured into a latency table",
        "calibrate-table": "scale a table to your board by the times of a few whole networks",
        "validate-table": "compare a table with whole networks",
        "estimate-tables": "estimate the tables of devices that are not at hand",
        "measure-decoding": "measure what a frame costs beyond its network",
    },
    "Can it be trusted": {
        "rank-fidelity": "does the supernet rank subnets as training each alone does?",
        "sensitivity": "what is each dimension of the space worth?",
    },
    INSTALLATION: {
        "doctor": "check the installation",
        "completion": "print what makes bash, zsh or fish complete this command",
    },
}
"""What each verb does, by the headings that the help shows them under."""

VERBS = {name: line for verbs in SECTIONS.values() for name, line in verbs.items()}

CONFIGURED = tuple(verb for verb in VERBS if verb not in SECTIONS[INSTALLATION])
"""Those that are Hydra apps; the others read their own few arguments."""


def module_name(verb: str) -> str:
    """Return the name of a verb's module and config."""
    return verb.replace("-", "_")
