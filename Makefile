# Three environments, so that a service never carries the training stack, nor the page's packages:
#   .venv-serve   requirements/serve.lock   what `linnet serve` needs, no torch
#   .venv-demo    requirements/demo.lock    the web page and the client that it asks the service with
#   .venv         requirements/dev.lock     everything else: serving, training, development
# Two more hold what ours is tested with (.venv-kserve) and measured against (.venv-peers).
# All are made from locked, hashed packages by whatever package index pip and uv are configured for.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve demo test install lock demo-train format clean sbom licences lock-kserve lock-peers bench-serving

# The first Python that is new enough and can make environments; `make PYTHON=/path/to/python …` decides otherwise.
IS_SUITABLE := import sys, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13 python3.14,$(shell \
	$(name) -c '$(IS_SUITABLE)' 2>/dev/null && echo $(name))))
PORT ?=
ARGS ?=

help:  ## list the targets
	@grep -hE '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

serve: .venv-serve/.installed  ## serve the models of models/: make serve PORT=8001 ARGS="--workers 2"
	.venv-serve/bin/linnet serve $(if $(PORT),--port $(PORT)) $(ARGS)

demo: .venv-serve/.installed .venv-demo/.installed  ## a service and the web page in front of it: make demo PORT=7861
	.venv-demo/bin/python -m demo --start .venv-serve/bin/linnet $(if $(PORT),--port $(PORT)) $(ARGS)

# One process for each core, and then what must have the machine to itself.
define TESTS
OMP_NUM_THREADS=1 .venv/bin/pytest --numprocesses auto --dist loadfile -m "not alone"
.venv/bin/pytest -m alone
endef

test: .venv/.installed .venv-demo/.installed .venv-kserve/.installed  ## everything that must hold: format, lint, types, import contracts, tests; ARGS go to pytest
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(if $(ARGS),.venv/bin/pytest $(ARGS),$(TESTS))

install: .venv/.installed  ## make the environment for training and development, .venv

demo-train: .venv/.installed  ## train, export and ask a small network, start to end
	.venv/bin/python examples/demo_train.py $(ARGS)

format: .venv/.installed  ## format, and mend what the linter can mend
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

# The service's packages have the versions that the tests run with: its lock is a part of the other.
LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock" $(ARGS)

# What the service is installed with: all that one of its settings may ask for.
SERVED := --extra serve --extra urls --extra otel

lock: .venv/bin/uv  ## settle requirements/*.lock anew; ARGS=--upgrade for newer versions
	.venv/bin/uv $(LOCK) --group install --all-extras pyproject.toml --output-file requirements/dev.lock
	.venv/bin/uv $(LOCK) --group install $(SERVED) --constraints requirements/dev.lock pyproject.toml \
		--output-file requirements/serve.lock
	.venv/bin/uv $(LOCK) --group install --group demo --output-file requirements/demo.lock
	.venv/bin/uv $(LOCK) --group cuda $(SERVED) --no-emit-package onnxruntime pyproject.toml \
		--constraints requirements/serve.lock --output-file requirements/serve-cuda.lock

# KServe's client needs other versions than ours of what it stands on, so it has an environment of its own.
.venv-kserve/.installed: requirements/kserve.lock .venv/.installed
	.venv/bin/uv venv --clear --quiet --python .venv/bin/python .venv-kserve
	.venv/bin/uv pip sync --quiet --python .venv-kserve/bin/python --require-hashes $<
	@touch $@

lock-kserve: .venv/bin/uv  ## settle requirements/kserve.lock anew
	echo kserve | .venv/bin/uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make $@" --output-file requirements/kserve.lock

# What the service is measured against has an environment of its own as well; Robyn wants an older uvloop, and all else
# that it shares with us is held to our versions.
.venv-peers/.installed: requirements/peers.lock .venv/.installed
	.venv/bin/uv venv --clear --quiet --python .venv/bin/python .venv-peers
	.venv/bin/uv pip sync --quiet --python .venv-peers/bin/python --require-hashes $<
	@touch $@

lock-peers: .venv/bin/uv  ## settle requirements/peers.lock anew
	@mkdir -p build
	sed -nE 's/^([a-z0-9._-]+==[^\\]*[^\\ ]).*/\1/p' requirements/dev.lock | grep -v '^uvloop=' > build/ours.txt
	.venv/bin/uv pip compile requirements/peers.in --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make $@" --constraints build/ours.txt \
		--output-file requirements/peers.lock

bench-serving: .venv/.installed .venv-peers/.installed  ## measure the service, raw ONNX Runtime and its peers: twenty minutes; needs wrk
	.venv/bin/python -m benchmarks.serving --json build/bench-serving.json $(ARGS)

sbom: build/service/.installed  ## write what the service's image is made of: build/sbom.cdx.json (CycloneDX)
	.venv/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--output-file build/sbom.cdx.json build/service/bin/python

licences: build/service/.installed  ## write the licences of the service's packages: build/licences.md
	.venv/bin/pip-licenses --python build/service/bin/python --with-urls --order license --format markdown \
		--output-file build/licences.md

# The environment of the image, made by the line that the Dockerfile has.
build/service/.installed: requirements/serve.lock pyproject.toml | .venv/.installed
	.venv/bin/uv venv --quiet --clear --python .venv/bin/python build/service
	.venv/bin/uv pip install --quiet --python build/service/bin/python --require-hashes \
		--constraint requirements/serve.lock -r pyproject.toml $(SERVED)
	@touch $@

clean:  ## remove the environments and every cache; data, runs and models stay
	rm -rf .venv .venv-serve .venv-demo .venv-kserve .venv-peers .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: requirements/dev.lock client/pyproject.toml
.venv-serve/.installed: requirements/serve.lock
.venv-demo/.installed: requirements/demo.lock client/pyproject.toml

# What of ours goes into each.
.venv/.installed: OURS := --editable . --editable ./client
.venv-serve/.installed: OURS := --editable .
.venv-demo/.installed: OURS := --editable ./client

.venv/.installed .venv-serve/.installed .venv-demo/.installed: %/.installed: pyproject.toml | %/bin/uv
	$*/bin/uv pip sync --python $*/bin/python --require-hashes $(filter %.lock,$^)
	$*/bin/uv pip install --quiet --python $*/bin/python --no-deps --no-build-isolation $(OURS)
	@touch $@

# uv comes from a lock, by its hash, as everything does that it installs.
.venv/bin/uv: UV_LOCK := requirements/dev.lock
.venv-serve/bin/uv: UV_LOCK := requirements/serve.lock
.venv-demo/bin/uv: UV_LOCK := requirements/demo.lock
.venv/bin/uv .venv-serve/bin/uv .venv-demo/bin/uv: %/bin/uv:
	@$(if $(PYTHON),$(PYTHON) -c '$(IS_SUITABLE)' 2>/dev/null,false) || { echo "Linnet needs Python 3.11 or newer with" \
		"the venv module$(if $(PYTHON), and $(PYTHON) is not that): install one, or name it: make PYTHON=/path/to/python" \
		"$(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $*
	awk '/^[a-z]/ { wanted = /^uv==/ } wanted' $(UV_LOCK) > $*/uv.txt
	$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $*/uv.txt
