SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_QUIET := --disable-pip-version-check --quiet
# Python compiles what it imports; of the 2,000 files of PyTorch .venv imports none.
PIP_FLAGS := $(PIP_QUIET) --no-compile

.PHONY: help setup test-env chromium oracle-env wheel test-wheel test-torch test-clusters demo test lint bench

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.runtime .venv/.train ## .venv with the ONNX Runtime library and libtorch, where the program finds them by itself

test-env: setup .venv/.test .venv/.browser .venv/.object-stores chromium ## .venv with what the Python oracles need as well

oracle-env: .venv-oracle/.oracle ## .venv-oracle with PyTorch and Ultralytics, for generators of goldens and for benchmarks

# A stamp is newer than the requirements that it was made from; an interrupted installation leaves none.
.venv/.runtime: requirements/runtime.txt
	[ -x .venv/bin/python ] || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-deps -r $<
	touch $@

# The build looks for libtorch in .venv/torch, whatever the version of Python.
.venv/.train: requirements/train.txt .venv/.runtime
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-deps -r $<
	ln -sfn "$$(.venv/bin/python -c 'import os, sysconfig; print(os.path.relpath(sysconfig.get_path("purelib"), ".venv"))')/torch" .venv/torch
	touch $@

.venv/.demo: requirements/demo.txt .venv/.runtime
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-deps -r $<
	touch $@

.venv/.test: requirements/test.txt .venv/.runtime
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-deps -r $<
	touch $@

.venv/.browser: requirements/browser.txt .venv/.test
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-deps -r $<
	touch $@

.venv/.object-stores: requirements/object-stores.txt .venv/.test
	.venv/bin/python -m pip install $(PIP_FLAGS) --no-deps -r $<
	touch $@

# Debian's package, where the user may install it; tests/browser are skipped where there is none.
chromium:
	@command -v chromium >/dev/null || { \
	run=; [ "$$(id -u)" = 0 ] || run="sudo -n"; \
	{ command -v apt-get >/dev/null && $$run true && $$run apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive $$run apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } \
	>/dev/null 2>&1 || echo "skipped: chromium cannot be installed here, so tests/browser will not run"; }

.venv-oracle/.oracle: requirements/oracle.txt
	[ -x .venv-oracle/bin/python ] || $(PYTHON) -m venv .venv-oracle
	.venv-oracle/bin/python -m pip install $(PIP_FLAGS) -r $<
	touch $@

.venv-wheel/.wheel: requirements/wheel.txt requirements/test.txt requirements/runtime.txt
	[ -x .venv-wheel/bin/python ] || $(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install $(PIP_FLAGS) $(foreach file,$^,-r $(file))
	touch $@

.venv-clusters/.clusters: requirements/clusters.txt requirements/test.txt requirements/runtime.txt
	[ -x .venv-clusters/bin/python ] || $(PYTHON) -m venv .venv-clusters
	.venv-clusters/bin/python -m pip install $(PIP_FLAGS) $(foreach file,$^,-r $(file))
	touch $@

wheel: setup .venv-wheel/.wheel ## wheelhouse/: wheel and source distribution of the Python package
	.venv-wheel/bin/python scripts/build_wheel.py

test-wheel: wheel ## installs the wheel into a fresh environment and tests it there
	.venv-wheel/bin/python -m pip download $(PIP_QUIET) --dest wheelhouse --only-binary :all: numpy onnxruntime
	LOGITCACHE_WHEELHOUSE=wheelhouse .venv-wheel/bin/python -m pytest python/tests -q -rs -p no:cacheprovider

test-torch: oracle-env ## tests of logitcache.torch, logitcache.ultralytics and of trained students, with PyTorch and Ultralytics
	cargo build --workspace
	.venv-oracle/bin/python -m pytest python/tests/test_torch.py python/tests/test_ultralytics.py -q -rs -p no:cacheprovider
	.venv-oracle/bin/python -m pytest tests/python/test_students.py -q -rs -p no:cacheprovider

test-clusters: setup .venv-clusters/.clusters ## builds on Ray and on Spark with the real engines; Spark needs a Java runtime
	cargo build --workspace
	ORT_DYLIB_PATH= .venv-clusters/bin/python -m pytest python/tests/test_clusters.py -q -rs -p no:cacheprovider

demo: setup .venv/.demo ## two minutes: draws shapes, caches a small teacher, trains a student with and without the cache, compares them
	cargo build --profile demo
	scripts/demo.sh

test: test-env ## Rust tests, then the Python oracles against the built program
	.venv/bin/python scripts/run_tests.py

lint: ## formatting and clippy, warnings as errors
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p logitcache -- -D warnings

bench: setup ## benchmarks; the comparison with Python programs needs `make oracle-env` and ../shared
	cargo build --release
	cargo bench
	@if [ -x .venv-oracle/bin/python ]; then \
	for bench in build eval; do .venv-oracle/bin/python benches/$${bench}_throughput.py; done; \
	else echo "skipped: benches/*_throughput.py need 'make oracle-env'"; fi
