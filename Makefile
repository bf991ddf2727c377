# `make demo` and `make test` are all a new user needs. Both make their own .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types clean

demo: .venv/.demo
	$(BIN)/python examples/demo.py

test: .venv/.dev
	$(BIN)/python -m pytest

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/make_validator.py --check

types: .venv/.dev
	$(BIN)/mypy

# A stamp per extra: installed again only when pyproject.toml changes.
.venv/.%: pyproject.toml | .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

.venv:
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
