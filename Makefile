# Needs python3 (3.11 or newer, with venv) and make; everything else comes from the locks, all of it from PyPI.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TORCH := $(VENV)-torch
PORT ?= 8080

# What is pure has no excuse for a line or a branch without a test.
PURE := 'streaming/*,gpu/batcher.py,gpu/lines.py,scaler/policy/*'

TORCH_TESTS := tests/unit/gpu tests/unit/bench/test_device.py tests/contract/test_engines.py tests/integration/test_device.py -k 'torch_engine or front_end or torch:'

.DEFAULT_GOAL := help
.PHONY: help setup setup-torch test-torch test-device check lint formatting mypy pyright imports test coverage serve demo bench-accuracy bench-capacity bench-device bench-gpu bench-long-call lock clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(INSTALLED) ## Make the virtual environment and install the locked packages (again only when a lock changed)

$(INSTALLED): requirements/dev.lock clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Trunkline needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Run: make setup PYTHON=python3.12" >&2; \
		exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "No virtual environment could be made. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --no-deps --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable clients/python
	@touch $@

setup-torch: $(TORCH)/.installed ## Put PyTorch and DALI beside the environment: 2 GB to download, 5 GB on disk

# A layer: what it does not hold is taken from the environment below it.
$(TORCH)/.installed: requirements/torch.lock $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(TORCH)
	$(BIN)/uv pip install --quiet --python $(TORCH)/bin/python --no-deps --require-hashes -r requirements/torch.lock
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(TORCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth"
	@touch $@

check: lint formatting mypy pyright imports ## Lint, formatting, types twice over, import rules

lint: setup
	$(BIN)/ruff check

formatting: setup
	$(BIN)/ruff format --check

mypy: setup
	$(BIN)/mypy

pyright: setup
	$(BIN)/pyright

imports: setup
	$(BIN)/lint-imports

test: setup ## Run all tests
	$(BIN)/pytest

test-kafka: setup ## Run the tests that need a Kafka broker; KAFKA_BOOTSTRAP=host:port adds a cluster of yours
	$(BIN)/pytest -m kafka

test-torch: setup-torch ## Run the tests of the PyTorch engine and of the GPU front end, on this processor
	$(TORCH)/bin/python -m pytest -m 'not device' $(TORCH_TESTS)

test-device: setup-torch ## Run the tests that need a GPU; they are skipped without one
	$(TORCH)/bin/python -m pytest -m device

chaos: setup ## Hurt a cluster, 10,000 times as a model and then for real, and look for lost, repeated or changed finals
	TRUNKLINE_SCHEDULES=10000 $(BIN)/pytest -s tests/unit/scaler/test_ownership_model.py tests/unit/scaler/test_cluster.py
	$(BIN)/python -m tests.chaos.run

coverage: setup ## Run the unit and contract tests and show what they leave out; the pure modules must leave out nothing
	$(BIN)/pytest --cov --cov-report=term -m 'not kafka' tests/unit tests/contract
	$(BIN)/coverage report --include=$(PURE) --omit='streaming/log/*' --fail-under=100

serve: setup ## Serve on this machine, everything in one process tree; PORT=N for another port than 8080
	$(BIN)/python -m server standalone --host 127.0.0.1 --port $(PORT)

test-clients: setup ## Run the real clients of other systems (Deepgram, OpenAI, LiveKit and more) on the gateway
	$(BIN)/python -m tests.clients.run

.PHONY: test-page newcomer diagrams
newcomer: ## Follow the README to the letter in an empty folder, from clone to words; port 8080 must be free
	$(PYTHON) -m tests.newcomer

diagrams: setup ## Draw the state diagrams of docs/architecture.md from the code's tables
	$(BIN)/python -m tests.support.state_diagrams

test-page: setup ## Run the live page's tests in Chromium; its pictures are in build/page
	$(BIN)/pytest tests/page

demo: setup ## Start a server, play a recorded call to it and show the words as they come
	$(BIN)/python -m tests.demo

bench-accuracy: setup ## Word errors of streaming against offline
	$(BIN)/python -m tests.bench.accuracy

bench-capacity: setup ## Channels this machine holds under the latency target
	$(BIN)/python -m tests.bench.capacity

bench-device: setup ## What a device does: batches, channels, word errors; BENCH=--hold holds channels for real, too
	$(BIN)/python -m tests.bench.device $(BENCH)

bench-gpu: setup-torch ## Fill every table that needs an NVIDIA GPU: tests, devices, front ends; two hours, and it goes on where it broke off
	$(BIN)/uv pip install --quiet --python $(TORCH)/bin/python --no-deps --require-hashes -r deploy/image/cuda.lock
	$(TORCH)/bin/python -m pytest -m device
	$(TORCH)/bin/python -m tests.bench.device --device cuda:0 --hold --markdown docs/benchmarks.md
	$(TORCH)/bin/python -m tests.bench.front_end --device cuda:0 --markdown docs/benchmarks.md
	$(TORCH)/bin/python -m tests.bench.front_end_decodes --device cuda:0 --markdown docs/benchmarks.md

bench-long-call: setup ## Whether the last minute of a long call is as fast as its second
	$(BIN)/python -m tests.bench.long_call

sim: setup ## Simulate 250 to 600 calls with a device killed, layer by layer; tables and pictures go to build/sim
	$(BIN)/python -m scaler.sim

drill: setup ## Slow, kill and drain devices and shards under too many calls; seven minutes, pictures in build/bench
	$(BIN)/python -m tests.bench.drill

# The dev lock is made first and holds the others to its versions, so that what was tested is what runs.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock" --override requirements/overrides.txt \
	pyproject.toml clients/python/pyproject.toml

# Not from pyproject.toml: it lies on top of the dev lock, and holds what that lacks.
TORCH_LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --constraints requirements/dev.lock \
	--override requirements/torch-overrides.txt requirements/torch.in --output-file requirements/torch.lock

# What GPU images bring besides: for the Python and the platform of their base.
GPU_LOCK = $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	--constraints requirements/image.lock

lock: setup ## Renew the locks from pyproject.toml
	$(LOCK) --extra models --extra kafka --extra keda --extra plots --extra dev --extra files --extra mic --output-file requirements/dev.lock
	$(LOCK) --constraints requirements/dev.lock --output-file requirements/run.lock
	$(LOCK) --constraints requirements/dev.lock --extra models --output-file requirements/models.lock
	$(LOCK) --constraints requirements/dev.lock --extra kafka --output-file requirements/kafka.lock
	$(LOCK) --constraints requirements/dev.lock --extra kafka --extra keda --output-file requirements/image.lock
	for variant in cuda torch; do $(GPU_LOCK) deploy/image/$$variant.in --output-file deploy/image/$$variant.lock || exit 1; done
	$(TORCH_LOCK)

tools: setup ## Build Helm with Go, where none is installed, and fetch the schemas that charts are held against
	$(BIN)/python -m tests.support.go_tools

protocols: setup ## Generate again what is made from protocol definitions
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. scaler/autoscaling/externalscaler.proto

clean: ## Remove the environment, caches and everything built
	rm -rf $(VENV) $(TORCH) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
