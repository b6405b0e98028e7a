# Two commands: `make train` and `make test`. Both set up .venv first, with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n 2 --dist worksteal

.PHONY: train test check quick long docs clean

train: .venv/installed
	$(BIN)/gymnast train dqn --env CartPole-v1 --preset cartpole --track tensorboard

test: check
	$(PYTEST) -m "not long"

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n 2

quick: .venv/installed
	$(PYTEST) -m "not slow and not long"

long: .venv/installed
	$(PYTEST) -m long

docs: .venv/installed
	$(BIN)/python -m sphinx -q -E -W --keep-going docs site
	@echo site/index.html

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("gymnast needs Python 3.10 or newer: make PYTHON=python3.11" if sys.version_info < (3, 10) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist site .mypy_cache .ruff_cache .pytest_cache
