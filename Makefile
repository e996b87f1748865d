# All tasks of a checkout.  A machine needs only Python, make and, for RabbitMQ and valgrind, apt-get.
# Each target installs what it needs into .venv, or prints one line that says what is missing.
#
#   make test ARGS="-k rpc"      choose tests         make test PYTHON=python3.12 VENV=.venv-3.12
#   make test JOBS=8             for a large machine

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BROKER ?= embedded
# How many processes share the tests, each with its own broker; 0: no process besides this one.
# Many tests wait, for brokers or programs, so three are best on two processors.  A few tests chosen
# by ARGS run faster in one process, because a second broker takes longer to start.
JOBS ?= $(if $(ARGS),0,3)

BIN := $(VENV)/bin
# loadfile: the tests of a module share fixtures, so they stay in one process.  no-loadscope-reorder:
# the modules keep their order, in which the long ones do not come last (tests/conftest.py).
# max-worker-restart: a process that has crashed ends the run.  A new one in its place may wait for
# ever (https://github.com/pytest-dev/pytest-xdist/issues/1378).
SHARED := -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart=0
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# What the suite runs with; without `fast`, whose absence is tested, too.
EXTRAS := cli,demo,metrics,otel,reload,top,typed,yaml

# Tests start hundreds of programs; without compiled modules each of them would compile Postage again.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help venv demo shop test quick prerelease soak chaos kills cluster hostile steady account fuzz check format coverage bench gate figures docs guides console pictures package clean

help:
	@echo "make venv      create $(VENV) with the package, editable, and all tools"
	@echo "make demo      run the RPC echo demo; BROKER=rabbitmq for a node instead of our broker"
	@echo "make shop      run the shop of demos/shop on our broker, on http://127.0.0.1:8080, until Ctrl-C"
	@echo "make test      run the suite; ARGS are for pytest"
	@echo "make quick     run the tests that take seconds: those of the model"
	@echo "make prerelease run the tests of AMQP and of calls with the next pika, in .venv-pre"
	@echo "make soak      run the tests that take minutes: a thousand programs in a row"
	@echo "make chaos     ten minutes of random faults under load; ARGS=\"--minutes 1 --broker rabbitmq-4.3\""
	@echo "make kills     10,000 messages that fail, through ten kills; ARGS=\"--broker embedded\""
	@echo "make cluster   ten nodes of a cluster killed under load; ARGS=\"--kills 2 --busy\""
	@echo "make hostile   three minutes beside hostile peers; ARGS=\"--seconds 5 --broker embedded\""
	@echo "make steady    half an hour of steady load: does anything grow? ARGS=\"--minutes 5\""
	@echo "make account   100,000 random sequences on the embedded broker: is its account of memory exact?"
	@echo "make fuzz      feed odd bytes to codec, broker and processors; ARGS=\"session --seconds 60\""
	@echo "make check     run linter, types and a look for known vulnerabilities; changes nothing"
	@echo "make format    let the linter and the formatter change what they can"
	@echo "make coverage  run the suite and show the lines that it did not run"
	@echo "make bench     measure Postage and its peers; ARGS are for the benchmarks"
	@echo "make gate      has Postage become slower than recorded? ARGS=--record records anew"
	@echo "make figures   measure the figures of docs/performance.md and docs/scaling.md, and write them there"
	@echo "make docs      build the site of the documentation, and a man page, in build/site; warnings are errors"
	@echo "make guides    run the programs of docs/howto in Flask, Django, gunicorn and others"
	@echo "make console   build the page of postage web out of console/; the only task that needs Node"
	@echo "make pictures  take the screenshots of docs/images; needs Node and Chromium"
	@echo "make package   build sdist and wheel in dist, and try them in fresh environments"
	@echo "make clean     remove everything that the other targets have made"

# Stamp files record what is installed; a changed pyproject.toml makes pip run again.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The first pip that knows the dependency groups of pyproject.toml.
$(VENV)/.pip: | $(BIN)/python
	$(PIP) --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.runtime: pyproject.toml setup.cfg | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.demo: pyproject.toml setup.cfg | $(BIN)/python
	$(PIP) --editable '.[demo]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.quick: pyproject.toml setup.cfg | $(VENV)/.pip
	$(PIP) --editable '.[$(EXTRAS)]' --group test
	@touch $@ $(VENV)/.demo $(VENV)/.runtime

$(VENV)/.test: pyproject.toml setup.cfg | $(VENV)/.pip
	$(PIP) --editable '.[$(EXTRAS)]' --group test --group peers
	@touch $@ $(VENV)/.quick $(VENV)/.runtime

$(VENV)/.all: pyproject.toml setup.cfg | $(VENV)/.pip
	$(PIP) --upgrade pip setuptools # those of the venv are old, and some have known vulnerabilities
	$(PIP) --editable '.[$(EXTRAS),fast]' --group test --group peers --group dev
	@touch $@ $(VENV)/.test $(VENV)/.quick $(VENV)/.runtime

# Atheris has wheels for few systems and versions of Python; without it, Hypothesis draws the inputs.
$(VENV)/.fuzz: pyproject.toml setup.cfg | $(VENV)/.quick
	$(PIP) --only-binary atheris --editable '.[$(EXTRAS)]' --group test --group fuzz || \
	  echo "Atheris cannot be installed here: Hypothesis will draw the inputs, blind to coverage."
	@touch $@

$(VENV)/.guides: pyproject.toml setup.cfg | $(VENV)/.test
	$(PIP) --group guides --group docs
	@touch $@

# The API reference is made of the docstrings of all modules, also of those that need an extra.
$(VENV)/.docs: pyproject.toml setup.cfg | $(VENV)/.pip
	$(PIP) --editable '.[cli,metrics,otel,typed]' --group docs
	@touch $@

