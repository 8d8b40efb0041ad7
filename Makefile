# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make demo    set up, then turn the sample video into captions
#   make test    set up, then lint and run the tests
# CI also runs:
#   make test-slow    whole clips, and other tests of more than four seconds
#   make coverage     the tests of some packages, with line coverage
#   make test-system  the tests that need something besides Python; fails if it is missing
#   make test-browser the Dagster UI and the review page in Chromium; screenshots in build/screenshots
#   make fuzz         damage 1,000 media files and 5,000 databases, and read them
#   make faults       kill, cut off and restart the platform's processes, and watch it recover
#   make docs         the documentation as a site in build/site; a broken link is an error
#   make release-check  build sdist, wheel and SBOM into dist/, and try the wheel in an empty environment
# Where the network has PyPI's vulnerability data:
#   make audit        known vulnerabilities of the locked packages
# After a change of what the web pages show:
#   make docs-images  the pictures of the documentation, by the same tests
# After a change in supabase/schemas:
#   make migration NAME=add_zones  write the next migration
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What the platform needs, and what the tests and training need too.
INSTALLED := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev
SUPABASE_CLI := tests/supabase_cli/node_modules/.bin/supabase

# With bytecode, each of Dagster's processes starts in half the time.
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo migration test test-slow coverage test-system test-browser docs-images docs fuzz faults dev lint format \
    lock release-check audit clean

demo: $(INSTALLED)
	$(BIN)/captionacc demo

dev: $(INSTALLED)
	$(BIN)/captionacc up

test: $(DEVELOPMENT) lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not faults and not browser and not slow" $(PYTEST_ARGS)
	@echo "Left out: slow tests (make test-slow), those in a browser (make test-browser), the fault injection (make faults)"

# Apart, so that make test stays under ten minutes on two cores.
test-slow: $(DEVELOPMENT)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "slow and not faults and not browser" $(PYTEST_ARGS)

test-system: $(DEVELOPMENT) $(SUPABASE_CLI)
	$(BIN)/python -m pytest -m system --every-system-part $(PYTEST_ARGS)

# One platform serves all of them, so not in parallel. CAPTIONACC_SCREENSHOTS names another folder.
test-browser: $(DEVELOPMENT)
	$(BIN)/python -m pytest tests/browser -m browser --every-system-part $(PYTEST_ARGS)

docs-images: export CAPTIONACC_DOCS_IMAGES = docs/images
docs-images: test-browser

# CAPTIONACC_SITE names another folder, CAPTIONACC_DOCS_IMAGES one with newer pictures, CAPTIONACC_REPOSITORY_URL the
# address that links to the code lead to. MkDocs counts no warnings, and so forgives them, with --quiet.
docs: $(DEVELOPMENT)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Not part of `make test`, because tracing each line costs a third more CPU time. The tests of these packages run in one
# process, so their lines are seen; COVERED="captionacc_dagster/web modal_gpu/media" measures others.
COVERED ?= captionacc_dagster/runs captionacc_dagster/sensors captionacc_dagster/costs modal_gpu/captions \
    modal_gpu/databases modal_gpu/layout modal_gpu/ocr
coverage: $(DEVELOPMENT)
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not faults and not e2e and not slow" $(COVERED:%=--cov=%) \
	    --cov-report=term:skip-covered $(patsubst captionacc_dagster/%,tests/%,$(COVERED:modal_gpu/%=tests/modal_gpu/%))

# Pinned with its checksum. Its install scripts are not needed.
$(SUPABASE_CLI): tests/supabase_cli/package-lock.json
	cd tests/supabase_cli && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# FUZZ_ARGS="--seed 7 --media 20000" makes more and other files. Files that fail are kept in .fuzz.
fuzz: $(DEVELOPMENT)
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

# Not in parallel: each test runs a complete platform, and some measure time.
faults: $(DEVELOPMENT)
	$(BIN)/python -m pytest -m faults $(PYTEST_ARGS)

# Fails where a person has to complete the file; what is missing is printed.
migration: $(INSTALLED)
	$(BIN)/python -m schema_migrations $(NAME)

# mypy takes about 30 s the first time, and a few seconds with its cache (.mypy_cache).
lint: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

format: $(DEVELOPMENT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Exactly the locked files, checked by their hashes; deploy/install.py prints a line a step.
$(INSTALLED): deploy/install.py pyproject.toml constraints.txt deploy/requirements-uv.txt
	$(PYTHON) deploy/install.py $(VENV)
	@touch $@

# PyTorch is its CPU build if an index of pip's has it (PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu:
# a tenth of the size), else PyPI's.
$(DEVELOPMENT): $(INSTALLED) constraints-dev.txt constraints-torch.txt constraints-torch-cpu.txt
	$(PYTHON) deploy/install.py $(VENV) --dev
	@touch $@

# Run it after a change of pyproject.toml. LOCK_ARGS=--upgrade locks the newest versions.
lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(VENV)-lock/bin/python deploy/lock.py $(LOCK_ARGS)
	rm -rf $(VENV)-lock

# RELEASE_ARGS="--tag v1.0.0" fails unless that is the version.
release-check: $(DEVELOPMENT)
	$(BIN)/python -m deploy.release check $(RELEASE_ARGS)

# --strict: a package that the service does not know is an error. AUDIT_ARGS="--vulnerability-service osv" asks osv.dev.
LOCKED := constraints.txt constraints-dev.txt deploy/requirements.txt modal_gpu/deployment/requirements.txt
audit: $(DEVELOPMENT)
	$(BIN)/pip-audit --strict --require-hashes --disable-pip $(LOCKED:%=--requirement %) $(AUDIT_ARGS)

clean:
	rm -rf $(VENV) build dist .captionacc .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage*
