# Everything a developer or CI does with this project. `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

export NO_COLOR := 1
export DO_NOT_TRACK := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest --color=no
SUMMARY := .venv/pytest.log
LINT_TESTS := $(patsubst %,tests/test_repository_%.py,shape layers way style)

.PHONY: help setup sync check test test-all test-formats examined lint notebooks pytest estimators threats threats-all values batches pipelines-ci demo bench site lab lock

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | expand -t 14

setup: $(READY)  ## make .venv from the hash-locked requirements, teach git about notebooks and JupyterLab the kernel

$(READY): requirements.lock pyproject.toml
	@if ! $(BIN)/python -c "" 2>/dev/null; then \
	  for python in python3.11 python3; do \
	    if $$python -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then break; fi; python=; \
	  done; \
	  if [ -z "$$python" ]; then echo "mlnb needs Python 3.11 or newer: neither python3.11 nor python3 is one" >&2; exit 1; fi; \
	  echo "making .venv with $$($$python --version)"; $$python -m venv --clear .venv; \
	fi
	@echo "installing what requirements.lock names; this takes a minute or two"
	@# --no-deps: pip 23 mistakes extras for unhashed requirements; the lock is complete, and `pip check` looks
	@$(PIP) install --no-deps --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@broken=$$($(BIN)/python -m pip check) || { echo "$$broken" >&2; exit 1; }
	@sh scripts/git_settings.sh
	@$(BIN)/mlnb kernels install >/dev/null
	@touch $(READY)

sync: setup  ## format and clean the notebooks, export the library from them
	@$(BIN)/python scripts/notebooks.py sync

lint: setup  ## the part of `test` that takes seconds: clean, exported, shape, layers, the way through, ruff, mypy, style
	@$(BIN)/python scripts/notebooks.py check
	@$(PYTEST) -o addopts= -q $(LINT_TESTS)
	@$(BIN)/ruff format --quiet --check nbs tests scripts benchmarks
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/mypy
	@$(BIN)/python scripts/measure_style.py

notebooks: setup  ## run the examples of the library's notebooks
	@# one thread each: two that share two cores with `lint` would wait for each other in turns
	@OMP_NUM_THREADS=1 $(BIN)/nbdev-test --skip-folder-re '^([_.]|pipelines$$)' --n-workers 2

pytest: setup  ## run pytest, without the slow batteries and what `lint` runs
	@$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder $(addprefix --ignore=,$(LINT_TESTS)) | tee $(SUMMARY)

estimators: setup  ## save and load every estimator of scikit-learn, make the page of it; takes minutes
	@OMP_NUM_THREADS=1 $(BIN)/python scripts/estimators.py

threats: setup  ## faults and threats: run the quick tests of the list, print its table, make its page
	@$(BIN)/python scripts/threats.py --quick

threats-all: setup  ## the same with the slow tests, which take an hour or two
	@$(BIN)/python scripts/threats.py --all

values: setup  ## what can be saved: save and load a value of every kind, make the table and its page
	@$(BIN)/python scripts/value_table.py

batches: setup  ## what checks say of bad batches and files, beside Evidently alone: make the table and its page
	@$(BIN)/python scripts/bad_inputs.py

test-formats: setup  ## what others read: let MLflow, model-signing, in-toto and ONNX check it, in an environment beside
	@$(BIN)/python scripts/formats.py

test: examined pytest site  ## all that CI tests; ends with pytest's summary
	@tail -n 1 $(SUMMARY)

examined: setup
	@# `lint` uses one core and `notebooks` waits for kernels: side by side they take the time of the longer one
	@$(MAKE) lint >.venv/lint.log 2>&1 & lint=$$!; \
	$(MAKE) notebooks && ran=0 || ran=$$?; \
	wait $$lint && clean=0 || clean=$$?; \
	cat .venv/lint.log; exit $$((ran + clean))

test-all: examined site  ## `test` with the slow batteries
	@$(PYTEST) -m "slow or not slow"

check: test pipelines-ci  ## all that CI runs: `test`, then the pipelines, the gate and the site under the profile `ci`

pipelines-ci: setup
	@$(BIN)/python scripts/pipelines_ci.py

demo: setup  ## run the pipelines, let the gate decide, build the site and say what came out
	@$(BIN)/python scripts/demo.py

bench: setup  ## measure side by side with peers
	@for file in benchmarks/*.py; do $(BIN)/python "$$file"; done

site: setup  ## build reports/ from what has been run
	@$(BIN)/mlnb publish

lab: setup  ## open JupyterLab on the project
	@$(BIN)/jupyter lab

lock:  ## make requirements.lock again from pyproject.toml (needs `uv` on the PATH)
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --extra dev pyproject.toml -o requirements.lock
