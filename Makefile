# Two environments: .venv is what a user gets (the package with its `local` extra), .venv-dev has
# everything that tests, checks and benchmarks need. Both install the package editable, so only a
# change of pyproject.toml makes them anew.

PYTHON  ?= python3
# Many tests wait for a clock or a server: more workers than cores keep these busy.
WORKERS ?= $(shell $(PYTHON) -c "import os; print(2 * (os.cpu_count() or 1) + 1)")
ARGS    ?=

USER_ENV := .venv
DEV_ENV  := .venv-dev
BIN      := $(DEV_ENV)/bin
PIP      := pip --disable-pip-version-check --quiet
SOURCES  := betterdb_agent_memory $(sort $(dir $(wildcard tests/*.py benchmarks/*.py examples/*.py scripts/*.py)))

# The published package that some tests and benchmarks run beside ours reports home unless told not to.
export BETTERDB_TELEMETRY := false

# Tests start hundreds of interpreters, each of which would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: $(USER_ENV)/.installed ## see it work: no server, no key, no network
	@$(USER_ENV)/bin/python examples/demo.py $(ARGS)

.PHONY: test
test: $(DEV_ENV)/.installed peers ## run all tests against real servers (ARGS="-k recall" for some)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

.PHONY: lint
lint: $(DEV_ENV)/.installed ## style, format, types, the arrows of the house, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports
	$(BIN)/deptry betterdb_agent_memory

.PHONY: format
format: $(DEV_ENV)/.installed ## let ruff repair style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: sync
sync: $(DEV_ENV)/.installed ## write the synchronous twin again
	$(BIN)/python scripts/generate_sync.py

.PHONY: bench
bench: $(DEV_ENV)/.installed peers ## measure, side by side with the published package (ARGS=... is passed on)
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: peers
peers: $(DEV_ENV)/.installed ## install the published packages that we are compared with
	@$(BIN)/python scripts/install_peers.py

.PHONY: clean
clean: ## remove environments, peers, caches and builds
	rm -rf $(USER_ENV) $(DEV_ENV) .peers build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find betterdb_agent_memory tests $(wildcard benchmarks examples scripts) -name __pycache__ -type d -prune -exec rm -rf {} +

$(USER_ENV)/.installed: pyproject.toml
	@echo "Installing the package into $(USER_ENV), once ..."
	@$(PYTHON) -m venv --clear $(USER_ENV)
	@$(USER_ENV)/bin/$(PIP) install --editable '.[local]'
	@touch $@

# Dependency groups need pip 25.1; a fresh environment may bring an older one. Half of the time would be spent on
# compiling modules that no test imports.
$(DEV_ENV)/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(DEV_ENV)
	$(BIN)/$(PIP) install --upgrade 'pip>=25.1'
	$(BIN)/$(PIP) install --no-compile --editable '.[local,cli,llm,providers,fastembed]' --group dev
	@touch $@
