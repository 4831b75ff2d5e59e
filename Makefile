# Every target does its own set-up: a virtual environment with the locked dependencies and this package, editable.
# It is done once, and again only when the lock or the package's metadata changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
TOOLS := .venv-tools
READY := $(VENV)/.ready
# Python writes no bytecode on some machines; compiling once at install makes every start several times faster.
UV := UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV=$(VENV) $(BIN)/uv

.PHONY: help setup demo docs test test-all test-oldest fuzz test-tools lint format bench lock clean

help:
	@echo "make demo      let the shipped models answer, teach one letters, write demo/report.html"
	@echo "make docs      the documentation as a site, docs/_build/index.html"
	@echo "make test      the tests (under 6 minutes on 2 cores)"
	@echo "make test-all  the slow ones too"
	@echo "make test-oldest  contract and parity tests with the oldest versions allowed of all dependencies"
	@echo "make fuzz      10,000 damaged inputs of every kind (EXAMPLES=N for fewer, SEED=N for those of an earlier call)"
	@echo "make test-tools   what other people's tools ask of the models, with those tools"
	@echo "make lint      ruff, mypy, import-linter, codespell"
	@echo "make format    let ruff rewrite what it can"
	@echo "make bench     GPViT's speed beside timm's models, on this machine"
	@echo "make lock      pin the newest dependencies again"
	@echo "make clean     remove the environment and everything generated"

setup: $(READY)

$(READY): requirements.lock pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gpvit needs Python 3.11 or newer; '$(PYTHON)' is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/uv || { $(PYTHON) -m venv --clear $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	$(UV) pip sync --quiet --require-hashes requirements.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)
	$(BIN)/gpvit demo --out demo

docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build

test: $(READY)
	$(BIN)/python -m pytest -m "not slow"

test-all: $(READY)
	$(BIN)/python -m pytest

test-oldest: $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(OLDEST)
	$(UV:$(VENV)=$(OLDEST)) pip install --quiet --resolution lowest-direct --editable ".[dev]"
	$(OLDEST)/bin/python -m pytest -m "not slow" tests/contract tests/parity

EXAMPLES ?= 10000
SEED ?= $(shell date +%s)
fuzz: $(READY)
	@echo "seed $(SEED)"
	GPVIT_FUZZ=$(EXAMPLES) $(BIN)/python -m pytest tests/fuzz --hypothesis-seed=$(SEED)

test-tools: $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(TOOLS)
	$(UV:$(VENV)=$(TOOLS)) pip install --quiet --constraint requirements.lock --editable ".[dev,dev-tools]"
	$(TOOLS)/bin/python -m pytest -n0 tests/tools

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/gpvit benchmark --suite field --out bench
	$(BIN)/python -m benchmarks.prepared
	$(BIN)/python -m benchmarks.deformable
	$(BIN)/python -m benchmarks.train_overhead
	$(BIN)/python -m benchmarks.activation_checkpointing
	$(BIN)/python -m benchmarks.loading recipes/digits/classify.yaml

lock: $(READY)
	$(UV) pip compile pyproject.toml --extra dev --extra cluster --universal --python-version 3.11 --upgrade --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) $(OLDEST) $(TOOLS) docs/_build demo bench build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
