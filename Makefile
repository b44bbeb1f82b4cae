# `make demo` and `make test` set up what they need in .venv, from nothing, and then do their work.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

PYTEST := $(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile

RESULTS ?= results

.PHONY: demo test test-all check clean

demo: $(VENV)/installed
	$(BIN)/harness run --tasks sst2 --shots 0,4 --data sample --results $(RESULTS)

test: check
	$(PYTEST) -m "not slow"

test-all: check
	$(PYTEST)

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The small CPU build of torch, where there is no NVIDIA driver and its index can be reached; else what your index serves.
CPU_INDEX := https://download.pytorch.org/whl/cpu
FIND_CPU_INDEX = command -v nvidia-smi >/dev/null 2>&1 || $(PYTHON) -c "from urllib.request import urlopen; \
  urlopen('$(CPU_INDEX)/torch/', timeout=3); print('--extra-index-url $(CPU_INDEX)')" 2>/dev/null

# torch goes first and by itself, so that the constraint, not a dependency of something else, chooses its build.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $$($(FIND_CPU_INDEX)) torch
	$(PIP) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) --editable '.[test]'
	touch $@
