# The commands people type. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help install dev reproduce test check export clean readme lab hooks docker docker-test bench

VENV    ?= .venv
PROFILE ?= smoke
WORKERS ?= 2
BASE    ?= python:3.11-slim-bookworm
IMAGE   ?= paper_repro
export VENV PYTHON UV BASE IMAGE
BIN     := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)

help:           ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo '  Settings: PROFILE=smoke|quick|paper  DATA=DIR  ITEMS="a b"  JOBS=n  (reproduce); WORKERS=n (test); VENV=DIR  PYTHON=CMD  UV=no'

install:        ## make the virtual environment and install the requirements
	@tools/install.sh

dev:            ## the same with what tests and notebook work need
	@tools/install.sh dev

reproduce: install ## run the paper notebooks; figures and figures/index.html
	@PROFILE='$(PROFILE)' DATA='$(DATA)' ITEMS='$(ITEMS)' JOBS='$(JOBS)' tools/reproduce.sh

test: dev       ## drift checks, library notebooks and tests/
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

check: dev      ## only the drift checks: library, notebooks and README in step
	@$(BIN)/python tools/check.py

export: dev     ## notebooks -> paper_repro/
	$(BIN)/nbdev_export

clean: dev      ## strip outputs and editor metadata from the notebooks
	$(BIN)/nbdev_clean

readme: dev     ## nbs/index.ipynb -> README.md
	$(BIN)/python tools/readme.py

lab: dev        ## JupyterLab on nbs/
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/nbs

hooks:          ## run the drift checks before each commit of this clone (opt-in)
	git config core.hooksPath tools/hooks
	@echo 'On. To switch off: git config --unset core.hooksPath'

docker:         ## build the image (CPU and GPU)
	docker build --build-arg BASE=$(BASE) --tag $(IMAGE) .

docker-test:    ## build the image for real and run the smoke batch inside it
	@tools/docker_test.sh

bench: dev      ## the benchmarks; JSON under benchmarks/results/
	@for b in benchmarks/bench_*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done
