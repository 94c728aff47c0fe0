# Every target works in a fresh clone: it first installs what it needs, once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.8
UV := .tools/bin/uv
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup run test test-soak test-package lint format bench bench-train bench-serve bench-trade bench-skill bench-live bench-health check lock clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 24

setup: $(READY)  ## make .venv with Python 3.12 and the locked dependencies

run: $(READY)  ## run the main job on the default collection and show its result
	@$(BIN)/mlops run

# four processes on two cores: much of a test is waiting. The slow files come first, so that no core is idle at the end.
test: $(READY)  ## every test that needs neither a GPU nor the internet
	@$(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder

test-soak: $(READY)  ## the tests that run for minutes: an overloaded server, a thousand killed trading passes
	@MLOPS_TEST_SOAK=1 $(BIN)/python -m pytest -q -m soak

test-package: $(READY)  ## build the wheel; use it, and each of its extras, in clean environments (needs the package index)
	@UV="$(CURDIR)/$(UV)" tests/packaging/check_wheel.sh

lint: $(READY)  ## formatting, style, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY)  ## format the code and fix what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench-train: $(READY)  ## measure training alone: processes, fleets, the floor (some 8 minutes)
	@$(BIN)/python tests/bench/bench_pipeline.py --only fleets

bench-serve: $(READY)  ## measure serving alone, beside MLServer and ludwig serve (some 12 minutes)
	@$(BIN)/python tests/bench/bench_pipeline.py --only serve

bench-trade: $(READY)  ## measure paper trading alone: a replay, the decision, orders per second (some 3 minutes)
	@$(BIN)/python tests/bench/bench_pipeline.py --only trade

bench-skill: $(READY)  ## measure forecasts over years: make bench-skill PRICES=folder (500 stocks: half an hour)
	@$(BIN)/python tests/bench/bench_skill.py $(PRICES)

bench-live: $(READY)  ## measure the nightly pass over 1,800 models (600 tickers x 3; some 15 minutes)
	@$(BIN)/python tests/bench/bench_live.py

bench-health: $(READY)  ## measure false and true alarms of health on simulated fleets of 1,000 models (some 15 minutes)
	@$(BIN)/python tests/bench/bench_health.py --seeds 20

bench: $(READY)  ## measure everything and print tables (some 35 minutes)
	@$(BIN)/python tests/bench/bench_pipeline.py

check: lint test  ## what to run before a commit; CI adds `make run` and `make test-package`

lock: $(UV)  ## resolve the dependencies of pyproject.toml to their newest versions, and the hashes of uv
	@$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.12 \
		--group dev --upgrade pyproject.toml -o requirements.lock
	@(echo "# uv, which installs everything else; made by make lock"; echo "uv==$(UV_VERSION)" | $(UV) pip compile --quiet \
		--universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.12 -) > .uv.part
	@mv .uv.part requirements-uv.lock

clean:  ## remove the environments; keep results and data
	@rm -rf .venv .tools

$(UV):
	@python3 -m venv .tools
	@.tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock

$(READY): $(UV) requirements.lock pyproject.toml
	@$(UV) venv --quiet --allow-existing --python 3.12 .venv
	@# Compiled bytecode: without it the import of Ludwig takes 22 s of processor time instead of 12, and pandas 1.5 instead of 0.4.
	@$(UV) pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
