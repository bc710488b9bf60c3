# Every target works from a fresh clone with Python 3.11 or newer, make and a C++ compiler: it makes
# .venv if it is missing and installs the package, editable, with the extras the target needs. A
# stamp file remembers that, so a second run starts at once; a change of pyproject.toml redoes it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Workers of the test run; CI machines have two cores.
WORKERS ?= 2
HYPOTHESIS_PROFILE ?= ci
# Modules that rewrite committed generated files when run: tests/golden_*.py, tests/*/golden_*.py.
GOLDEN := $(subst /,.,$(basename $(wildcard tests/golden_*.py tests/*/golden_*.py)))
BENCH := $(subst /,.,$(basename $(wildcard benchmarks/bench_*.py)))

.PHONY: help demo test test-peers lint format bench golden gallery audit docs clean
.DEFAULT_GOAL := help
# Two installs into one environment at once would break it.
.NOTPARALLEL:

help:
	@echo "make demo    derive, generate and verify an LSTM, then verify hand-written gradients"
	@echo "make test    the whole test suite"
	@echo "make test-peers  ready layouts against PyTorch, Keras, Flax and onnxruntime themselves"
	@echo "make lint    ruff, mypy and the floors of the house"
	@echo "make bench   the measured speeds"
	@echo "make gallery derivation reports of the whole zoo in build/gallery, an excerpt in reports/"
	@echo "make audit   judge the published derivations anew, reports/audit.html"
	@echo "make docs    the documentation site, docs/_build/html/index.html"
	@echo "make golden  rewrite the generated files that are committed"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras: .installed-core has none.
$(VENV)/.installed-core: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

demo: $(VENV)/.installed-core
	$(BIN)/python -m examples.demo

test: $(VENV)/.installed-test
	HYPOTHESIS_PROFILE=$(HYPOTHESIS_PROFILE) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q

# Real libraries, one pinned version each, in an environment of their own.
PEERS := .venv-peers
$(PEERS)/.installed: pyproject.toml tests/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --editable . pytest hypothesis -r tests/peers/requirements.txt
	@touch $@

# What needs TensorFlow or JAX is skipped by `make test` and run here.
PEER_TESTS := tests/peers tests/verify/test_tensorflow.py tests/verify/test_jax_pair.py \
	tests/verify/test_adapters.py tests/verify/model/test_jax_code.py \
	"tests/test_tutorials.py::test_a_tutorial_does_what_it_says[jax]"
test-peers: $(PEERS)/.installed
	$(PEERS)/bin/python -m pytest -q -o python_files='peer_*.py test_*.py' $(PEER_TESTS)

lint: $(VENV)/.installed-lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The version is named because an open range would fetch gigabytes of GPU libraries.
bench: $(VENV)/.installed-test
	$(BIN)/python -c 'import torch' 2>/dev/null || $(BIN)/python -m pip install --quiet torch==2.13.0
	set -e; for module in $(BENCH); do $(BIN)/python -m $$module; done

golden: $(VENV)/.installed-test
	set -e; for module in $(GOLDEN); do $(BIN)/python -m $$module; done

gallery: $(VENV)/.installed-report
	$(BIN)/python -m reports.build

audit: $(VENV)/.installed-report
	$(BIN)/python -m reports.audit

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

clean:
	rm -rf $(VENV) $(PEERS) build dist demo_output .hypothesis .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
