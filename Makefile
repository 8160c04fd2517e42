# `make` lists the commands. Everything lives in .venv; nothing is installed outside it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
# An NVIDIA GPU whose driver lists it gets the wheels with CUDA; GPU=yes or GPU=no decides otherwise.
GPU ?= $(if $(findstring GPU,$(shell nvidia-smi -L 2>/dev/null)),yes,no)
ifeq ($(GPU),yes)
BENCH := bench-gpu
CONSTRAINTS := constraints-gpu.txt
DEMO_DEVICE := auto
# onnxruntime and onnxruntime-gpu are installed over each other: exactly one is left.
ONE_ONNXRUNTIME = $(BIN)/uv pip uninstall --quiet --python $(BIN)/python onnxruntime onnxruntime-gpu; \
	$(UV) -c $(CONSTRAINTS) onnxruntime-gpu
else
BENCH := bench
CONSTRAINTS := constraints.txt
DEMO_DEVICE := cpu
ONE_ONNXRUNTIME = :
endif
DEMO_MODELS := mobilenet_v3_small,squeezenet1_1,mobilenet_v2,resnet18,levit_128s

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo ui test test-gpu test-all check lint docs audit format lock wheel release clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

$(VENV)/.$(BENCH): $(BIN)/uv pyproject.toml $(CONSTRAINTS)
	$(UV) -c $(CONSTRAINTS) -e '.[$(BENCH)]'
	$(ONE_ONNXRUNTIME)
	touch $@

$(VENV)/.dev: $(BIN)/uv pyproject.toml constraints.txt
	$(UV) -c constraints.txt -e '.[dev]'
	$(ONE_ONNXRUNTIME)
	touch $@ $(VENV)/.$(BENCH)

setup: $(VENV)/.$(BENCH) ## prepare .venv so that measuring and `mlflow run .` work
	$(BIN)/frm-mlflow link-env

setup-dev: $(VENV)/.dev ## the same with every runtime and the developers' tools
	$(BIN)/frm-mlflow link-env

demo: setup ## benchmark 5 networks and the baseline on this machine, log them, print the leaderboard
	PATH="$(CURDIR)/$(BIN):$$PATH" mlflow run . -P device=$(DEMO_DEVICE) -P models=$(DEMO_MODELS) -P measure=paper --experiment-name frm

ui: setup ## open the MLflow UI on the runs of this folder
	$(BIN)/mlflow server --app-name frm --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

# Tests that time, kill or watch processes run one after the other; the rest side by side.
ALONE := tests/e2e tests/faults tests/measure

test: lint ## lint, types and all tests but the slow matrices
	@failed=0; \
	$(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile $(ALONE:%=--ignore=%) || failed=$$?; \
	$(BIN)/python -m pytest -m "not slow and not gpu" $(ALONE) || failed=$$?; \
	exit $$failed

test-gpu: setup-dev ## the tests that need an NVIDIA GPU, under ten minutes; they leave the card's settings alone
	timeout 600 $(BIN)/python -m pytest -m gpu -p no:xdist tests/gpu

test-all: lint ## everything, the slow matrices too
	$(BIN)/python -m pytest

check: lint ## lint, types, import contracts, unit and property tests (about five minutes on two cores)
	$(BIN)/python -m pytest -q -m "not slow and not gpu" -n 2 --dist loadfile tests/unit tests/property

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --severity-level medium frm_mlflow runners conf
	$(BIN)/vermin --quiet --no-tips --target=3.10- --violations frm_mlflow runners conf hydra_plugins

docs: setup-dev ## preview the documentation at http://127.0.0.1:8000
	$(BIN)/mkdocs serve --strict

audit: $(BIN)/uv ## look for known vulnerabilities of the pinned dependencies; needs osv.dev, so CI does not run it
	@$(BIN)/uv tool run --quiet pip-audit --strict --vulnerability-service osv --no-deps --disable-pip -r constraints.txt \
	  || { echo "make audit: pip-audit reported a vulnerability, or osv.dev could not be reached (then nothing was checked)." >&2; exit 1; }

format: setup-dev ## let ruff write the layout
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(BIN)/uv ## compile constraints.txt from pyproject.toml, for every supported Python
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --no-emit-index-url --no-annotate --no-header --quiet --output-file constraints.txt
	$(BIN)/uv pip compile pyproject.toml --extra bench-gpu --universal --python-version 3.11 -c constraints.txt --no-emit-index-url --no-annotate --no-header --quiet --output-file constraints-gpu.txt

wheel: setup-dev ## build the sdist and the wheel into dist/
	$(BIN)/python -m build

release: $(BIN)/uv ## make release VERSION=x.y.z: version, changelog heading, sdist, wheel and tag
	$(BIN)/python -m docs.release $(VERSION)

clean: ## remove build products, caches and .venv (runs and exports stay)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
