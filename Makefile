# The two commands of the README are `make demo` and `make test`; both install what they need into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# written last, so an installation that was cut off is done again; newer settings install again
INSTALLED := $(VENV)/installed

export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test check format bench clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(INSTALLED)  ## See it work: align, fine-tune with and without dualselect, measure, open a page
	$(BIN)/dualselect demo

test: $(INSTALLED)  ## Run the tests
	$(BIN)/python -m pytest

check: $(INSTALLED)  ## Lint, format, types, spelling, private keys
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell src tests benchmarks docs examples *.md
	git ls-files -z | xargs -0 $(BIN)/detect-private-key

format: $(INSTALLED)  ## Put the code into the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## The two ratios the project holds: step time and pool memory
	$(BIN)/python benchmarks/step_overhead.py
	$(BIN)/python benchmarks/pool_memory.py

clean:  ## Remove the installation and the demo's run
	rm -rf $(VENV) demo-run

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; install a newer one, or say which: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,report]'
	touch $@
