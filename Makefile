# What a person does here. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test offline lint format types imports check audit schemas screenshot bench kafka \
	kafka-cluster kafka-secure kafka-stop secrets check-compose clean

help: ## List what a person does here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fabpilot needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,dev]'
	@touch $@

setup: $(STAMP) ## Install everything into .venv (done by the other targets when it is missing or stale)

demo: $(STAMP) ## Run the main job: a fab, a model, alerts at http://127.0.0.1:8080
	$(BIN)/fabpilot demo

test: $(STAMP) ## Run the tests with coverage
	$(BIN)/python -m pytest -n auto --dist loadfile --cov --cov-report=term $(ARGS)

offline: $(STAMP) ## The tests and the demo with no network but loopback (root, or user namespaces)
	$(PYTHON) deploy/offline.py $(MAKE) test
	$(PYTHON) deploy/offline.py $(BIN)/fabpilot demo --headless --wafers 200

lint: $(STAMP) ## ruff, its formatter, and the compose file against its schema
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

imports: $(STAMP) ## Which package may import which
	$(BIN)/lint-imports

check: lint types imports test ## All of the above

audit: $(STAMP) ## Known vulnerabilities of what is installed, and a bill of materials (needs the index)
	@$(BIN)/python deploy/audit.py

schemas: $(STAMP) ## Write the JSON Schemas of all events to docs/schemas
	$(BIN)/python -m contracts.schemas docs/schemas

screenshot: $(STAMP) ## Make the README's screenshots from a running demo (needs Chromium)
	$(BIN)/python docs/make_screenshots.py

bench: $(STAMP) ## Run the benchmarks; each prints a ratio against a ceiling measured beside it
	$(BIN)/fabpilot bench stream --json

KAFKA_LOCAL := $(PYTHON) deploy/kafka-local/kafka_local.py

kafka: ## A real Apache Kafka at 127.0.0.1:9092 (needs Java 17, and Maven the first time)
	@$(KAFKA_LOCAL) start

kafka-cluster: ## Three nodes of it, replication 3, min ISR 2
	@$(KAFKA_LOCAL) start --nodes 3

kafka-secure: ## One node with TLS, SASL/SCRAM and ACLs
	@$(KAFKA_LOCAL) start --secure

kafka-stop: ## End whichever of them runs; its data stays
	@$(KAFKA_LOCAL) stop

secrets: ## Random passwords and settings for docker compose; keeps what is there
	@$(PYTHON) deploy/make_secrets.py

check-compose: $(STAMP) ## Bring the whole stack up and show that it holds (half an hour)
	$(BIN)/python deploy/check-compose

clean: ## Remove .venv and what was built
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
