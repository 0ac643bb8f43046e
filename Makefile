# Everything goes into .venv; `make help` lists what there is.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Two test processes share the cores: OpenMP's threads must not spin for long while they wait.
export GOMP_SPINCOUNT := 10000

.DEFAULT_GOAL := help
.PHONY: help install run test check lint types walls soak bench screenshots demo catalog clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## */\1|/' | awk -F'|' '{printf "  %-12s %s\n", $$1, $$2}'

install: $(INSTALLED) ## own virtual environment with the tested set

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first and by its exact version, so that nothing else chooses a build of it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	mkdir -p .types/finetune_tui
	ln -sfn ../../core .types/finetune_tui/core
	ln -sfn ../../tui .types/finetune_tui/tui
	touch $(INSTALLED)

run: install ## open the app; with no terminal: train the demo and print the result
	$(BIN)/finetune-tui

test: check ## lint, types, walls, and every test but the full matrices
	# Half the fast tests' time is waiting, so there are more of them at once than cores; what trains
	# spends most of its time on imports, which take one core. Threads would only fight over the cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not soak and not training' -n 3
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'training and not soak' -n 2 --dist loadfile

check: lint types walls ## lint, types and import contracts

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	MYPYPATH=.types $(BIN)/mypy -p finetune_tui.core -p finetune_tui.tui
	MYPYPATH=.types $(BIN)/mypy tests scripts benchmarks

walls: install
	$(BIN)/lint-imports --no-cache

soak: install ## the full matrices (long; run by hand, results go into the issue)
	$(BIN)/python -m pytest -m soak

bench: install ## measurements side by side; results in benchmarks/results/
	$(BIN)/python benchmarks/run.py

screenshots: install ## screenshots/*.svg from the tests' fixed data
	$(BIN)/python scripts/make_screenshots.py

demo: install ## make the demo's weights and data again (about ten minutes)
	$(BIN)/python scripts/build_demo.py
	$(BIN)/python scripts/build_catalog.py

catalog: install ## make the manifests of the catalog again
	$(BIN)/python scripts/build_catalog.py

clean: ## remove what was built
	rm -rf $(VENV) .types build *.egg-info .mypy_cache .pytest_cache .ruff_cache
