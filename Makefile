# The front door. `make help` lists what there is. Every target first makes .venv where it is missing,
# and brings it up to date where setup.py or requirements/ changed.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The Python that .venv is made with, and the versions that are installed into it.
PYTHON ?= python3
CONSTRAINTS ?= requirements/constraints.txt
# Processes that share the tests, and more arguments for pytest: make test JOBS=4 ARGS='-k loss'
JOBS ?= 2
ARGS ?=

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
LOG := .venv/setup.log
# An editable install points to this folder: the checksum notices that the checkout was moved.
STAMP := .venv/.stamp-$(shell printf '%s' '$(CURDIR)' | cksum | cut -d' ' -f1)

# Of pip's several hundred lines, those that report something big.
PROGRESS := grep --line-buffered -oE \
	'^ *(Downloading|Using cached) .*\([0-9]{2,}\.[0-9] MB\)|^Installing collected packages|^ERROR.*'

# loadfile: the tests of a file run in one process, and share its fixtures. (xdist 3.8 ignores groups under pytest 9.2.)
define run_tests
status=0; $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=10 $(1) $(ARGS) || status=$$?; \
	printf 'make %s: %d min %02d s\n' '$@' $$((SECONDS / 60)) $$((SECONDS % 60)); exit $$status
endef

.PHONY: help setup demo test test-slow test-all test-newest test-oldest lint format type docs dist doctor clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  Variables: PYTHON=python3.11 (before .venv is there), CONSTRAINTS=other-versions.txt'

setup: $(STAMP) ## Make .venv with everything in it
	@echo 'vicmae is set up in .venv. Next: make demo'

demo: $(STAMP) ## Pretrain on demo data, evaluate, write work_dirs/demo/report.html (FRESH=1, SEED=1)
	@$(PY) -m vicmae demo $(if $(FRESH),--fresh) $(if $(SEED),--seed $(SEED))

test: $(STAMP) ## Run the fast tests, in less than eight minutes (JOBS=4, ARGS='-k loss')
	@$(call run_tests,-m 'not slow')

test-slow: $(STAMP) ## Run the tests that train, kill, export or install
	@$(call run_tests,-m slow)

test-all: $(STAMP) ## Run both
	@$(call run_tests)

test-newest: ## Install the newest versions elsewhere, and run what a version can break
	@PYTHON=$(PYTHON) .ci/versions newest

test-oldest: ## The same with the oldest versions of requirements/runtime.txt
	@PYTHON=$(PYTHON) .ci/versions oldest

lint: $(STAMP) ## Check style, spelling, and which room imports which
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m codespell_lib
	@$(dir $(PY))lint-imports --no-cache > .venv/imports.log 2>&1 || { cat .venv/imports.log; exit 1; }

format: $(STAMP) ## Format the code, and fix what can be fixed
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

type: $(STAMP) ## Check types
	@$(PY) -m mypy

docs: $(STAMP) ## Build the site in site/; a broken link or an undescribed option is an error
	@$(PY) -W ignore -m docs.generator

dist: $(STAMP) ## Build the wheel and the source distribution in dist/
	@rm -rf build dist
	@$(PY) -c 'from setuptools import build_meta; build_meta.build_sdist("dist")' > .venv/dist.log 2>&1 \
		|| { cat .venv/dist.log; exit 1; }
	@$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist dist/*.tar.gz
	@ls -lh dist

doctor: $(STAMP) ## Check this machine, and print how to fix its faults
	@$(PY) -m vicmae doctor

clean: ## Remove caches and build outputs; data/, work_dirs/ and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .cache site
	@find . \( -path ./.venv -o -path ./data -o -path ./work_dirs -o -path ./.git \) -prune \
		-o -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Remove .venv too
	rm -rf .venv vicmae/.mim

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "vicmae needs Python 3.11 or newer, but PYTHON=$(PYTHON) is: $$($(PYTHON) --version 2>&1)"; \
		echo 'Name another one: make $(MAKECMDGOALS) PYTHON=python3.11'; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'PYTHON=$(PYTHON) cannot make virtual environments (it has no venv or no ensurepip).'; \
		echo 'On Debian and Ubuntu: apt-get install python3-venv'; exit 1; } >&2
	@echo "Making .venv with $$($(PYTHON) --version)."
	@$(PYTHON) -m venv --clear .venv

$(STAMP): setup.py $(wildcard requirements/*.txt) | $(PY)
	@echo 'Installing the packages into .venv: some minutes and 5 GB the first time. Log: $(LOG)'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null
	@set -o pipefail; $(PIP) install --progress-bar off -c $(CONSTRAINTS) -e '.[tests,docs,exports]' 2>&1 \
		| tee $(LOG) | { $(PROGRESS) || true; } \
		|| { tail -n 20 $(LOG); echo 'Installing failed. The whole log: $(LOG)'; exit 1; } >&2
	@$(PY) -c 'import cv2' 2>/dev/null || { \
		echo 'This machine lacks the desktop libraries of OpenCV: taking the flavour without windows.'; \
		$(PIP) uninstall -qy opencv-python && $(PIP) install -q -c $(CONSTRAINTS) opencv-python-headless; }
	@rm -f .venv/.stamp-* && touch $@
