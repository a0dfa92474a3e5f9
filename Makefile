# Two commands do everything on a fresh machine: `make demo` and `make test`. `make test-browser` needs Chromium besides.

PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
BIN := .venv/bin

# Tests run in a process for each core, four at most, and each of these in one thread. A process that has nothing left to
# do takes tests from another. ARGS="-n 0" runs all in one process, as does pytest without make.
PYTEST := -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal
test test-browser test-floor test-floor-recipes: export OMP_NUM_THREADS := 1

# The tests of what the kernel computes, which run once more through it, in Triton's interpreter.
INTERPRETED := tests/engine tests/functional tests/measuring/test_row_sums.py $(addprefix tests/test_,ids.py losses.py ranks.py)

# The oldest torch and the oldest libraries that pyproject.toml allows, of those with a wheel for this Python; the same
# versions are installed once. Left out are kernels, what needs an installed package, minutes of inductor, and what
# those versions cannot do: fake tensors on a GPU where there is none, a loss exported for batches of any size, our
# message within torch's for a loss that gathers, safetensors of complex numbers, .pt files read by another process,
# our wording for a null in Parquet's lists of a fixed size, and numpy's trapezoid, by which tests integrate.
# Recipes need a newer torch than the rest: `make test-floor-recipes` runs their tests with the oldest that they allow.
FLOOR_EXTRAS := cli files metrics report
FLOOR_TOOLS := "pytest>=8.4" "pytest-timeout>=2.4" "pytest-xdist>=3.6" "hypothesis>=6.130" "mpmath>=1.3" "scipy>=1.13" \
	"scikit-learn>=1.5" "pyparsing>=3.1,<3.3" # matplotlib 3.9 uses what pyparsing 3.3 deprecates
FLOOR_STATED = $(shell $(PYTHON) --version; grep -E '^(dependencies|$(subst $() ,|,$(FLOOR_EXTRAS))) = .*>=' pyproject.toml)
FLOOR = $(HOME)/.cache/align-uniform/floor-$(shell echo '$(FLOOR_STATED) $(FLOOR_TOOLS)' | sha256sum | cut -c -12)
FLOOR_TESTS := $(wildcard $(addprefix tests/,engine figures files functional geometry measuring metrics report cli/test_compare.py) \
	$(patsubst %,tests/test_%.py,checks ids init losses metrics ranks sphere)) --ignore-glob "*_kernels.py"
FLOOR_CHOICE := $(subst $() , and ,$(addprefix not~,triton the_extra_installs inductor asks_a_gpu the_probe_sees \
	few_operators an_exported_loss gathers_cannot_be_compiled complex64 opening_reads_a_small ragged_and_null \
	density_of_angles the_curve_over_the_cosines))

.PHONY: demo test test-browser test-floor test-floor-recipes floor lint bench gpu docs clean

demo: .venv/demo
	$(BIN)/align-uniform demo --force $(ARGS)

test: lint
	$(BIN)/python $(PYTEST) $(ARGS)
	TRITON_INTERPRET=1 ALIGN_UNIFORM_ENGINE=triton $(BIN)/python $(PYTEST) $(INTERPRETED) $(ARGS)

test-browser: .venv/dev
	$(BIN)/python -m pytest tests/browser $(ARGS)

test-floor:
	@test -e $(FLOOR)/installed || $(MAKE) --no-print-directory floor
	@$(FLOOR)/bin/python -c "import sys, torch; print(f'torch {torch.__version__}, the oldest for', \
		'$(FLOOR_EXTRAS)', f'with a wheel for Python {sys.version.split()[0]}')"
	PYTHONPATH=$(CURDIR)/src $(FLOOR)/bin/python $(PYTEST) -k "$(subst ~, ,$(FLOOR_CHOICE))" $(FLOOR_TESTS) $(ARGS)

test-floor-recipes:
	$(MAKE) --no-print-directory test-floor FLOOR_EXTRAS="cli files metrics recipes report" FLOOR_TESTS=tests/recipes

floor:
	$(PYTHON) -m venv --clear $(FLOOR)
	$(FLOOR)/bin/python -m pip install --quiet "uv>=0.5"
	$(FLOOR)/bin/python -m uv pip install --quiet --python $(FLOOR)/bin/python --no-cache --only-binary :all: \
		--resolution lowest-direct --requirements pyproject.toml \
		$(addprefix --extra ,$(FLOOR_EXTRAS)) $(FLOOR_TOOLS)
	touch $(FLOOR)/installed

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m benchmarks.anchors
	$(BIN)/python -m benchmarks.drift
	$(BIN)/python -m benchmarks.recipe
	$(BIN)/python -m benchmarks.views
	$(BIN)/python -m benchmarks.moco_step
	$(BIN)/python -m benchmarks.growth

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
