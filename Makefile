# make demo and make test do everything on a fresh machine: Python 3.11 or later, GNU make, a package index.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
REPORT ?= demo-report
GPU_REPORT ?= runs/gpu-kernel
ENGINES_REPORT ?= runs/gpu-engines
PIPELINE_REPORT ?= runs/gpu-pipeline
# All tests go to two workers; those that PYTEST_ARGS chooses run in one process, unless it says this itself.
PYTEST_ARGS ?= --numprocesses 2 --benchmark-disable
PY := $(VENV)/bin/python
# No build isolation: the build runs with the pinned setuptools, not with whatever is newest.
INSTALL := $(PY) -m pip install --quiet --no-build-isolation --constraint constraints.txt

.PHONY: help demo test check fix docs gpu-kernel gpu-engines gpu-pipeline clean

help:  ## show this list
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12
	@echo "Settings: VENV=$(VENV) PYTHON=$(PYTHON) REPORT=$(REPORT) GPU_REPORT=$(GPU_REPORT) ENGINES_REPORT=$(ENGINES_REPORT) PIPELINE_REPORT=$(PIPELINE_REPORT) PYTEST_ARGS='$(PYTEST_ARGS)'"

demo: $(VENV)/.base  ## install without torch and read eight real films with the bundled demonstration model
	$(VENV)/bin/disasym demo --out $(REPORT)
	@echo "The report is in $(abspath $(REPORT)): results.csv, files.csv and the pictures in images/"

test: $(VENV)/.dev  ## install everything and run every test
	$(PY) -m pytest $(PYTEST_ARGS)

check: $(VENV)/.dev  ## style, types and import rules; edits nothing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy tests benchmarks docs
	$(VENV)/bin/lint-imports

fix: $(VENV)/.dev  ## format, and mend what ruff can mend
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.dev  ## write docs/commands.md from the commands' own help
	$(PY) docs/commands.py > docs/commands.md

gpu-kernel: $(VENV)/.dev  ## on a machine with a CUDA GPU: check and time the fused attention, in under 8 minutes
	$(PY) -m benchmarks.gpu_kernel --out $(GPU_REPORT)

gpu-engines: $(VENV)/.dev  ## on a machine with a CUDA GPU: check and race every engine, in under 9 minutes
	$(PY) -m benchmarks.gpu_engines --out $(ENGINES_REPORT)

gpu-pipeline: $(VENV)/.dev  ## on a machine with a CUDA GPU: exams a second from files to scores, in under 9 minutes
	$(PY) -m benchmarks.gpu_pipeline --out $(PIPELINE_REPORT)

clean:  ## remove the environment, build products, caches and the demo's report
	rm -rf $(VENV) build dist *.egg-info $(REPORT) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	  f"disasym needs Python 3.11 or later, $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt setuptools

# One stamp a set of requirements, so that a second run installs nothing.
$(VENV)/.base: pyproject.toml constraints.txt | $(PY)
	$(INSTALL) --editable '.[samples]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	$(INSTALL) --editable '.[train,samples,bench,listen,evaluate,ray,dev,rtx]'
	@touch $(VENV)/.base $@
