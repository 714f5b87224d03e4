# Everything a person or CI calls. `make testbed-up` and `make test` set up what they need.

VENV := .venv
PY := $(VENV)/bin/python
TOPOLOGY ?= topologies/proposal.yaml
# Workers of the scenario run: two a core keeps the cores busy while others wait for the wire.
JOBS ?= 4

.PHONY: help setup setup-test testbed-up testbed-down test lint types unit vm scenarios conformance reference mutants bench clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## Install system packages and the Python environment, if missing
	@testbed/setup/setup.sh

setup-test: ## The same, and what only tests need
	@testbed/setup/setup.sh --test

testbed-up: setup ## Build what is missing, start the default topology, check it end to end
	@$(VENV)/bin/testbed up $(TOPOLOGY)

testbed-down: ## Remove all deployments, and nothing else
	@if [ -x $(VENV)/bin/testbed ]; then $(VENV)/bin/testbed down --all && $(PY) -m testbed.mutants --down; \
	else echo 'nothing to remove: the testbed is not set up here'; fi

test: setup-test lint types unit vm scenarios ## Lint, types, unit tests, tests with VMs, scenarios

lint: setup-test ## Style of Python, shell, YAML, spelling, direction of imports
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/yamllint --strict topologies
	$(VENV)/bin/codespell $$(git ls-files | grep -vE '^(requirements.lock|testbed/tests/golden/)')
	shellcheck $$(git ls-files '*.sh' 'tenants/*/entrypoint*' tenants/kdc/propagate .ci/run)

types: setup ## Strict type check
	$(VENV)/bin/mypy

unit: setup-test ## Tests of the testbed itself: no root, no Docker, no VM
	$(PY) -m pytest testbed/tests -q -n $(JOBS)

vm: setup ## Tests of the VM itself: start, restore, two at once, kills, a remote machine
	$(PY) -m pytest testbed/tests/sut -m vm -q

scenarios: setup ## Scenarios on running deployments (started and stopped when none is up)
	$(PY) -m pytest scenarios -n $(JOBS) $(if $(LONG),--long)

conformance: setup ## Run the FIB extensions' conformance suite and write docs/conformance.md, docs/fib-programs.json
	@$(VENV)/bin/testbed up topologies/bare.yaml
	@$(VENV)/bin/testbed exec --name bare sut -- env PYTHONPATH=/opt/fib \
		python3 -m fib.conformance --table >docs/conformance.md.new; failed=$$?; \
	if [ -s docs/conformance.md.new ]; then mv docs/conformance.md.new docs/conformance.md; fi; \
	rm -f docs/conformance.md.new; \
	if $(VENV)/bin/testbed exec --name bare sut -- /opt/fib/bpf/fib-measure /opt/fib/bpf \
		>docs/fib-programs.json.new; then mv docs/fib-programs.json.new docs/fib-programs.json; else failed=1; fi; \
	rm -f docs/fib-programs.json.new; \
	$(VENV)/bin/testbed down bare; exit $$failed

reference: setup ## Write docs/reference anew: command line, topologies, API, JSON output
	$(PY) -m testbed.reference

mutants: setup ## Show that scenarios notice deliberate defects, in docs/mutants.md (ONLY=name,... LANES=2)
	@$(PY) -m testbed.mutants

bench: setup ## What the designs cost, side by side, into docs/bench (QUICK=1: 5 minutes, LONG=1: 2 hours, ONLY=part,...)
	$(PY) -m testbed.bench

clean: testbed-down ## The same, and the caches of built images too
	@$(VENV)/bin/testbed clean --cache
