VENV := .venv
PYTHON := $(VENV)/bin/python

.PHONY: setup build
setup: $(VENV)/.ready
$(VENV)/.ready: requirements-dev.txt pyproject.toml
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --upgrade pip
	$(PYTHON) -m pip install --quiet -r requirements-dev.txt
	touch $@

build: setup
	$(PYTHON) setup.py -q build_ext --inplace
	$(PYTHON) -m pip install --quiet --no-build-isolation --no-deps -e .
