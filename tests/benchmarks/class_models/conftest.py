"""The scripts import each other by their bare names, as they do where they are started."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "benchmarks" / "class_models"))
