# Every target sets up .venv by itself when it is missing or older than its lock file.
PYTHON ?= python3
BIN := .venv/bin
export KERAS_BACKEND := tensorflow
export TF_CPP_MIN_LOG_LEVEL := 3

.PHONY: help report test lint lab docs site bench lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

report: .venv/ready  ## run the main job on the embedded faces and print where the HTML report is
	@$(BIN)/workbook run notebooks/experiments/demo.yaml

test: .venv/ready-dev  ## run the tests (those on real faces skip when ../shared/data is missing)
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: .venv/ready-dev  ## check style, format, spelling, types, and which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy

lab: .venv/ready  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks/index.ipynb

docs: .venv/ready  ## run the main job and write its report to docs/example_report.ipynb
	$(BIN)/workbook run notebooks/experiments/demo.yaml
	$(BIN)/python docs/make_example.py results/demo/05_report/notebook.ipynb

site: .venv/ready-dev  ## build the documentation as pages, docs/_build/index.html
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build
	@echo docs/_build/index.html

bench: .venv/ready-dev  ## measure speed and memory and write benchmarks/results/report.html
	$(BIN)/python -m benchmarks

lock: .venv/ready  ## resolve pyproject.toml anew into the two lock files, each package with its SHA-256
	$(BIN)/uv pip compile -q --universal --python-version 3.11 pyproject.toml --extra fast --extra serve \
	    --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 pyproject.toml --extra fast --extra serve --extra search --extra ray --extra tensorboard --extra docs --extra dev \
	    -c requirements.lock --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links -o requirements-dev.lock

clean:  ## remove .venv and everything in results/
	rm -rf .venv
	find results -mindepth 1 -not -name README.md -delete

.venv/uv:
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), \
	    "Python 3.11, 3.12 or 3.13 is needed, this is %d.%d; try: make PYTHON=python3.12" % sys.version_info[:2]'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=0.5'
	@touch $@

.venv/ready: .venv/uv requirements.lock pyproject.toml
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --no-deps -e .
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.lock
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@
