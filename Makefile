# make run        start the executor with its own hub and console, on this computer only
# make test       lint, types and tests: what every change must pass
# make test-slow  tests with the real agent CLIs (needs npm)
# make drift      try the newest release of each agent CLI, and print what changed (needs npm)
# make fmt        put the code into its standard form
# make bundle     put the program and all it needs into dist/, with PyInstaller
# make lock       resolve the dependencies anew, after a change in pyproject.toml
#
# PYTHON=python3.12 chooses the interpreter of .venv; ARGS='…' is passed on by run, test, test-slow
# and drift.

BIN := .venv/bin

.DEFAULT_GOAL := run
.PHONY: run test test-slow drift lint types fmt bundle install lock npm browser qt qt-libraries screen

install:
	@.ci/install $(PYTHON)

run: install
	@$(BIN)/wegent-executor --standalone $(ARGS)

test: lint types qt
	@$(BIN)/python -m pytest -q $(ARGS)

test-slow: install npm browser qt screen
	@$(BIN)/python -m pytest -q -m slow $(ARGS)

drift: install npm
	@$(BIN)/python -m tests.agents.drift $(ARGS)

lint: install
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || \
		{ echo "Not in standard form: run 'make fmt'."; $(BIN)/ruff format --check .; }

types: install
	@$(BIN)/mypy --no-error-summary

fmt: install
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

bundle: qt
	@[ ! -e /etc/debian_version ] || command -v objdump >/dev/null || \
		.ci/install --debian binutils libpython3-dev
	@$(BIN)/python -c 'import PyInstaller' 2>/dev/null || \
		$(BIN)/python -m pip install -qq --disable-pip-version-check pyinstaller==6.22.3
	@$(BIN)/python -m PyInstaller --noconfirm --log-level WARN build.spec
	@echo "The bundle is in dist/wegent-executor."

# Windows are tested without a screen; Qt wants these libraries all the same.
QT_LIBRARIES := libgl1 libegl1 libglib2.0-0 libdbus-1-3 libfontconfig1 libxkbcommon0 libbrotli1
qt: install
	@$(BIN)/python -c 'import PySide6.QtWidgets' 2>/dev/null || .ci/install --debian $(QT_LIBRARIES)

qt-libraries: # what they are, for those who cannot install them here
	@echo $(QT_LIBRARIES)

# Without npm the slow tests skip themselves; in CI they must run.
npm:
	@[ "$$CI" != true ] || command -v npm >/dev/null || .ci/install --debian nodejs npm

# Without Chromium the console's tests skip themselves; in CI they must run.
browser:
	@[ "$$CI" != true ] || command -v chromium >/dev/null || .ci/install --debian chromium

# Without a keyring, a display and two kinds of panel the tests of a real desktop skip themselves; in
# CI they must run.
SCREEN_PROGRAMS := Xvfb dbus-daemon dbus-send gnome-keyring-daemon openbox dunst trayer xfce4-panel xdotool
SCREEN_PACKAGES := xvfb dbus gnome-keyring gcr openbox dunst trayer xfce4-panel xfconf xdotool \
	fonts-dejavu-core libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxkbcommon-x11-0
screen:
	@[ "$$CI" != true ] || \
		for program in $(SCREEN_PROGRAMS); do \
			command -v $$program >/dev/null || exec .ci/install --debian $(SCREEN_PACKAGES); \
		done

lock: install
	@.ci/lock $(BIN)/python
