# The commands of a contributor. Each does its own set-up; `make help` lists them.

PYTHON := .venv/bin/python
SOURCES := appliance dedupe vmhost webui tests setup.py

# Tests start thousands of Pythons, which would compile us anew each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test check unit crash lab fuzz bench soak format clean

help:  ## This list
	@sed -n 's/^\([a-z]*\):.*## /\1  /p' Makefile | column -t -l 2

setup:  ## Debian packages, .venv, the C kernel
	@.ci/setup

demo:  ## Real downloads over an emulated WAN, with and without Branchline
	@.ci/setup demo
	@.venv/bin/branchline lab demo

test:  ## Everything a contributor should run
	@.ci/setup demo test vm guest centre
	@$(MAKE) --no-print-directory check unit fuzz lab vm

check:  ## Lint, format, types, dead code
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m mypy
	$(PYTHON) -m vulture

unit:  ## Tests without privileges
	$(PYTHON) -m pytest tests/unit -n 2

fuzz:  ## The C kernel under ASan, UBSan and libFuzzer, and the recovery of caches, for ten seconds
	tests/fuzz/run 10

crash:  ## 500 crashes of the chunk cache under traffic, and 20 power cuts of real boxes
	$(PYTHON) -m pytest tests/crash -s --crashes 500
	$(PYTHON) -m pytest tests/lab/test_power.py -s --cuts 20

lab:  ## Tests in network namespaces
	$(PYTHON) -m pytest tests/lab

vm:  ## Tests with virtual machines, as root
	@.ci/setup test vm guest centre
	$(PYTHON) -m pytest tests/vm

bench:  ## Branchline beside haproxy and zstd in the same run
	@.ci/setup bench
	@$(PYTHON) -m tests.bench

soak:  ## An hour of mixed real traffic through a pair, every byte compared; FOR=10min for less
	@.ci/setup soak
	@.venv/bin/branchline lab soak --for $(or $(FOR),1h)

format:  ## Lay the source out
	$(PYTHON) -m ruff check --fix $(SOURCES)
	$(PYTHON) -m ruff format $(SOURCES)

clean:  ## Remove what was built
	rm -rf .venv .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find appliance dedupe vmhost webui tests -name __pycache__ -prune -exec rm -rf {} +
	rm -f dedupe/_kernel*.so dedupe/_kernel.c
