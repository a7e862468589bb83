# `make demo` does the whole job at laptop scale; `make test` runs the tests, `make test-slow` the long ones.
# `make docs` builds the documentation, `make dist` the wheel and the source archive. All set up .venv first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
LITEPOSE := $(VENV)/bin/litepose
DEVICES := host_cpu,raspberry_pi_4b,jetson_nano
TIERS := xs,s,m,l
# Two test processes of two threads each would wait for each other most of the time.
TESTS := OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile

.PHONY: install demo test test-slow check docs dist clean-demo

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "litepose-ofa needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo 'installing into $(VENV): a minute or more'
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(LITEPOSE) generate-people
	$(LITEPOSE) train
	$(LITEPOSE) evaluate --multirun arch=smallest,largest
	$(LITEPOSE) search devices=[$(DEVICES)] tiers=[$(TIERS)]
	$(LITEPOSE) export --multirun device=$(DEVICES) tier=$(TIERS)
	$(LITEPOSE) report

test: install
	$(TESTS) -m "not slow"

test-slow: install
	$(TESTS) -m slow

check: install
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(RUN) -m pytest -q tests/test_import_direction.py

docs: install
	$(VENV)/bin/sphinx-build -W docs build/docs

dist: install
	$(RUN) -m build --outdir dist

clean-demo:
	rm -rf data/people runs/tiny-people
