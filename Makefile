# One verb, one line: `make help` lists them. All of them work in a virtual environment of their own.
VENV ?= .venv
PYTHON ?= python3
# Another torch: a requirement or a wheel file, e.g. make demo TORCH=wheels/torch-cpu.whl
TORCH ?= torch==2.13.0

BIN := $(VENV)/bin
READY := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint types bench wheel clean again

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  VENV=folder  PYTHON=python3.12  TORCH=requirement-or-file  (now: $(VENV), $(PYTHON), $(TORCH))"

demo: $(READY) ## a small model works out word problems under 13 samplers: table and plot in demo/
	@$(BIN)/unveil demo --out demo

test: lint types ## everything CI checks: lint, types, all tests
	@$(BIN)/python -m pytest

quick: $(READY) ## the tests that are not slow
	@$(BIN)/python -m pytest -m "not slow"

lint: $(READY) ## ruff
	@$(BIN)/ruff check .

types: $(READY) ## mypy
	@$(BIN)/mypy

bench: $(READY) ## every benchmark in benchmarks/, about ten minutes
	@$(BIN)/python benchmarks/all.py --out benchmarks/results/cpu.json

wheel: $(READY) ## dist/unveil-*.whl
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist

clean: ## remove what the other verbs made, except the virtual environment
	@rm -rf demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

test quick: export OMP_NUM_THREADS = 1

# torch first, so that the package's own `torch>=...` finds it satisfied. The stamp comes last:
# a set-up that was interrupted is made again.
$(READY): pyproject.toml Makefile $(if $(filter-out file,$(origin TORCH)),again)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Unveil needs Python 3.11 or newer, this is %s. Name another: make PYTHON=python3.12" % sys.version.split()[0])'
	@rm -f $(READY)
	@echo "Setting up $(VENV): $(TORCH), then Unveil with its tools. The first time takes a few minutes."
	@$(PYTHON) -m venv $(VENV)
	@echo '*' > $(VENV)/.gitignore
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $(READY)
	@echo "$(VENV) is ready."

# A torch named by hand is installed even where the stamp is new.
again:
