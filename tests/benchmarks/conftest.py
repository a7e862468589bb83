"""The modules of benchmarks in folders, which import each other by their bare names."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[2] / "benchmarks" / folder) for folder in ("class_models", "training")]
