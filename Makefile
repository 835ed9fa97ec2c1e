# Everything starts here: `make demo` and `make test` need nothing but Python 3.11 or newer.

PYTHON ?= python3
VENV   ?= .venv
HOURS  ?= 1
TEXTS  ?= texts
BUDGET ?= 10m
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# two at a time, each half of the files, which share what they trained; who is done helps the other
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install demo test check soak reproduce bench clean

help:  ## List all targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

install: $(READY)  ## Create the environment and install charrnn into it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "charrnn needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)  ## Train on the shipped text for a minute, sample, score
	@echo '$$ charrnn train data/coffee.txt --name demo --max-time 60s'
	@model=$$($(BIN)/charrnn train data/coffee.txt --name demo --max-time 60s) && \
	echo "$$model" && echo && \
	echo '$$ charrnn sample "I had" --seed 1' && \
	$(BIN)/charrnn sample "I had" --model "$$model" --seed 1 && echo && echo && \
	echo '$$ tail -c 15937 data/coffee.txt | charrnn eval      # the end, which it was not trained on' && \
	tail -c 15937 data/coffee.txt | $(BIN)/charrnn eval --model "$$model"

test: $(READY)  ## Run all tests
	$(PYTEST)

check: $(READY)  ## Check format, lint and types, run all tests with coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) --cov --cov-report term-missing

soak: $(READY)  ## Kill, read, damage for an hour (HOURS=0.5: for half of one)
	$(BIN)/python tests/soak.py --hours $(HOURS)

reproduce: $(READY)  ## The field's tables, on the texts in TEXTS=DIR, for BUDGET=10m each
	$(BIN)/python -m tests.bench.reproduce --texts $(TEXTS) --budget $(BUDGET)

bench: $(READY)  ## Measure speed against torch's own RNN
	$(BIN)/python -m tests.bench

clean:  ## Remove the environment and caches; runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage dist build
