# One line a verb. `make help` lists them.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
RESULTS ?= results

.DEFAULT_GOAL := help
.PHONY: help setup grade test test-all lint stubs demo attacks bench handouts release clean

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make the virtual environment and install everything into it

$(READY): pyproject.toml constraints.txt scripts/setup.sh
	@sh scripts/setup.sh "$(VENV)" "$(PYTHON)" "$(TORCH_CPU_INDEX)"
	@touch $@

grade: $(READY)  ## grade the sample class into results/ and say where the page is
	@$(BIN)/grader grade attention tests/submissions/attention -o $(RESULTS)

test: $(READY)  ## run the tests; they grade the reference too
	@$(BIN)/python -m pytest -q -rs -n auto --dist loadfile -m "not slow" tests/grader tests/reference

test-all: $(READY)  ## run the tests, the slow ones too, and the checks as pytest runs them
	@$(BIN)/python -m pytest -q -rs -n auto --dist loadfile

lint: $(READY)  ## format, style, types, stubs up to date, every mutant applies
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/grader stubs --check
	@$(BIN)/grader mutants

stubs: $(READY)  ## write assignments/ anew from reference/
	@$(BIN)/grader stubs

demo: $(READY)  ## the whole chain, from attention to a tuned model that answers (about a quarter of an hour)
	@$(BIN)/grader demo all --impl reference

attacks: $(READY)  ## grade the hostile class at every isolation level
	@$(BIN)/python scripts/attacks.py

handouts: $(READY)  ## build the site of the course into site/
	@$(BIN)/grader handouts -o site

bench: $(READY)  ## time the grader beside plain pytest, and the tokenizer beside Rust
	@$(BIN)/python -m tests.bench
	@$(BIN)/python -m tests.bench.bpe

release: $(READY)  ## make the students' kit in dist/, and prove it
	@$(BIN)/grader release $(if $(WEEK),--week $(WEEK))

clean:  ## remove the environment, results and caches
	rm -rf $(VENV) $(RESULTS) site dist .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
