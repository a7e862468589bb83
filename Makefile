# `make demo` does the whole job at laptop scale; `make test` runs the tests, `make test-slow` the long ones.
# All set up .venv first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
DEVICES := snapdragon_855,raspberry_pi_4b,jetson_nano
TIERS := xs,s,m,l

.PHONY: install demo test test-slow check clean-demo

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "litepose-ofa needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo 'installing into $(VENV): a minute or more'
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(RUN) scripts/generate_people.py
	$(RUN) scripts/train_supernet.py
	$(RUN) scripts/evaluate_subnet.py --multirun arch=smallest,largest
	$(RUN) scripts/sample_accuracies.py
	$(RUN) scripts/fit_predictor.py
	$(RUN) scripts/run_search.py --multirun device=$(DEVICES) tier=$(TIERS)
	$(RUN) scripts/export_subnet.py --multirun device=$(DEVICES) tier=$(TIERS)
	$(RUN) scripts/make_report.py

test: install
	$(RUN) -m pytest -n auto --dist loadfile -m "not slow"

test-slow: install
	$(RUN) -m pytest -n auto --dist loadfile -m slow

check: install
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(RUN) -m pytest -q tests/test_import_direction.py

clean-demo:
	rm -rf data/people runs/tiny-people
