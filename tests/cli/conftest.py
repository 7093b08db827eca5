from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from executor_core import texts
from executor_core.cli.root import cli
from executor_core.links.server import Access
from executor_core.services import account
from tests.support.executor_process import ExecutorProcess
from tests.support.stub_claude import StubClaude

Cli = Callable[..., Result]
ZH = {"WEGENT_EXECUTOR_LANGUAGE": "zh_CN"}


@pytest.fixture(autouse=True)
def _every_token_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `login` keeps is of interest here; whether the server takes it, elsewhere."""

    async def taken(_access: Access) -> None:
        pass

    monkeypatch.setattr(account, "check_token", taken)


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    """The language belongs to the process, and commands choose it."""
    yield
    texts.use_language("en")


def invoke(
    home: Path, *arguments: str, stdin: str | bytes = "", env: dict[str, str] | None = None
) -> Result:
    """One command line, in this process."""
    result = CliRunner().invoke(
        cli,
        arguments,
        input=stdin,
        env={"WEGENT_EXECUTOR_HOME": str(home), **(env or {})},
        prog_name="wegent-executor",
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of an executor that does not run."""
    return tmp_path / "home"


@pytest.fixture
def command(home: Path) -> Cli:
    """Commands for a home where no executor runs."""
    return lambda *arguments, **more: invoke(home, *arguments, **more)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> StubClaude:
    """The agent of the executor that runs."""
    return StubClaude(tmp_path_factory.mktemp("agent"))


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, agent: StubClaude
) -> Iterator[ExecutorProcess]:
    """A standalone executor, online; shared by the tests of a module."""
    executor = ExecutorProcess(tmp_path_factory.mktemp("computer"), agent.bin)
    executor.start("--standalone", "--no-gui")
    asyncio.run(executor.online())
    yield executor
    executor.clean_up()


@pytest.fixture
def live(running: ExecutorProcess) -> Cli:
    """Commands for the home of the executor that runs."""
    return lambda *arguments, **more: invoke(running.home, *arguments, **more)
