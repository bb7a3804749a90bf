# Set-up is part of every target: a virtual environment with the locked versions, made once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A process that dies ends the tests: its file would otherwise be tried again and again. Files are
# taken in order: by number of tests, the few of the notebooks, which take long, would come last.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder \
	--max-worker-restart 0
# PyTorch is not in constraints.txt: a lock for every platform would list its CUDA stack. An exact pin
# also finds a CPU build where the index has one; TORCH=torch takes the newest.
TORCH ?= torch==2.13.0
# Memory in huge pages: a step frees and takes hundreds of MiB, and each small page costs a fault.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
RUN ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test test-all lint bench lock clean
.DEFAULT_GOAL := demo

$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"slots needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}; say: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.core  ## train on generated Tetrominoes, evaluate, draw figures
	$(BIN)/slots train slot_attention/tetrominoes_cpu run=$(RUN)
	$(BIN)/slots eval $(RUN)

test: $(VENV)/.dev  ## the tests, slow ones left out
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.dev  ## every test
	$(PYTEST)

lint: $(VENV)/.dev  ## formatting, lints, types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(VENV)/.core  ## time training steps against plain PyTorch, and readers (wants a quiet machine)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench,coco]' '$(TORCH)'
	$(BIN)/python -m scripts.benchmark --out docs/benchmarks.md
	$(BIN)/python -m scripts.benchmark.loading --out docs/results/loading.md

lock: $(VENV)/.dev  ## renew constraints.txt (wants uv)
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra tensorboard --no-header --no-annotate \
		--output-file constraints.txt pyproject.toml

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
