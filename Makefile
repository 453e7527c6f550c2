# Everything below runs in the virtual environment .venv, made on first use; it needs make and Python 3.11 or newer.
#
#   make demo       install, train specs/char_lm.spec for about two minutes, print its numbers and a sample
#   make test       install what tests need; ruff, mypy, pytest without the slow tests
#   make test-full  the same with the slow tests
#   make results    write docs/results.md: run what has changed since (TEXT=tinyshakespeare.txt for the rows on that text)
#   make modules    write docs/modules.md, and what the tests prove of each module, from the records
#   make performance  write docs/performance.md: run what is not on record (all of it anew: AGAIN=1); peers that are installed are timed too
#   make clean      remove .venv and what runs and caches left

VENV := .venv
BIN := $(VENV)/bin
RUN_DIR := runs/demo
STEPS ?= 1300

# The first Python that is new enough and can make virtual environments (Debian splits that part off).
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: demo test test-full modules results performance clean
.DEFAULT_GOAL := demo

# One thread: a second one wins a tenth on an idle machine and loses tenfold on a busy one.
demo: $(VENV)/.installed
	rm -rf $(RUN_DIR)
	$(BIN)/graphspec run specs/char_lm.spec --threads 1 --steps $(STEPS) --out $(RUN_DIR)
	$(BIN)/graphspec sample $(RUN_DIR)

# A process for each core, up to 8 (each holds some 700 MB); whoever is done takes tests from another.
PYTEST_OPTIONS := --numprocesses auto --maxprocesses 8 --dist worksteal
test: PYTEST_OPTIONS += -m "not slow"
test test-full: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest $(PYTEST_OPTIONS)

modules: $(VENV)/.installed-test
	$(BIN)/python docs/modules.py

results: $(VENV)/.installed-results
	$(BIN)/python docs/results.py $(if $(TEXT),--text $(TEXT))

performance: $(VENV)/.installed-results
	$(BIN)/python docs/performance.py $(if $(AGAIN),--again)

# A stamp for each set of packages; what is installed changes only when pyproject.toml does, because the install is editable.
$(VENV)/.installed: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.installed-results: pyproject.toml $(VENV)/.made
	$(BIN)/python -m pip install --quiet --editable '.[data,plots]'
	touch $@ $(VENV)/.installed

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "graphspec needs Python 3.11 or newer with the venv module (Debian, Ubuntu: apt install python3-venv);" \
		"name one with: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

clean:
	rm -rf $(VENV) $(RUN_DIR) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
