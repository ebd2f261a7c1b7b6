# `make repro` and `make test` set up .venv from requirements.lock first, once.

PYTHON ?= python3
PORT ?= 5000
VENV := .venv/bin
export PATH := $(CURDIR)/$(VENV):$(PATH)

.PHONY: repro test test-all check ui setup clean-runs

repro: setup
	dvc repro

# Many tests wait for processes of their own, so three run side by side, with one thread each. All
# tests of a file run in one process; files start in their order, which mixes quick and long ones.
PYTEST := OMP_NUM_THREADS=1 pytest -n 3 --dist loadfile --no-loadscope-reorder

test: setup check
	$(PYTEST)

# With those of the marker `slow`.
test-all: setup check
	$(PYTEST) -m "" -rs

check: setup
	ruff check .
	ruff format --check .
	mypy

# MLflow's pages on this machine alone, at http://127.0.0.1:5000.
ui: setup
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --host 127.0.0.1 --port $(PORT) \
		--workers 1 --backend-store-uri sqlite:///$(CURDIR)/mlflow.db \
		--default-artifact-root $(CURDIR)/mlartifacts

# Lists the run folders; KEEP=N prunes all but the newest N.
clean-runs: setup
	python -m pipeline.runs.prune runs $(if $(KEEP),--keep $(KEEP))

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'error: $(PYTHON) is not Python 3.11 or newer; run make PYTHON=<a newer one>' >&2; \
		exit 2; }
	$(PYTHON) -m venv .venv
	$(VENV)/python -m pip install -qq --progress-bar off -r requirements.lock
	$(VENV)/python -m pip install -qq --no-deps --no-build-isolation -e .
	touch $@
