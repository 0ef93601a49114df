# make demo: train the pose task on generated data with two local workers.   make test: everything that must hold.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
INSTALLED := $(VENV)/.installed

DOCS_VENV := .venv-docs
DOCS_INSTALLED := $(DOCS_VENV)/.installed
GPU_PYTHON ?= $(BIN)/python

.PHONY: install demo test lint docs bench equality gpu faults soak fuzz cluster-test

install: $(INSTALLED)

$(INSTALLED): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# the documentation's tools have a virtual environment of their own
$(DOCS_INSTALLED): docs/requirements.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --disable-pip-version-check --requirement docs/requirements.txt
	touch $@

demo: $(INSTALLED)
	$(BIN)/aign train pose --preset aign --steps 2000 --workers 2 --storage runs

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED) $(DOCS_INSTALLED)
	$(BIN)/python -m docs.generate_options docs/options.md
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet

bench: $(INSTALLED)
	$(BIN)/python -m pytest tests/benchmarks --override-ini=addopts= -s -q

equality: $(INSTALLED)
	$(BIN)/python -m tests.ray_jobs.worker.engine_matrix

# GPU_PYTHON=python3 uses an environment that is there, in which Ray may be missing
gpu: $(if $(filter $(BIN)/%,$(GPU_PYTHON)),$(INSTALLED))
	$(GPU_PYTHON) -m tests.gpu --out gpu.md

faults: $(INSTALLED)
	$(BIN)/python -m tests.faults

soak: $(INSTALLED)
	$(BIN)/python -m tests.soak

fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz

cluster-test: $(INSTALLED)
	$(BIN)/python -m tests.clusters
