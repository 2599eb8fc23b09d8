# Targets for developers. `make` or `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python on the PATH that runs and is 3.11 or newer. Each is started, because a name may not lead to a working Python.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,\
	$(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))
NEXT_PYTHON ?= $(firstword $(foreach name,python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python3.13),\
	$(shell $(name) -c 'import sys; sys.version_info[:2] == (3, 13) and print("$(name)")' 2>/dev/null)))
NEXT_DJANGO := 6.1.3

BIN := .venv/bin
# More than there are cores, because many tests wait for processes.
PYTEST_WORKERS ?= 3
# Addresses that are never opened: without them, reading the settings would start the embedded services.
UNUSED_SERVICES := OPSCONSOLE_ENV=development DATABASE_URL=postgres://unused.invalid/unused CACHE_URL=redis://unused.invalid

# Compiled modules are kept, wherever the developer or the machine says otherwise: the tests start hundreds of Python processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check soak lint types imports format coverage test-next dist screenshots lock bom audit clean
.PHONY: drill-upgrade drill-restore clients
.PHONY: bench-sitting bench-beats bench-worker bench-recovery bench-pages bench-growth bench-job bench-layouts bench-ids bench-dlq bench-sending bench-burst bench-bulk bench-million bench-ratelimit bench-clients bench-check bench-serving bench-next bench-footprint bench-idle

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed ## run the whole console on this machine; DEMO_SECONDS=n ends it after n seconds, DEMO_PORT=n sets the port
	$(BIN)/python manage.py demo

# A few of eight thousand tests may be decided by what others do to the machine beside them. Those that fail are told, and run once more
# by themselves: what fails there, too, fails. Anything but failed tests (another exit code than 1) is not tried again.
test: .venv/installed clients ## run all tests on embedded PostgreSQL, Valkey and SQS
	$(BIN)/pytest -n $(PYTEST_WORKERS) --dist worksteal || { [[ $$? == 1 ]] && echo "Once more, one after the other:" && $(BIN)/pytest --last-failed --last-failed-no-failures none; }

# The soak mostly waits, so what else needs no tests runs beside it.
check: .venv/installed ## run every check that CI runs
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target soak-briefly lint imports clients collect types
	$(MAKE) --no-print-directory test

# It compiles the modules of the tests, which the workers of pytest-xdist would otherwise do at the same time, each for itself.
.PHONY: collect
collect: .venv/installed
	$(BIN)/pytest --collect-only --quiet | tail -n 1

lint: .venv/installed ## check style and rules (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed ## check types (mypy)
	$(UNUSED_SERVICES) $(BIN)/mypy .

imports: .venv/installed ## check the import contracts (import-linter)
	$(BIN)/lint-imports

format: .venv/installed ## format the code and fix what can be fixed (ruff)
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

coverage: .venv/installed ## run all tests and list the lines and branches that no test reached
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-next: ## run all tests on Python 3.13 with Django 6.1, if Python 3.13 is installed
ifeq ($(NEXT_PYTHON),)
	@echo "Python 3.13 was not found, so nothing was tested. Install it, or set NEXT_PYTHON=/path/to/python3.13."
else
	@$(MAKE) --no-print-directory .venv-next/installed
	.venv-next/bin/pytest -n $(PYTEST_WORKERS) --dist worksteal
endif

TYPESCRIPT := clients/typescript
NODE := $(and $(shell command -v node),$(shell command -v npm))
# Nothing that is installed may run a script of its own.
NPM_CI := npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error

clients: ## build the TypeScript client (needs Node 18 or newer, and npm)
ifeq ($(NODE),)
	@echo "Node or npm was not found, so the TypeScript client is neither built nor tested. Debian has them: apt-get install nodejs npm"
	@test "$$REQUIRE_FIELD" != 1
else
	@$(MAKE) --no-print-directory $(TYPESCRIPT)/dist/built
endif

$(TYPESCRIPT)/dist/built: $(TYPESCRIPT)/node_modules/installed $(TYPESCRIPT)/package.json $(wildcard $(TYPESCRIPT)/tsconfig*.json $(TYPESCRIPT)/src/*.ts $(TYPESCRIPT)/src/*/*.ts)
	cd $(TYPESCRIPT) && rm -rf dist cjs/*.js cjs/*.d.ts cjs/*/ && npm run --silent build
	touch $@

