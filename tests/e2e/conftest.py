"""A hub in the test, executors in processes of their own, and the stub or the real agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from executor_core.hub import Dialect
from tests.support.executor_process import ExecutorProcess
from tests.support.hub_server import HubServer
from tests.support.stub_claude import StubClaude

BOTH_DIALECTS = ["responses", pytest.param("progress", marks=pytest.mark.slow)]
"""For `parametrize`: one kind of server every day, the other with the slow tests."""


@pytest.fixture
def dialect() -> Dialect:
    """The kind of server to be; tests may parametrize it."""
    return "responses"


@pytest.fixture
async def hub(tmp_path: Path, dialect: Dialect) -> AsyncIterator[HubServer]:
    """A server, running."""
    folder = tmp_path / "hub"
    folder.mkdir()
    server = HubServer(folder, dialect)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def claude(tmp_path: Path) -> StubClaude:
    """The agent of these tests, whose turns go by what the prompt says."""
    return StubClaude(tmp_path / "agent")


@pytest.fixture
def make_executor(tmp_path: Path) -> Iterator[Callable[[Path], ExecutorProcess]]:
    """Makes an executor that finds its agent in the given folder; ended with the test."""
    made: list[ExecutorProcess] = []

    def make(bin: Path) -> ExecutorProcess:
        folder = tmp_path / f"computer-{len(made)}"
        folder.mkdir()
        made.append(ExecutorProcess(folder, bin))
        return made[-1]

    yield make
    for executor in made:
        executor.clean_up()


@pytest.fixture
def executor(
    make_executor: Callable[[Path], ExecutorProcess], claude: StubClaude
) -> ExecutorProcess:
    """An executor with the stub agent and without a server, not started."""
    return make_executor(claude.bin)


@pytest.fixture
def device(executor: ExecutorProcess, hub: HubServer) -> ExecutorProcess:
    """The same, configured for the hub; still not started."""
    executor.connect_to(hub.url, hub.hub.device_token())
    return executor
