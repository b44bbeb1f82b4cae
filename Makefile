# `make demo` and `make test` set up what they need in .venv, from nothing, and then do their work.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

SHARED ?= $(or $(HARNESS_SHARED),../shared)
MODEL ?= $(wildcard $(SHARED)/models/stories260K)
DATA ?= $(wildcard $(SHARED)/data)
RESULTS ?= results
LIMIT ?= 100

.PHONY: demo test test-all check clean

demo: $(VENV)/installed
ifneq ($(and $(MODEL),$(DATA)),)
	$(BIN)/harness run --tasks sst2 --shots 0,4 --model $(MODEL) --data-dir $(DATA) --limit $(LIMIT) --results $(RESULTS)
	$(BIN)/harness leaderboard --results $(RESULTS)
else
	@echo "make demo MODEL=<folder of a causal language model> DATA=<folder that holds sst2/train.jsonl and sst2/validation.jsonl>" >&2; exit 2
endif

test: check
	$(BIN)/python -m pytest -q -m "not slow"

test-all: check
	$(BIN)/python -m pytest -q

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# torch goes first and by itself, so that the constraint, not a dependency of something else, chooses its build.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) --editable '.[test]'
	touch $@