$(TYPESCRIPT)/node_modules/installed: $(TYPESCRIPT)/package-lock.json
	cd $(TYPESCRIPT) && $(NPM_CI)
	touch $@

NEXT_APP := tests/clients/next-app
$(NEXT_APP)/.next/built: $(NEXT_APP)/node_modules/installed $(TYPESCRIPT)/dist/built $(shell git ls-files $(NEXT_APP) 2>/dev/null | sed 's/ /\\ /g')
	mkdir -p $(NEXT_APP)/node_modules/@opsconsole/client
	cp -r $(TYPESCRIPT)/package.json $(TYPESCRIPT)/dist $(TYPESCRIPT)/cjs $(NEXT_APP)/node_modules/@opsconsole/client/
	cd $(NEXT_APP) && NEXT_TELEMETRY_DISABLED=1 node_modules/.bin/next build
	touch $@

$(NEXT_APP)/node_modules/installed: $(NEXT_APP)/package-lock.json
	cd $(NEXT_APP) && $(NPM_CI)
	touch $@

MINUTES ?= 30
soak: .venv/installed ## let two hosts work while everything fails, and prove that nothing was lost or done twice; MINUTES=n
	$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES)

.PHONY: soak-briefly
soak-briefly: .venv/installed
	$(BIN)/python -m tests.chaos.soak --minutes 2

drill-upgrade: .venv/installed ## upgrade from the commit in tests/upgrade/BASE, go back to its code, and restart everything under load
	ROLLING=run_cluster $(BIN)/pytest -v tests/upgrade tests/field/test_missing_migrations.py tests/field/test_rolling_restart.py

drill-restore: .venv/installed ## dump, lose and restore a database, and follow docs/restoring.md; BACKUP=file restores a dump of yours
	BACKUP=$(BACKUP) $(BIN)/pytest -v -s tests/field/test_restore_drill.py

# uv reads no configuration of pip, so it is told which index is configured for pip, if any is.
INDEX = $(shell echo "$${UV_DEFAULT_INDEX:-$$($(PYTHON) -m pip config get global.index-url 2>/dev/null)}")
LOCK = $(if $(INDEX),UV_DEFAULT_INDEX="$(INDEX)") .venv-supply/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"
lock: .venv-supply/installed ## write the version and the hashes of each package, also of indirect ones, to requirements*.lock
	@$(LOCK) --output-file requirements-dev.lock requirements-dev.txt
	@$(LOCK) --constraint requirements-dev.lock --output-file requirements.lock requirements.txt
	@$(LOCK) --constraint requirements-dev.lock --output-file requirements-traces.lock requirements.txt requirements-traces.txt
	@$(LOCK) --constraint requirements-dev.lock --output-file requirements-build.lock requirements-build.txt
	@$(LOCK) --constraint requirements-dev.lock --output-file requirements-bench.lock requirements-bench.txt
	@$(LOCK) --output-file requirements-supply.lock requirements-supply.txt

bom: .venv-supply/installed ## write a bill of materials of what the console runs on to dist/bom.json (CycloneDX)
	mkdir -p dist
	.venv-supply/bin/cyclonedx-py requirements --output-reproducible --output-file dist/bom.json requirements.lock

audit: .venv-supply/installed ## ask PyPI whether a package that the console runs on has a known vulnerability (needs the internet)
	.venv-supply/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

dist: .venv/installed ## build the wheel and the source archive in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation .

screenshots: .venv/installed ## take the pictures of the documentation (docs/images), and of every page at 1440, 1024 and 390 pixels (var/pictures)
	$(BIN)/pytest -q -o faulthandler_timeout=1800 tests/journeys/pictures.py tests/journeys/every_picture.py

bench-sitting: .venv/installed .venv-bench/installed ## run the benchmarks of docs/benchmarks.md one after the other, and write their figures into it; BENCH_ONLY=recovery,pages
	$(BIN)/python -m bench.sitting

bench-recovery: .venv-bench/installed ## measure how fast stale runs are found and recovered, compared with other queues
	.venv-bench/bin/python -m bench.recovery

