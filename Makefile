# procir: `make demo` runs the main job, `make test` the checks; both make their environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help install demo test lint unit bench clean
.DEFAULT_GOAL := help

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY)  ## Make the environment in .venv

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "procir needs Python 3.11 or newer, this is $$($(PYTHON) --version): make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making the environment in $(VENV) (about 2 GB, some minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY)  ## Draw a catalogue, train on it, evaluate, write runs/demo/report.html
	$(BIN)/procir demo

test: lint unit  ## Everything that must hold before a commit

lint: $(READY)  ## Style, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

unit: $(READY)  ## The tests
	$(BIN)/python -m pytest -q

bench: $(READY)  ## The benchmarks behind the claims in the docs
	$(BIN)/python -m benchmarks.atelier
	$(BIN)/python -m benchmarks.train_step
	$(BIN)/python -m benchmarks.batching
	$(BIN)/python -m benchmarks.loader
	$(BIN)/python -m benchmarks.resume
	$(BIN)/python -m benchmarks.evaluation --products 200
	$(BIN)/python -m benchmarks.bootstrap
	$(BIN)/python -m benchmarks.refine
	$(BIN)/python -m benchmarks.encode
	$(BIN)/python -m benchmarks.import_check
	$(BIN)/python -m benchmarks.candidates
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.annotate
	$(BIN)/python -m benchmarks.builtin
	$(BIN)/python -m benchmarks.demo

clean:  ## Remove the environment and caches, keep runs/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
