# make run        start the executor with its own hub and console, on this computer only
# make test       lint, types and tests: what every change must pass
# make test-slow  tests with the real agent CLIs (needs npm)
# make fmt        put the code into its standard form
# make lock       resolve the dependencies anew, after a change in pyproject.toml
#
# PYTHON=python3.12 chooses the interpreter of .venv; ARGS='…' is passed on by run, test and test-slow.

BIN := .venv/bin

.DEFAULT_GOAL := run
.PHONY: run test test-slow lint types fmt bundle install lock npm browser

install:
	@.ci/install $(PYTHON)

run: install
	@$(BIN)/wegent-executor --standalone $(ARGS)

test: lint types
	@$(BIN)/python -m pytest -q $(ARGS)

test-slow: install npm browser
	@$(BIN)/python -m pytest -q -m slow $(ARGS)

lint: install
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || \
		{ echo "Not in standard form: run 'make fmt'."; $(BIN)/ruff format --check .; }

types: install
	@$(BIN)/mypy --no-error-summary

fmt: install
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

bundle:
	@echo "Packaging is not there yet: there is no build.spec."; exit 1

# Without npm the slow tests skip themselves; in CI they must run.
npm:
	@[ "$$CI" != true ] || command -v npm >/dev/null || .ci/install --debian nodejs npm

# Without Chromium the console's tests skip themselves; in CI they must run.
browser:
	@[ "$$CI" != true ] || command -v chromium >/dev/null || .ci/install --debian chromium

lock: install
	@.ci/lock $(BIN)/python
