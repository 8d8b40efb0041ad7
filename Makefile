# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make demo    set up, then turn the sample video into captions
#   make test    set up, then lint and run the tests
# And, as CI does after them:
#   make test-system  the tests that need a program or a right beside Python; fails where one is missing
#   make coverage     the tests of some packages, with line coverage
#   make fuzz    damage 1,000 media files and 5,000 databases, and read them
#   make faults  kill, cut off and restart the platform's processes, and see it heal
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SUPABASE_CLI := tests/supabase_cli/node_modules/.bin/supabase
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := --require-hashes --no-deps --only-binary :all:

# Bytecode makes each of Dagster's processes start in half the time.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test coverage test-system fuzz faults dev lint format lock clean

demo: $(INSTALLED)
	$(BIN)/captionacc demo

dev: $(INSTALLED)
	$(BIN)/captionacc up

test: $(INSTALLED) lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not faults" $(PYTEST_ARGS)
	@echo "Left out: the fault injection, which make faults runs"

test-system: $(INSTALLED) $(SUPABASE_CLI)
	$(BIN)/python -m pytest -m system --every-system-part $(PYTEST_ARGS)

# A command of its own: tracing each line costs a third more CPU time than the tests alone. These are packages that are
# tested in the tests' own process; COVERED="captionacc_dagster/web modal_gpu/media" measures others.
COVERED ?= captionacc_dagster/runs captionacc_dagster/sensors captionacc_dagster/costs modal_gpu/captions \
    modal_gpu/databases modal_gpu/layout modal_gpu/ocr
coverage: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not faults and not e2e" $(COVERED:%=--cov=%) \
	    --cov-report=term:skip-covered $(patsubst captionacc_dagster/%,tests/%,$(COVERED:modal_gpu/%=tests/modal_gpu/%))

# Pinned with its checksum; npm needs none of its scripts.
$(SUPABASE_CLI): tests/supabase_cli/package-lock.json
	cd tests/supabase_cli && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# FUZZ_ARGS="--seed 7 --media 20000" makes other files, and more; what did not end well is kept in .fuzz.
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

# One after the other: each test runs a whole platform, and some count seconds.
faults: $(INSTALLED)
	$(BIN)/python -m pytest -m faults $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Exactly the locked files, checked by their hashes. torch is PyTorch's CPU build where pip is set up to find it
# (PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu: a tenth of the size), else PyPI's.
$(INSTALLED): pyproject.toml constraints.txt constraints-torch.txt constraints-torch-cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(LOCKED) -r constraints.txt
	$(PIP) $(LOCKED) -r constraints-torch-cpu.txt 2>/dev/null || $(PIP) $(LOCKED) -r constraints-torch.txt
	$(PIP) --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	@touch $@

# After a change of pyproject.toml. LOCK_ARGS=--upgrade takes the newest of everything.
lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(VENV)-lock/bin/python deploy/lock.py $(LOCK_ARGS)
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) .captionacc .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage*
