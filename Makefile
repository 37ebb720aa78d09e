# make demo and make test are all that a new user needs: each makes .venv on its first run and then does its job.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python that is new enough; `make PYTHON=/path/to/python3 demo` overrides it.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	command -v $(name) >/dev/null 2>&1 && $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(name))))
BIN := .venv/bin
INSTALL := pip install --quiet --quiet --disable-pip-version-check -c constraints.txt
# One thread a process: small tensors on several threads are many times slower, and pytest already uses the cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
WORKERS ?= 2

.PHONY: help demo test lint types contract smoke docs features format clean python

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.installed ## a whole study on a simulated cohort, into a new folder under runs/
	$(BIN)/prognos demo --out runs/demo-$$(date +%Y%m%d-%H%M%S) $(ARGS)

test: .venv/.installed ## every test
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: .venv/.installed ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.installed ## ruff: write the format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.installed ## mypy
	$(BIN)/mypy

contract: .venv/.installed ## the import contract: the stations follow one another
	$(BIN)/lint-imports

features: .venv/.installed ## the register of paper features against code and tests; write=1 renews the pages
	$(BIN)/python docs/make_features.py $(if $(write),--write,--check)

docs: .venv/.docs ## the documentation site, into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

smoke: .venv-smoke/.installed ## every module with the declared dependencies only
	$(ONE_THREAD) .venv-smoke/bin/python .ci/import_everything.py
	.venv-smoke/bin/prognos --help > /dev/null

clean: ## remove what make made, runs excepted
	rm -rf .venv .venv-smoke site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "prognos needs Python 3.11 or newer; found: $$(python3 --version 2>&1)." >&2; \
		echo "Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv) or name it: make PYTHON=/path/to/python3.11 demo" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); prognos needs Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: its venv module is missing." >&2; \
		echo "Install it (Debian, Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; }

.venv/.installed: pyproject.toml constraints.txt | python
	@echo "Installing prognos into .venv (once; a few minutes)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) -e ".[dev]"
	@touch $@

.venv/.docs: .venv/.installed
	$(BIN)/$(INSTALL) -e ".[docs]"
	@touch $@

.venv-smoke/.installed: pyproject.toml constraints.txt | python
	@test -x .venv-smoke/bin/pip || $(PYTHON) -m venv .venv-smoke
	.venv-smoke/bin/$(INSTALL) -e .
	@touch $@