bench-pages: .venv-bench/installed ## measure every page with a million jobs, compared with stock admin lists
	.venv-bench/bin/python -m bench.pages

bench-growth: .venv/installed ## measure what takes longer while the tables grow; GROWTH_MILLIONS=1,10,30
	$(BIN)/python -m bench.growth

bench-job: .venv/installed ## measure what one job costs the database, from its enqueueing to its end
	$(BIN)/python -m bench.job_cost

bench-layouts: .venv/installed ## measure the console's facts about jobs as columns of your table, and in a table of its own
	$(BIN)/python -m bench.fact_layouts

bench-ids: .venv/installed ## measure recovery with bigints as ids of jobs beside uuids
	$(BIN)/python -m bench.ids

bench-dlq: .venv/installed ## measure scanning, replaying and listing 10,000 dead letters
	$(BIN)/python -m bench.dlq

bench-sending: .venv/installed ## measure one and two dispatchers beside bare boto3 batch senders
	$(BIN)/python -m bench.sending

bench-burst: .venv/installed ## measure a burst of 50,000 jobs that two dispatchers send, while pages are read and sweeps run
	$(BIN)/python -m bench.burst

bench-bulk: .venv/installed ## measure previewing and requeueing thousands of jobs, in chunks and one by one
	$(BIN)/python -m bench.bulk

bench-million: .venv/installed ## measure a bulk operation of a million jobs, with a runner that is killed half way
	$(BIN)/python -m bench.million

bench-ratelimit: .venv-bench/installed ## measure what a limited request costs, compared with other limiters
	.venv-bench/bin/python -m bench.ratelimit

bench-clients: .venv-bench/installed ## measure the clients of the store that could ask for a decision
	.venv-bench/bin/python -m bench.limiter_clients

bench-check: .venv/installed ## measure POST /api/limits/check beside a plain Django view that reads the same JSON
	$(BIN)/python -m bench.check_view

bench-serving: .venv/installed ## measure the web server, compared with plain gunicorn, and the probe while clients are slow
	$(BIN)/python -m bench.serving

bench-next: .venv/installed ## measure a limited request to Next.js, beside one without a limiter and one that asks Valkey itself
	$(BIN)/python -m bench.next

bench-footprint: .venv/installed ## measure the memory and the idle processor time of all processes of one host (Linux)
	$(BIN)/python -m bench.footprint

bench-idle: .venv/installed ## measure the statements and the processor time of recurring work while nothing is to be done
	$(BIN)/python -m bench.idle_tasks

bench-beats: .venv/installed ## measure what heartbeats of 10,000 workers cost, and what they leave in the table
	$(BIN)/python -m bench.beats

bench-worker: .venv/installed ## measure the memory and the start of a worker with the console and without it (Linux)
	$(BIN)/python -m bench.worker

clean: ## delete virtual environments, packages, caches and the data under var/
	rm -rf $(NEXT_APP)/node_modules $(NEXT_APP)/.next $(TYPESCRIPT)/node_modules $(TYPESCRIPT)/dist $(TYPESCRIPT)/cjs/*.js $(TYPESCRIPT)/cjs/*.d.ts $(TYPESCRIPT)/cjs/*/
	rm -rf .venv .venv-next .venv-bench .venv-supply dist var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*

.venv/installed: requirements-dev.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found. Install it, or set PYTHON=/path/to/python3."; exit 1; }
	test -L .venv || $(PYTHON) -m venv .venv # not through a link, which Python refuses
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

.venv-next/installed: requirements.txt requirements-embedded.txt requirements-traces.txt requirements-dev.txt
	$(NEXT_PYTHON) -m venv .venv-next
	.venv-next/bin/pip install --quiet --disable-pip-version-check -r <(sed '/^django==/d; /^-r /d' requirements.txt requirements-embedded.txt requirements-traces.txt requirements-dev.txt) django==$(NEXT_DJANGO)
	touch $@

.venv-bench/installed: requirements-bench.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found. Install it, or set PYTHON=/path/to/python3."; exit 1; }
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	touch $@

.venv-supply/installed: requirements-supply.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found. Install it, or set PYTHON=/path/to/python3."; exit 1; }
	$(PYTHON) -m venv .venv-supply
	.venv-supply/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-supply.lock
	touch $@
