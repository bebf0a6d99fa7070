# Every target makes its own virtual environment when it is missing or older than pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Most tests wait for processes and clocks most of the time, so more of them run at once than there are cores.
JOBS ?= 3

# Not with --quiet: mkdocs then counts no warnings either, and --strict means nothing.
DOCS := $(BIN)/mkdocs build --strict

.PHONY: demo test check docs bench clean

demo: $(READY)
	$(BIN)/echo-actors demo

test: $(READY)
	$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal --cov

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(DOCS)

docs: $(READY)
	$(DOCS)

bench: $(READY)
	$(BIN)/python -m bench $(BENCH)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[claude,dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) dist build
