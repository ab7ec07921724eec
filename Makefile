# The one list of commands. `make help` prints it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXAMPLE ?= examples/llama-2-70b.yaml
PORT ?= 8000
FAMILY ?=
# What the profiler's tests run on: not in the lock files, since it brings a CUDA of its own.
TORCH ?= 2.13.0

.DEFAULT_GOAL := help
.PHONY: help setup plan test test-slow lint format types layers notebooks check bench bench-quick compare-results bench-profiling calibrate tables serve lock clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(VENV)/run.stamp: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing hetplan into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/run.stamp
	@echo "Installing the development tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==$(TORCH)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

setup: $(VENV)/dev.stamp  ## install hetplan and its development tools into .venv

plan: $(VENV)/run.stamp  ## plan Llama-2-70B on 4x T4 + 4x A10 + 2x A100 (EXAMPLE=file for another)
	@$(BIN)/hetplan plan $(EXAMPLE)

test: $(VENV)/dev.stamp  ## run the tests (under 8 minutes on 2 cores)
	@$(BIN)/python -m pytest -m "not slow" -n auto

test-slow: $(VENV)/dev.stamp  ## run the long tests too: brute force at scale, every example
	@$(BIN)/python -m pytest -n auto

lint: $(VENV)/dev.stamp  ## check style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(VENV)/dev.stamp  ## mend style and formatting where that is mechanical
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: $(VENV)/dev.stamp  ## check the types
	@$(BIN)/mypy

layers: $(VENV)/dev.stamp  ## check that imports run downward only
	@$(BIN)/python -m pytest -q tests/test_layers.py

notebooks: $(VENV)/dev.stamp  ## execute the notebooks
	@$(BIN)/python -m pytest -q tests/test_notebooks.py

check: lint types test  ## lint, types and tests

bench: $(VENV)/dev.stamp  ## measure everything into docs/benchmarks.md (FAMILY=name for one family)
	@$(BIN)/python -m benchmarks $(FAMILY)

bench-quick: $(VENV)/dev.stamp  ## try the first instance of every family; writes nothing
	@$(BIN)/python -m benchmarks --quick $(FAMILY)

compare-results: $(VENV)/dev.stamp  ## set baselines beside the best plan on every example into docs/comparison.md
	@$(BIN)/python -m benchmarks.comparison

bench-profiling: $(VENV)/dev.stamp  ## measure on this CPU how well profiles repeat and predict
	@$(BIN)/python -m benchmarks.profiling

calibrate: $(VENV)/dev.stamp  ## refit the latency model to measurements (HETPLAN_MEASUREMENTS=folder)
	@$(BIN)/python -m benchmarks.calibrate

accuracy: $(VENV)/dev.stamp  ## hold the latency model against every measured row into docs/accuracy.md
	@$(BIN)/python -m benchmarks.accuracy

tables: $(VENV)/dev.stamp  ## rewrite the shipped cost tables from the calibrated model
	@$(BIN)/python -m benchmarks.tables

serve: $(VENV)/run.stamp  ## start the HTTP service on PORT (8000)
	@$(BIN)/hetplan serve --port $(PORT)

lock: $(VENV)/dev.stamp  ## resolve the dependencies anew into the lock files
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --no-emit-index-url --no-header --python-version 3.11 --group dev -c requirements.lock -o requirements-dev.lock

clean:  ## remove the environment and caches
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build *.egg-info
