# Two commands do everything on a fresh machine: `make demo` and `make test`. `make test-browser` needs Chromium besides.

PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
BIN := .venv/bin

# The tests of what the kernel computes, which run once more through it, in Triton's interpreter.
INTERPRETED := tests/engine tests/functional tests/measuring/test_row_sums.py $(addprefix tests/test_,ids.py losses.py ranks.py)

.PHONY: demo test test-browser lint bench gpu docs clean

demo: .venv/demo
	$(BIN)/align-uniform demo --force $(ARGS)

test: lint
	$(BIN)/python -m pytest $(ARGS)
	TRITON_INTERPRET=1 ALIGN_UNIFORM_ENGINE=triton $(BIN)/python -m pytest $(INTERPRETED) $(ARGS)

test-browser: .venv/dev
	$(BIN)/python -m pytest tests/browser $(ARGS)

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m benchmarks.anchors
	$(BIN)/python -m benchmarks.recipe
	$(BIN)/python -m benchmarks.views
	$(BIN)/python -m benchmarks.moco_step

gpu: # a machine with a GPU brings a torch of its own, which no virtual environment replaces
	PYTHONPATH=src $(PYTHON) -m benchmarks.gpu --out benchmarks/gpu.json --force $(ARGS)

docs: .venv/dev
	$(BIN)/python -m sphinx -W -q -b html docs docs/_build

clean:
	rm -rf .venv docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Each stamp says what is installed; a changed pyproject.toml or Makefile installs again.

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/torch: Makefile | .venv/bin/python
	$(BIN)/python -m pip install --quiet "pip>=25.1"
	$(BIN)/python -m pip install --quiet $(TORCH)
	touch $@

.venv/demo: pyproject.toml .venv/torch
	$(BIN)/python -m pip install --quiet --editable ".[recipes]"
	touch $@

.venv/dev: pyproject.toml .venv/torch
	$(BIN)/python -m pip install --quiet --editable ".[all,docs]" --group dev
	touch $@ .venv/demo
