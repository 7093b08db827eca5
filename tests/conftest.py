"""What every test gets without asking: a home of its own, a watched loop, and no leftovers."""

from __future__ import annotations

import contextlib
import gc
import inspect
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import canaries, home, leftovers
from tests.support.clock import JumpingClock
from tests.support.real_cli import PINS, CannotInstall, real_cli
from tests.support.watchdog import FATAL_S, NOTABLE_S, Stall, Watchdog

_watchdog = Watchdog()
_notable: list[tuple[str, Stall]] = []
_commands = canaries.StartedCommands()
_patch = pytest.MonkeyPatch()


_chosen: dict[str, str] = {}
"""Versions of real CLIs that are tried in place of the pinned ones."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cli", action="append", default=[], metavar="NAME=VERSION")


def pytest_collection_finish() -> None:
    """What was imported stays for ever: looking through it takes the collector half a second."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    # A suite that a shell started in the background ignores Ctrl+C, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The same examples every time: a failure is about the change, not about luck.
    hypothesis.settings.register_profile("tests", derandomize=True, deadline=None)
    hypothesis.settings.load_profile("tests")
    folder = Path(tempfile.mkdtemp(prefix="wegent-tests-")).resolve()
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    _chosen.update(one.split("=", 1) for one in config.getoption("--cli"))
    home.move_into(folder, _patch)
    config.add_cleanup(_patch.undo)
    _watchdog.install()
    config.add_cleanup(_watchdog.remove)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test in which one callback held the loop too long, after the test's own verdict."""
    _watchdog.take()
    result = yield
    stalls = _watchdog.take()
    _notable.extend((item.nodeid, stall) for stall in stalls)
    fatal = [str(stall) for stall in stalls if stall.seconds >= FATAL_S]
    if fatal:
        pytest.fail(f"the event loop was blocked: {', '.join(fatal)}", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that left a secret in a file or in a command line; see `canaries`."""
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    found: set[tuple[str, str]] = set()
    with contextlib.suppress(OSError):  # a disk that a test has broken is still so
        found = canaries.found_below(folder) if folder is not None else found
    exposed, _commands.exposed = _commands.exposed, []
    result = yield
    if found or exposed:
        pytest.fail(f"secrets were left: {found or exposed}", pytrace=False)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _notable:
        terminalreporter.section(f"callbacks that held the loop over {NOTABLE_S * 1000:.0f} ms")
    for test, stall in sorted(_notable, key=lambda entry: -entry[1].seconds):
        terminalreporter.line(f"{stall}  [{test}]")


@pytest.fixture(scope="session", autouse=True)
def _no_process_survives_the_session() -> Iterator[None]:
    yield
    leftovers.check_marked_processes()


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Fail a test after which a process, a thread, a file or a socket is left."""
    before = leftovers.snapshot()
    yield
    leftovers.check(before)


@pytest.fixture(autouse=True)
def _no_job_left_if_async(_nothing_left: None, request: pytest.FixtureRequest) -> None:
    # Asked for by name, so that a test without a loop needs none. The loop is then made after the
    # snapshot above and closed before it is compared.
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_no_job_left")


@pytest.fixture
async def _no_job_left() -> AsyncIterator[None]:
    """Fail a test that leaves a job behind, before the loop's end hides it."""
    yield
    await leftovers.check_jobs()


@pytest.fixture
def clock() -> JumpingClock:
    """A clock that only the test moves."""
    return JumpingClock()


@pytest.fixture(scope="session")
def claude_cli() -> Path:
    """The real Claude Code, pinned. Where npm is missing the test is skipped; in CI it fails."""
    return _installed("claude_code")


@pytest.fixture(scope="session")
def codex_cli() -> Path:
    """The real Codex, pinned; see `claude_cli`."""
    return _installed("codex")


@pytest.fixture(scope="session")
def opencode_cli() -> Path:
    """The real OpenCode, pinned; see `claude_cli`."""
    return _installed("opencode")


def _versions(name: str) -> list[str]:
    return sorted({PINS[name].version, PINS[name].newest})


@pytest.fixture(scope="session", params=_versions("claude_code"))
def each_claude_cli(request: pytest.FixtureRequest) -> Path:
    """The real Claude Code, once in the pinned and once in the newest version."""
    return _installed("claude_code", request.param)


@pytest.fixture(scope="session", params=_versions("codex"))
def each_codex_cli(request: pytest.FixtureRequest) -> Path:
    """The real Codex, once in the pinned and once in the newest version."""
    return _installed("codex", request.param)


def _installed(name: str, version: str | None = None) -> Path:
    try:
        return real_cli(name, _chosen.get(name, version))
    except CannotInstall as error:
        if home.outer_environment().get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
