# make demo                 set up, build, and restore a noisy clip made on the spot
# make test                 everything CI checks
# make run IN=.. OUT=..     restore a file (more options in ARGS="--preset fast ...")
VENV := .venv
PYTHON := $(abspath $(VENV)/bin/python)
CUDA_ROOT := $(firstword $(wildcard $(CUDA_HOME) /usr/local/cuda))

.PHONY: demo test run setup build check lint cuda-link browser pytest wheel clean

demo: build
	$(PYTHON) tests/demo.py demo

test: build check cuda-link pytest

run: build
	@test -n "$(IN)" -a -n "$(OUT)" || { echo "usage: make run IN=noisy.mp4 OUT=clean.mp4 [ARGS=...]" >&2; exit 2; }
	$(VENV)/bin/vnlsdenoise "$(IN)" -o "$(OUT)" $(ARGS)

# --- set-up: a virtual environment with pinned packages; as root on Debian also the compiler and venv, if missing
setup: $(VENV)/.ready
$(VENV)/.ready: requirements-dev.txt
	@python3 -c 'import venv, ensurepip' 2>/dev/null && command -v g++ >/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq g++ python3-venv python3-dev; } || \
	  { echo "need g++ and python3-venv: install them and run make again" >&2; exit 1; }
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --upgrade pip
	$(PYTHON) -m pip install --quiet -r requirements-dev.txt
	touch $@

# --- build: libraries beside the sources, and an editable install that maps cli/ and weights/ into the package
build: setup
	@mkdir -p build && echo "building (a few minutes the first time; what the compiler says: build/compile.log)"
	@$(PYTHON) setup.py -q build_ext --inplace > build/compile.log 2>&1 || { cat build/compile.log >&2; exit 1; }
	@test -e $(VENV)/.installed -a $(VENV)/.installed -nt pyproject.toml || { \
	  $(PYTHON) -m pip install --quiet --no-build-isolation --no-deps -e . && touch $(VENV)/.installed; }

wheel: setup
	$(PYTHON) -m pip wheel --quiet --no-build-isolation --no-deps -w dist .

# --- checks
check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run -Werror $$(git ls-files 'csrc/*')

# Compiles and links every CUDA source, without a GPU; the wheel that this makes is what tests/test_packaging.py looks at.
cuda-link: setup
	@if [ -n "$(CUDA_ROOT)" ] && [ -x "$(CUDA_ROOT)/bin/nvcc" ]; then \
	  CUDA_HOME="$(CUDA_ROOT)" VNLSDENOISE_CUDA=1 TORCH_CUDA_ARCH_LIST="$${TORCH_CUDA_ARCH_LIST:-9.0}" \
	    $(PYTHON) -m pip wheel --quiet --no-build-isolation --no-deps -w build/cuda-wheel . && \
	  ls build/cuda-wheel/*.whl; \
	else echo "cuda-link: no CUDA toolkit on this machine: the .cu files were not compiled" >&2; fi

# What the tests of pages run in; without it they are skipped, and say so.
browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
	  echo "browser: no chromium on this machine: the tests of pages will be skipped" >&2

# A file of tests to a process, at most four; each with one thread, where a test does not ask for more.
pytest: build browser
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

clean:
	rm -rf build dist *.egg-info $(VENV) demo vnlsdenoise/*.so
