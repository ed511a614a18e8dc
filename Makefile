# `make demo` and `make test` need python3 (>= 3.10) and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Else each process that a test starts compiles all that it imports again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test tests test-all check lint format install index layers kinds docs bench clean help

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/'

install: $(STAMP) ## make .venv with everything pinned

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[dev]' -c constraints.txt
	touch $(STAMP)

demo: $(STAMP) ## compare seven strategies on five domains
	$(BIN)/python -m clplat demo

check: index lint ## ruff, mypy and the layers of imports

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-cache --no-logo

# Side by side, and one worker more than cores: many tests wait for processes that they started.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder

test: index ## ruff, mypy and the tests, at most eight minutes on two cores; SHARD=1/3: a third of them
	+$(MAKE) --no-print-directory --jobs 2 lint tests

tests: $(STAMP)
	$(PYTEST) --shard $(or $(SHARD),1/1)

test-all: check ## also the tests marked slow
	$(PYTEST) -m 'slow or not slow'

format: $(STAMP) ## let ruff format and fix what it can
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

index: $(STAMP) ## write what editors read: which classes the packages of parts hand on
	$(BIN)/python -m clplat.stubs

layers: $(STAMP) ## write the table of layers in docs/architecture.md
	$(BIN)/python -m docs.generate.layers

kinds: $(STAMP) ## write what pages say of every kind of part
	$(BIN)/python -m docs.generate.kinds

docs: $(STAMP) ## build the site into site/ and check all its links; see it with `python -m http.server -d site`
	$(BIN)/python -c 'import material, mkdocstrings_handlers.python' 2>/dev/null \
		|| $(BIN)/python -m uv pip install --quiet --python $(BIN)/python -e '.[docs]' -c constraints.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/python -m docs.generate.links site

bench: $(STAMP) ## measure the speed: benchmarks/results.json and docs/performance.md, an hour
	$(BIN)/python -m benchmarks

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis dist build site
