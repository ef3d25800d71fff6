# `make run` starts the whole server, `make run-light` the static one without torch, `make test` runs every check. Each
# makes the virtual environment it needs.

# The first Python on the path that really runs and is new enough; `make PYTHON=/path/to/python3.12 run` chooses.
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

.PHONY: run run-light test lint types unit torture bench bench-gpu pictures model clean help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.run ## install what the whole server needs, then start it
	@exec $(VENV)/bin/python gen-server.py

run-light: $(VENV)/.light ## the same without what draws prompts: seconds instead of gigabytes
	@exec $(VENV)/bin/python gen-server.py

# Types beside the tests: either is longer on one core than both on two.
test: lint ## install what the checks need, then run every check
	@($(TYPES)) & types=$$!; $(UNIT); unit=$$?; wait $$types && exit $$unit

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

TYPES = $(VENV)/bin/mypy && $(VENV)/bin/mypy gen_server.py gen-server.py
types: $(VENV)/.dev
	$(TYPES)

# Files of tests side by side, each whole in one process, one more than there are cores: many wait for a server.
# `make unit WORKERS=0` runs them one after the other.
WORKERS ?= $(shell $(VENV)/bin/python -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
UNIT = $(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
unit: $(VENV)/.dev
	$(UNIT)

torture: $(VENV)/.dev $(VENV)/scan/.made ## run what is too long and too rough for every change
	SSLYZE_PYTHON=$(VENV)/scan/bin/python $(VENV)/bin/python -m pytest -m torture tests -s

bench: $(VENV)/.bench ## measure against nginx and the plain way; needs Debian's nginx-light and wrk
	$(VENV)/bin/python -m bench $(BENCH)

bench-gpu: $(VENV)/.bench-gpu ## measure SDXL's sizes on one CUDA GPU, without downloads of models; docs/bench-gpu.md
	$(VENV)/bin/python -m bench.gpu $(BENCH)

pictures: $(VENV)/.dev ## draw the shipped pictures and the contact sheet anew
	$(VENV)/bin/python -m tools.artist six -o minimon
	$(VENV)/bin/python -m tools.artist sheet -o docs/creatures.png

model: $(VENV)/.dev ## train the embedded model anew, from drawing to evaluation: hours on a CPU; goes on where it stopped
	nice -n 19 $(VENV)/bin/python -m tools.tiny all $(TINY)

clean: ## remove what make made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found on the path: install one."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "This Python has no venv: on Debian and Ubuntu, run 'apt install python3-venv' first."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.light: requirements-light.txt | $(VENV)/bin/python
	$(PIP) -r requirements-light.txt
	@touch $@

$(VENV)/.run: requirements.txt requirements-light.txt | $(VENV)/bin/python
	$(PIP) -r requirements.txt
	@touch $@ $(VENV)/.light

$(VENV)/.dev: requirements.txt requirements-light.txt requirements-dev.txt | $(VENV)/bin/python
	$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/.run $(VENV)/.light

$(VENV)/scan/.made: tests/torture/requirements.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m venv $(VENV)/scan
	$(VENV)/scan/bin/python -m pip install --quiet --disable-pip-version-check -r tests/torture/requirements.txt
	@touch $@

$(VENV)/.bench: requirements.txt requirements-light.txt bench/requirements.txt | $(VENV)/bin/python
	$(PIP) -r bench/requirements.txt
	@touch $@

$(VENV)/.bench-gpu: requirements.txt requirements-light.txt bench/gpu/requirements.txt | $(VENV)/bin/python
	$(PIP) -r bench/gpu/requirements.txt
	@touch $@
