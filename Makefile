# The developer's targets. `make` or `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python that is at least 3.11; it is tried, because a name on the PATH may lead nowhere.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,\
	$(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))
NEXT_PYTHON ?= $(firstword $(foreach name,python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13),\
	$(shell $(name) -c 'import sys; sys.version_info[:2] == (3, 13) and print("$(name)")' 2>/dev/null)))
NEXT_DJANGO := 6.1.3

BIN := .venv/bin
PYTEST_WORKERS ?= 2
# Reading the settings must start nothing where nothing is run.
UNUSED_SERVICES := OPSCONSOLE_ENV=development DATABASE_URL=postgres://unused.invalid/unused CACHE_URL=redis://unused.invalid

.PHONY: help demo test check lint types imports format coverage test-next screenshots clean
.PHONY: bench-recovery bench-pages bench-dlq bench-bulk bench-ratelimit

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed ## run everything on this machine; DEMO_SECONDS=n ends it by itself, DEMO_PORT=n sets the port
	$(BIN)/python manage.py demo

test: .venv/installed ## run all tests on embedded PostgreSQL, Valkey and SQS
	$(BIN)/pytest -n $(PYTEST_WORKERS)

check: lint types imports test ## all that CI asks for

lint: .venv/installed ## style and named rules (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed ## strict types (mypy)
	$(UNUSED_SERVICES) $(BIN)/mypy .

imports: .venv/installed ## who may import whom (import-linter)
	$(BIN)/lint-imports

format: .venv/installed ## rewrite the code in the one style
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

coverage: .venv/installed ## run all tests and show the lines and branches that none of them reached
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-next: ## run all tests on Python 3.13 with Django 6.1, where such a Python is found
ifeq ($(NEXT_PYTHON),)
	@echo "Python 3.13 was not found: nothing was tested. Install it, or name it with NEXT_PYTHON=/path/to/python3.13."
else
	@$(MAKE) --no-print-directory .venv-next/installed
	.venv-next/bin/pytest -n $(PYTEST_WORKERS)
endif

screenshots: .venv/installed ## take the pictures of the README (docs/images) in a real browser
	$(BIN)/pytest -q tests/journeys/pictures.py

bench-recovery: .venv-bench/installed ## measure finding and recovering stale jobs beside other queues
	.venv-bench/bin/python -m bench.recovery

bench-pages: .venv-bench/installed ## measure each page on a million jobs beside stock admin lists
	.venv-bench/bin/python -m bench.pages

bench-dlq: .venv/installed ## measure scanning and replaying 10,000 dead letters, and their list page
	$(BIN)/python -m bench.dlq

bench-bulk: .venv/installed ## measure freezing and requeueing thousands of jobs, in chunks and one by one
	$(BIN)/python -m bench.bulk

bench-ratelimit: .venv-bench/installed ## measure what a limited request costs beside other limiters
	.venv-bench/bin/python -m bench.ratelimit

clean: ## remove what was built, installed and stored here
	rm -rf .venv .venv-next .venv-bench var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*

.venv/installed: requirements.txt requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found. Install it, or name it with PYTHON=/path/to/python3."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

.venv-next/installed: requirements.txt requirements-dev.txt
	$(NEXT_PYTHON) -m venv .venv-next
	.venv-next/bin/pip install --quiet --disable-pip-version-check -r <(sed '/^django==/d; /^-r /d' requirements.txt requirements-dev.txt) django==$(NEXT_DJANGO)
	touch $@

.venv-bench/installed: requirements.txt requirements-dev.txt requirements-bench.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found. Install it, or name it with PYTHON=/path/to/python3."; exit 1; }
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@
