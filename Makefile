# The two commands of the README are `make demo` and `make test`; both install what they need into .venv first.

# the newest python3 is often not the one called python3
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys, pip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
endif
VENV := .venv
BIN := $(VENV)/bin
# written last, so an installation that was cut off is done again; newer settings install again
INSTALLED := $(VENV)/installed

export HF_HUB_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-slow check format bench clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(INSTALLED)  ## See it work: align, fine-tune with and without dualselect, measure, open a page
	$(BIN)/dualselect demo

test: $(INSTALLED)  ## Run the tests
	$(BIN)/python -m pytest

test-slow: $(INSTALLED)  ## Run the tests that take long
	$(BIN)/python -m pytest -m slow

check: $(INSTALLED)  ## Lint, format, types, spelling, private keys
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell src tests benchmarks docs examples *.md
	git ls-files -z | xargs -0 $(BIN)/detect-private-key

format: $(INSTALLED)  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## Measure time and memory, and compare methods for five minutes (benchmarks/README.md)
	@status=0; for one in "step_overhead.py --all_supervised" whole_run.py memory.py processes.py packing.py \
		curves.py norms.py "safety_utility/start_model.py runs/safety_utility/start"; do \
		echo "benchmarks/$$one"; $(BIN)/python benchmarks/$$one || status=1; done; \
		$(BIN)/dualselect compare --config benchmarks/safety_utility/five_minutes.yaml && exit $$status

clean:  ## Remove the installation and the demo's run
	rm -rf $(VENV) demo-run

# without ensurepip, which Debian packages apart: the pip that is there installs another into the environment
$(INSTALLED): pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c 'import sys, pip, venv; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Python 3.11 or newer with pip is needed, and $(or $(PYTHON),no python here) is not that." \
			"Install one (on Debian: apt install python3 python3-pip), or name it:" \
			"make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 2; }
	@echo "Installing into $(VENV) (once; a few minutes)"
	$(PYTHON) -m venv --clear --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --constraint constraints.txt pip --editable '.[dev,eval,report]'
	touch $@
