# Few verbs; each sets up what it needs by itself. `make help` lists them.
PYTHON ?= python3
CACHE  := $(or $(SWARM_WORKER_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/swarm-worker)
# Nothing is written into the working tree: the virtual environments live in the user's cache,
# one per checkout and Python.
KEY    := $(shell { pwd; $(PYTHON) -c 'import sys; print(sys.version, sys.prefix)'; } 2>/dev/null | cksum | cut -d' ' -f1)
DEMO   := $(CACHE)/demo-$(KEY)
DEV    := $(CACHE)/dev-$(KEY)
TOOLS  := $(CACHE)/tools
SCANNER := $(CACHE)/scanner
RESULTS := $(CACHE)/e2e-results.json
export PYTHONPYCACHEPREFIX := $(CACHE)/pycache
# Whoever forbids bytecode has each of hundreds of child processes compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check e2e e2e-all image image-test chaos outage soak bench docs lock format clean

help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 19

demo: $(DEMO)/.ready ## Run local swarm, worker and one task; shows what happens as it happens
	@$(DEMO)/bin/swarm-worker demo

test: $(DEV)/.ready ## The test suite, about six minutes on two cores
	@$(DEV)/bin/python -m pytest -n 4 --dist worksteal -q -m "not slow and not long"

test-long: $(DEV)/.ready $(SCANNER)/.ready ## What starts a program for each test, or looks deeper
	@SWARM_SECRET_SCANNER="$(SCANNER)/kingfisher/bin/kingfisher" $(DEV)/bin/python -m pytest -n 4 --dist worksteal -q -m "long and not slow"

check: $(DEV)/.ready ## Format, lint, types, import floors, shell scripts
	@$(DEV)/bin/ruff format --check --quiet --cache-dir $(CACHE)/ruff .
	@$(DEV)/bin/ruff check --quiet --cache-dir $(CACHE)/ruff .
	@$(DEV)/bin/mypy --cache-dir $(DEV)/mypy-cache
	@$(DEV)/bin/lint-imports --cache-dir $(CACHE)/imports
	@$(DEV)/bin/shellcheck docker-entrypoint.sh .docker/*.sh .ci/run tests/e2e/*.sh tests/container/*.sh

e2e: $(DEV)/.ready ## The real command lines against a scripted model on loopback
	@tests/e2e/install-clis.sh "$(TOOLS)"
	@SWARM_E2E_TOOLS="$(TOOLS)" $(DEV)/bin/python -m pytest -n 3 --dist worksteal -q -m "slow and not more"

# ONLY: an expression of pytest's -k. REST=1: what failed or was not run. Other results stay.
e2e-all: $(DEV)/.ready ## Every scenario with every command line; renews the table of the results (ONLY=, REST=)
	@tests/e2e/install-clis.sh "$(TOOLS)" more
	@$(if $(ONLY)$(REST),,rm -f "$(RESULTS)";) PYTHONPATH=tests/e2e SWARM_E2E_TOOLS="$(TOOLS)" SWARM_E2E_RESULTS="$(RESULTS)" SWARM_E2E_REST=$(REST) \
	  $(DEV)/bin/python -m pytest -p results_plugin -n 2 --dist worksteal -q -m scenario $(if $(ONLY),-k "$(ONLY)") \
	  tests/e2e/test_worker_with_clis.py tests/providers; code=$$?; \
	  if [ -e "$(RESULTS)" ]; then $(DEV)/bin/python docs/generate_results.py "$(RESULTS)"; fi; exit $$code

image: ## Build the container image swarm-worker (HARNESSES="claude codex" by default)
	@DOCKER_BUILDKIT=1 docker build -f Dockerfile.worker -t swarm-worker $(if $(BASE),--build-arg BASE=$(BASE)) $(if $(filter undefined,$(origin HARNESSES)),,--build-arg HARNESSES="$(HARNESSES)") .

image-test: ## Build a light image and run it for real, where there is an engine (REQUIRE=1: or fail)
	@tests/container/with-engine.sh $(if $(REQUIRE),--require) $(PYTHON) tests/container/run_image.py

chaos: $(DEV)/.ready ## 200 faults drawn from a seed, then a ledger (SEED=, FAULTS=)
	@$(DEV)/bin/python -m chaos $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))

outage: $(DEV)/.ready ## The API away for 20 s, and for 120 s, in the middle of a task
	@$(DEV)/bin/python -m benchmarks.outage

soak: $(DEV)/.ready ## 500 short tasks and one long session on one worker (MINUTES=30)
	@$(DEV)/bin/python -m benchmarks.soak $(if $(MINUTES),--minutes $(MINUTES))

bench: $(DEV)/.ready ## Measure; prints JSON
	@$(DEV)/bin/python -m benchmarks

docs: $(DEV)/.ready ## Renew docs/configuration.md and the table of docs/harnesses.md
	@$(DEV)/bin/python docs/generate_configuration.py
	@$(DEV)/bin/python docs/generate_harnesses.py

lock: ## Renew requirements/*.txt from pyproject.toml (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --extra local --extra pi --group build pyproject.toml -o requirements/demo.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade --extra local --extra codex --extra pi --extra socks --group dev pyproject.toml -o requirements/dev.txt

format: $(DEV)/.ready ## Format the code
	@$(DEV)/bin/ruff format --quiet --cache-dir $(CACHE)/ruff . && $(DEV)/bin/ruff check --fix --quiet --cache-dir $(CACHE)/ruff .

clean: ## Remove this checkout's virtual environments
	rm -rf "$(DEMO)" "$(DEV)"

$(DEMO)/.ready: requirements/demo.txt pyproject.toml
	@$(call setup,$(DEMO),requirements/demo.txt)

$(DEV)/.ready: requirements/dev.txt pyproject.toml
	@$(call setup,$(DEV),requirements/dev.txt)

# Where there is no package of it for this machine, its test is skipped.
$(SCANNER)/.ready: requirements/scanner.txt $(DEV)/.ready
	@mkdir -p "$(SCANNER)" && "$(DEV)/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --upgrade --target "$(SCANNER)" -r requirements/scanner.txt \
	 && chmod +x "$(SCANNER)/kingfisher/bin/kingfisher" || echo "the scanner cannot be installed here"
	@touch "$(SCANNER)/.ready"

define setup
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, %s is %s; try: make PYTHON=python3.12" % (sys.executable, sys.version.split()[0]))' \
 && echo "setting up $(1) (once)" \
 && rm -rf "$(1)" && $(PYTHON) -m venv "$(1)" \
 && "$(1)/bin/python" -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r $(2) \
 && "$(1)/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e . \
 && touch "$(1)/.ready"
endef
