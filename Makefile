# Everything one does with a checkout.  Each target runs on a machine that has only Python, make
# and, for RabbitMQ and valgrind, apt-get; what is missing is installed into .venv or named in one line.
#
#   make test ARGS="-k rpc"      choose tests         make test PYTHON=python3.12 VENV=.venv-3.12
#   make test JOBS=8             for a large machine

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BROKER ?= embedded
# How many processes share the tests, each with a broker of its own; 0: this one runs them all.
# Two are right for two processors: a third is a minute sooner, and makes tests late that measure by
# the clock.  The few that ARGS choose would wait longer for two brokers than they run.
JOBS ?= $(if $(ARGS),0,2)

BIN := $(VENV)/bin
# A module stays in one process, for its fixtures; long ones, in the middle, are not left to the end.
SHARED := -n $(JOBS) --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Tests start hundreds of programs: without its compiled form each would compile Postage anew.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help venv demo test quick soak chaos steady check format coverage bench gate figures clean

help:
	@echo "make venv      create $(VENV) with the package, editable, and all tools"
	@echo "make demo      run the RPC echo demo; BROKER=rabbitmq for a node instead of our broker"
	@echo "make test      run the suite; ARGS are for pytest"
	@echo "make quick     run the part of the suite that needs no patience"
	@echo "make soak      run the part that needs minutes: a thousand programs in a row"
	@echo "make chaos     ten minutes of random faults under load; ARGS=\"--minutes 1 --seed 7\""
	@echo "make steady    half an hour of steady load: does anything grow? ARGS=\"--minutes 5\""
	@echo "make check     linter, format, types; changes nothing"
	@echo "make format    let the linter and the formatter change what they can"
	@echo "make coverage  run the suite and show what it did not reach"
	@echo "make bench     measure Postage and its peers; ARGS are for the benchmarks"
	@echo "make gate      has Postage become slower than recorded? ARGS=--record records anew"
	@echo "make figures   measure all that docs/performance.md tells, and write it there"
	@echo "make clean     remove what the other targets made"

# The stamps say what is installed; a changed pyproject.toml installs again.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml setup.cfg | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.quick: pyproject.toml setup.cfg | $(BIN)/python
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.test: pyproject.toml setup.cfg | $(BIN)/python
	$(PIP) --editable '.[test,peers]'
	@touch $@ $(VENV)/.quick $(VENV)/.runtime

$(VENV)/.all: pyproject.toml setup.cfg | $(BIN)/python
	$(PIP) --editable '.[test,peers,dev]'
	@touch $@ $(VENV)/.test $(VENV)/.quick $(VENV)/.runtime

venv: $(VENV)/.all

demo: $(VENV)/.runtime
	@if [ "$(BROKER)" = rabbitmq ]; then tools/install_rabbitmq.sh; fi
	@$(BIN)/python -m tools.demo $(BROKER)

test: $(VENV)/.test
	@tools/install_rabbitmq.sh || echo "The tests will run on the embedded broker."
	$(BIN)/python -m pytest $(SHARED) $(ARGS)

quick: $(VENV)/.quick
	$(BIN)/python -m pytest -m "not slow and not soak" $(wildcard tests/test_smoke.py tests/model) $(ARGS)

soak: $(VENV)/.test
	@tools/install_rabbitmq.sh
	$(BIN)/python -m pytest -m soak $(ARGS)

chaos: $(VENV)/.test
	@tools/install_rabbitmq.sh
	$(BIN)/python -m tests.faults.chaos $(ARGS)

steady: $(VENV)/.test
	@tools/install_rabbitmq.sh
	$(BIN)/python -m tests.faults.steady $(ARGS)

check: $(VENV)/.all
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

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

# What docs/performance.md tells; on a machine that does nothing else meanwhile.
figures: $(VENV)/.runtime
	@tools/install_rabbitmq.sh
	$(BIN)/python -m benchmarks --write docs/performance.md --plot docs/performance.svg $(ARGS)
	$(BIN)/python -m benchmarks defaults --write docs/performance.md $(ARGS)
	$(BIN)/python -m benchmarks profile --write docs/performance.md --plot docs/flame.svg $(ARGS)
	$(BIN)/python -m benchmarks growth --write docs/performance.md --plot docs/growth.svg
	$(BIN)/python -m benchmarks growth --broker embedded --write docs/performance.md \
	  --plot docs/growth-embedded.svg

clean:
	rm -rf .venv .venv-* .cache build dist *.egg-info htmlcov .coverage .coverage.*
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
