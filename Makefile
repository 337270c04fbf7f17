# Everything runs in .venv, which these targets make and fill. Stamp files in .venv remember what is done,
# so pip runs again only when pyproject.toml changes.

PYTHON ?= python3
CONFIG = configs/cartpole.yaml
ARGS   =

BIN := .venv/bin
EXTRAS_run  := box2d
EXTRAS_test := box2d,test
EXTRAS_docs := docs
EXTRAS_dev  := box2d,dev
STAMPS := .venv/.installed-run .venv/.installed-test .venv/.installed-docs .venv/.installed-dev
# Each set of extras holds the smaller ones, so installing it counts for them too.
ALSO_test := .venv/.installed-run
ALSO_dev  := .venv/.installed-run .venv/.installed-test .venv/.installed-docs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two pips must not write into one .venv at the same time, so -j is ignored.
.NOTPARALLEL:
.PHONY: help run test test-portable lint types layers docs docs-serve check lava install-run install-test install-dev clean

help: ## list the targets
	@echo 'make TARGET [PYTHON=python3.12] [CONFIG=configs/x.yaml] [ARGS="more arguments"]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile
	@echo 'PYTHON counts when .venv is made; for another one later, run make clean first.'

run: .venv/.installed-run ## live one life, e.g. make run CONFIG=configs/x.yaml ARGS="seed=3"
	$(BIN)/snn4-agent run $(CONFIG) $(ARGS)

test: .venv/.installed-test ## run the tests on all cores, e.g. make test ARGS="-n 0 tests/envs"
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

# Other processors round differently. Torch computes without vector instructions; then torch and compiled code compute as
# on an AMD processor of 2017, whose code is cached beside the usual one.
OLD_AMD := ATEN_CPU_CAPABILITY=avx2 NUMBA_CPU_NAME=znver1 NUMBA_CPU_FEATURES=+avx2,+fma NUMBA_CACHE_DIR=$(CURDIR)/.venv/numba
PORTABLE := tests/policies/test_backends.py tests/policies/test_neurons.py tests/policies/test_neuron_config.py \
	tests/policies/acting/test_mlp.py tests/learners/continual/test_icarl.py tests/agent/evaluation/test_classifier.py

test-portable: .venv/.installed-test ## run a few tests as other processors compute
	ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest -n auto --dist loadfile $(PORTABLE) $(ARGS)
ifeq ($(shell uname -m),x86_64)
	$(OLD_AMD) $(BIN)/python -m pytest -n auto --dist loadfile $(PORTABLE) $(ARGS)
endif

lint: .venv/.installed-dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed-dev ## mypy
	$(BIN)/mypy

layers: .venv/.installed-dev ## import-linter: who may import whom
	$(BIN)/lint-imports

# mkdocs-material prints a long notice about its future otherwise.
docs docs-serve: export NO_MKDOCS_2_WARNING := 1

docs: .venv/.installed-docs ## write the documentation to site/; any broken link is an error
	$(BIN)/python -m mkdocs build --strict --quiet

docs-serve: .venv/.installed-docs ## show the documentation, and each change of it
	$(BIN)/python -m mkdocs serve $(ARGS)

check: lint types layers docs test ## all checks

lava: .venv/.installed-run ## make the environment with Python 3.10 in which verify and the tests run Lava
	@$(BIN)/snn4-agent lava-env

install-run: .venv/.installed-run ## make .venv with what run needs
install-test: .venv/.installed-test ## make .venv with what test needs
install-dev: .venv/.installed-dev ## make .venv with what lint, types and layers need

$(STAMPS): .venv/.installed-%: .venv/.made pyproject.toml
	$(BIN)/python -m pip install -e ".[$(EXTRAS_$*)]"
	@touch $@ $(ALSO_$*)

# A healthy .venv made by other means is kept. .unfinished marks one whose making broke off: it starts afresh.
.venv/.made:
	@if [ ! -e .venv/.unfinished ] && \
	    $(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
	  echo 'Using the .venv that is here already'; \
	else \
	  found=$$($(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null); \
	  if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
	    echo "Python 3.10 or newer is needed, but $(PYTHON) is $${found:-not there or does not start}." >&2; \
	    echo 'Name another one: make $(or $(firstword $(MAKECMDGOALS)),run) PYTHON=python3.12' >&2; \
	    exit 1; \
	  fi; \
	  echo "Making .venv with Python $$found"; \
	  rm -rf .venv && mkdir .venv && touch .venv/.unfinished && \
	  $(PYTHON) -m venv .venv && rm .venv/.unfinished; \
	fi
	@touch $@

clean: ## remove .venv, caches and build leftovers (runs/ stays)
	rm -rf .venv build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf .coverage .coverage.* htmlcov
	find . -name __pycache__ -not -path './.git/*' -not -path './runs/*' -prune -exec rm -rf {} +
