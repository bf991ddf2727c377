# `make demo` and `make test` are all a new user needs. Both make their own .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types clean

demo: .venv/.demo
	$(BIN)/python examples/demo.py

# CI=true runs the slow ones as well.
test: .venv/.dev
	$(BIN)/python -m pytest $(if $(CI),,-m "not slow")

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/make_validator.py --check

types: .venv/.dev
	$(BIN)/mypy

# A stamp per extra: installed again only when pyproject.toml changes.
.venv/.%: pyproject.toml | .venv/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@

# A stamp here too: on a Debian without python3-venv a half-made folder would be taken for a whole one.
.venv/.made:
	$(PYTHON) -m venv --clear .venv || { echo "cannot make .venv: apt install python3-venv"; exit 3; }
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
