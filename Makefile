# What a person types. Every target sets the house up first; the second time that takes no time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
STAMP := $(VENV)/.theodolite
# Two workers on two cores: one thread each, or they wait for one another.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
WORKERS ?= 2
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help setup demo test test-all lint fix bench bench-peers docs gallery clean

help:
	@echo "make setup        the environment in $(VENV), from constraints.txt"
	@echo "make demo         train a small network on real digits, diagnose it, write its report"
	@echo "make test         the fast tests, architecture included"
	@echo "make test-all     every test, the slow ones too"
	@echo "make lint         ruff, format, types"
	@echo "make fix          what ruff can put in order by itself"
	@echo "make docs         the documents as HTML, in docs/_build/html"
	@echo "make gallery      the pictures of docs/gallery.md, from examples/; two of them need THEODOLITE_DATA"
	@echo "make bench        the benchmarks of the package alone"
	@echo "make bench-peers  ours beside other packages, in .venv-peers; about 35 minutes"
	@echo "make clean        away with everything that was built, the environment included"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Theodolite needs Python >= 3.11; '$(PYTHON)' was not found. Install it, or name one: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Theodolite needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name a newer one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) must have the modules venv and ensurepip, and lacks one. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: setup
	$(BIN)/theodolite demo $(DEMO)

test: setup
	$(PYTEST) -m "not slow"

test-all: setup
	$(PYTEST)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fix: setup
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

# Of the files beside it, curvature.py needs the peers, and models.py is a part of it.
BENCHMARKS := $(filter-out benchmarks/curvature.py benchmarks/diagnosis.py benchmarks/foreign.py benchmarks/monitor.py benchmarks/optim.py benchmarks/landscape.py benchmarks/models.py benchmarks/search.py,$(wildcard benchmarks/*.py))

bench: setup
	@set -e; for file in $(BENCHMARKS); do echo "== $$file"; $(BIN)/python "$$file"; done

bench-peers:
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q torch==2.13.0
	$(PEERS)/bin/python -m pip install -q --no-deps -r benchmarks/peers.txt -e .
	$(ONE_THREAD) KINETO_LOG_LEVEL=99 $(PEERS)/bin/python benchmarks/curvature.py
	$(ONE_THREAD) $(PEERS)/bin/python benchmarks/monitor.py
	$(ONE_THREAD) $(PEERS)/bin/python benchmarks/landscape.py
	$(ONE_THREAD) $(PEERS)/bin/python benchmarks/optim.py
	$(ONE_THREAD) $(PEERS)/bin/python benchmarks/diagnosis.py

gallery: setup
	$(ONE_THREAD) $(BIN)/python docs/gallery.py

docs: setup
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) $(PEERS) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
