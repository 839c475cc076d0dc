.DEFAULT_GOAL := help
SHELL := /bin/bash
# Another interpreter beside the usual one: make test PYTHON=python3.13 VENV=/tmp/python3.13
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export UV_PROJECT_ENVIRONMENT := $(abspath $(VENV))
unexport PYTHONDONTWRITEBYTECODE # Some images set it; then each of the many processes compiles all that it imports, every time.

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

NATIVE := libs/common/hatch_build.py $(wildcard libs/common/native/*.[ch])

$(STAMP): $(BIN)/uv uv.lock pyproject.toml $(wildcard libs/*/pyproject.toml services/*/pyproject.toml) $(NATIVE)
	$(BIN)/uv sync --quiet --frozen --inexact --all-packages --python $(BIN)/python
	@touch $(STAMP)

.PHONY: install
install: $(STAMP) ## Create .venv (VENV) with the llmproxy command in it

.PHONY: run
run: install ## Run the whole gateway: six services, nats-server, redis-server, PostgreSQL
	@exec $(BIN)/llmproxy up

.PHONY: lint
lint: install ## Formatting and lint (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: install ## Static types (mypy --strict)
	$(BIN)/mypy libs services

.PHONY: imports
imports: install ## Who may import whom (import-linter)
	$(BIN)/lint-imports --no-cache

.PHONY: unit
unit: unit-shield unit-others ## Unit tests, no servers

# Two halves: what is short enough leaves no core idle at the end.
.PHONY: unit-shield unit-others
unit-shield: install
	$(BIN)/pytest -q tests/unit/shield

unit-others: install
	$(BIN)/pytest -q tests/unit --ignore=tests/unit/shield

.PHONY: architecture
architecture: install ## What a linter cannot check of the tree, each rule with its reason
	$(BIN)/pytest -q tests/architecture

.PHONY: conformance
conformance: install ## One suite for all adapters, guards and buses
	$(BIN)/pytest -q tests/conformance

.PHONY: guarantees
guarantees: install ## Attacks; what is guaranteed, cell by cell
	$(BIN)/pytest -q tests/attacks tests/guarantees

.PHONY: explore
explore: install ## Property tests with examples that nobody has seen yet; other targets always draw the same
	$(BIN)/pytest -q -n 2 --hypothesis-profile exploring -m hypothesis tests/unit tests/conformance tests/attacks

# Side by side, each in one process: to share tests out to workers, one by one, costs a tenth more than the tests. What a part has
# to say is printed in one piece when it has ended (GNU make 4).
TOGETHER := $(MAKE) --no-print-directory $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) --jobs
CHECKS := guarantees unit conformance lint imports types architecture  # The longest first.

.PHONY: check
check: install ## What every commit passes
	+@$(TOGETHER) 3 $(CHECKS)

# They wait more than they work, so there are more workers than cores; tests that share servers stay together (tests/workers.py).
ON_SERVERS := $(BIN)/pytest -q -n 3 --dist loadscope

.PHONY: integration
integration: install ## Tests against real nats-server, redis-server and PostgreSQL
	$(ON_SERVERS) tests/integration

.PHONY: e2e
e2e: install ## The running gateway with real client packages
	$(ON_SERVERS) tests/e2e

.PHONY: servers
servers: install ## integration and e2e at once
	$(ON_SERVERS) tests/integration tests/e2e

.PHONY: chaos
chaos: install ## Process kills and rolling restarts under load (several minutes)
	$(BIN)/pytest -q tests/chaos

.PHONY: bench
bench: install ## CPU per request, latency and streams, against a bare passthrough in the same run
	$(BIN)/python tests/bench/run.py

CORPORA ?=
HELD_OUT ?=
.PHONY: eval
eval: install ## How often the detectors are right, with intervals; writes docs/evaluation.md (CORPORA=FOLDER, HELD_OUT=FILE)
	PYTHONPATH=tests $(BIN)/python -m evaluation $(if $(CORPORA),--corpora $(CORPORA)) $(if $(HELD_OUT),--held-out $(HELD_OUT))

.PHONY: test
test: install ## Everything but chaos and bench
	+@$(TOGETHER) 6 servers $(CHECKS)

.PHONY: docs
docs: install ## Write the generated pages of docs/ from the code
	$(BIN)/python docs/generate.py