$(VENV)/.release: pyproject.toml | $(VENV)/.pip
	$(PIP) --group release
	@touch $@

venv: $(VENV)/.all

demo: $(VENV)/.runtime
	@if [ "$(BROKER)" = rabbitmq ]; then tools/install_rabbitmq.sh; fi
	@$(BIN)/python -m tools.demo $(BROKER)

shop: $(VENV)/.demo
	cd demos/shop && $(abspath $(BIN))/postage run stock orders payments audit web --embedded

# The version in ARGS="--postage-broker=rabbitmq-4.3" or "--broker rabbitmq-4.3", or nothing: any will do.
CHOSEN := $(patsubst --broker=%,%,$(patsubst --postage-broker=%,%,$(ARGS)))
RABBITMQ := $(patsubst rabbitmq-%,%,$(filter rabbitmq-%,$(CHOSEN)))

test: $(VENV)/.test
	@tools/install_rabbitmq.sh $(RABBITMQ) || \
	  echo "Tests that need RabbitMQ $(RABBITMQ) cannot run; others run on the embedded broker."
	$(BIN)/python -m pytest $(SHARED) $(ARGS)

quick: $(VENV)/.quick
	$(BIN)/python -m pytest -m "not slow and not soak" tests/model $(ARGS)

# The next pika: whether it breaks anything should be known before users have it.
.venv-pre/.pika: pyproject.toml setup.cfg
	$(MAKE) VENV=.venv-pre .venv-pre/.test
	.venv-pre/bin/python -m pip install --quiet --disable-pip-version-check --pre --upgrade pika
	@touch $@

prerelease: .venv-pre/.pika
	.venv-pre/bin/python -c 'import pika; print("pika", pika.__version__)'
	.venv-pre/bin/python -m pytest $(SHARED) --postage-broker=embedded -m "not slow and not soak" \
	  tests/amqp tests/broker/test_clients.py tests/green/test_rpc.py tests/green/test_missing_servers.py $(ARGS)

soak: $(VENV)/.test
	@tools/install_rabbitmq.sh
	$(BIN)/python -m pytest -m soak $(ARGS)

chaos: $(VENV)/.test
	@tools/install_rabbitmq.sh $(RABBITMQ)
	$(BIN)/python -m tests.faults.chaos $(ARGS)

kills: $(VENV)/.test
	@tools/install_rabbitmq.sh $(RABBITMQ)
	$(BIN)/python -m tests.faults.kills $(ARGS)

cluster: $(VENV)/.test
	@tools/install_rabbitmq.sh $(RABBITMQ)
	$(BIN)/python -m tests.faults.cluster $(ARGS)

hostile: $(VENV)/.test
	@tools/install_rabbitmq.sh $(RABBITMQ)
	$(BIN)/python -m tests.faults.hostile $(ARGS)

steady: $(VENV)/.test
	@tools/install_rabbitmq.sh $(RABBITMQ)
	$(BIN)/python -m tests.faults.steady $(ARGS)

account: $(VENV)/.test
	$(BIN)/python -m tests.broker.accounting $(ARGS)

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz $(ARGS)

# ruff has bandit's rules, too, as S: it checks all of them, and each exception has its reason beside
# the line.  bandit itself looks for what is of medium severity or worse (-ll).
check: $(VENV)/.all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive -ll postage tools
	$(BIN)/python -m tools.audit
	POSTAGE_REQUIRE_CHECKERS=1 $(BIN)/python -m pytest -q --postage-broker=embedded tests/typing

format: $(VENV)/.all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

coverage: $(VENV)/.all
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage report

bench: $(VENV)/.runtime
	@tools/install_rabbitmq.sh
	$(BIN)/python -m benchmarks $(ARGS)

gate: $(VENV)/.runtime
	@tools/install_valgrind.sh || echo "The gate will compare processor time, which is less steady."
	$(BIN)/python -m benchmarks gate $(ARGS)

# The figures of docs/performance.md and docs/scaling.md, with the extras `fast` and `typed`.  Run this
# on a machine that does nothing else meanwhile.
figures: $(VENV)/.all
	@tools/install_rabbitmq.sh
	$(BIN)/python -m benchmarks --write docs/performance.md --plot docs/performance.svg $(ARGS)
	$(BIN)/python -m benchmarks typed --write docs/performance.md $(ARGS)
	$(BIN)/python -m benchmarks defaults --write docs/performance.md $(ARGS)
	$(BIN)/python -m benchmarks profile --write docs/performance.md --plot docs/flame.svg $(ARGS)
	$(BIN)/python -m benchmarks growth --write docs/performance.md --plot docs/growth.svg
	$(BIN)/python -m benchmarks growth --broker embedded --write docs/performance.md \
	  --plot docs/growth-embedded.svg
	$(BIN)/python -m benchmarks scale --write docs/scaling.md

guides: $(VENV)/.guides
	@tools/install_chromium.sh
	POSTAGE_REQUIRE_GUIDES=1 $(BIN)/python -m pytest --postage-broker=embedded $(ARGS) tests/guides

package: $(VENV)/.release
	$(BIN)/python -m tools.package

# The result is committed, so nobody else needs Node.  The same sources give the same bytes.
console:
	@command -v npm >/dev/null || { echo "make console needs Node 20 or newer, with npm."; exit 1; }
	cd console && npm ci && npm test && npm run build

pictures: console
	cd console && npm run pictures

docs: $(VENV)/.docs
	$(BIN)/python -m tools.build_site

clean:
	rm -rf .venv .venv-* .cache build dist *.egg-info htmlcov .coverage .coverage.*
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
