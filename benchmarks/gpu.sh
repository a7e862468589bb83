#!/bin/sh
# What a GPU is asked on the day one is at hand: its tests, the speed, memory and utilisation of training steps, a short
# training of a supernet, and how fast its subnets are evaluated. At most 8 minutes on one card; fetches nothing.
#
#   benchmarks/gpu.sh                             # writes results.md, results.png and each part's log to runs/gpu
#   benchmarks/gpu.sh --parts steps --output DIR  # some parts alone
#   benchmarks/gpu.sh --device cpu --quick        # the same on a CPU, tiny: does all of it run?
#
# Needs, beforehand, a torch that is built for CUDA, in the version that pyproject.toml asks for (https://pytorch.org
# says from where, for your driver), and the package with its tests' tools: make install, or pip install -e '.[dev]'.
# PYTHON names the interpreter; by default that of .venv, or python3.
set -eu
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "${PYTHON:-$python}" benchmarks/training/gpu.py "$@"
