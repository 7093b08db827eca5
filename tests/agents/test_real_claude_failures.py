"""The real Claude Code and a model service that fails: the run ends, in words, and soon."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from executor_core.agents import AgentHost, Assignment, ClaudeCode
from executor_core.agents.claude_code import MAX_RETRIES
from executor_core.clock import SystemClock
from executor_core.model import AgentEvent, AgentResult, ModelConfig, Notice, TextDelta
from tests.process.children import carriers_of
from tests.support.model_api import Cut, Failure, Garbage, Script, Text, model_api, say, use
from tests.support.scripted_api import Gate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
REFUSING = "http://127.0.0.1:9"
FEW = {"CLAUDE_CODE_MAX_RETRIES": "2"}


class Run:
    """One run of the real Claude Code to its end, and what it said."""

    def __init__(self, folder: Path, program: Path, **base: str) -> None:
        self.heard: list[AgentEvent] = []
        self.said_something = Gate()
        """Opens with the first text that was passed on."""
        self._folder = folder
        self._host = AgentHost(
            base={"HOME": str(folder), "LANG": "C.UTF-8", **base},
            settings={},
            path=f"{program.parent}:/usr/local/bin:/usr/bin:/bin",
            platform=sys.platform,
            owner="tests",
            is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
            folder=folder,
            clock=SystemClock(),
        )

    async def of(self, url: str, **env: str) -> AgentResult:
        """The last word of a run whose task brings its model access; nothing of it is left."""
        home, scratch = self._folder / "private", self._folder / "scratch"
        for folder in (home, scratch):
            folder.mkdir()
        task = Assignment(
            run_id=self._folder.name,
            prompt="Hello",
            folder=self._folder,
            scratch=scratch,
            private_home=home,
            model=ModelConfig(model="claude-sonnet-4-5", api_key="sk", base_url=url, env=env),
        )
        result = await ClaudeCode(self._host).run(task, self._hear, asyncio.Event())
        assert carriers_of(self._host.marker(task.run_id)) == set()
        return result

    def _hear(self, event: AgentEvent) -> None:
        self.heard.append(event)
        if isinstance(event, TextDelta):
            self.said_something.open()

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.heard if isinstance(event, TextDelta))

    @property
    def retries(self) -> list[str]:
        return [event.text for event in self.heard if isinstance(event, Notice)]


@asynccontextmanager
async def failing(script: Script) -> AsyncIterator[str]:
    async with model_api(script) as api:
        yield api.url


async def test_a_rate_limit_that_passes_is_said_and_the_answer_comes(
    claude_cli: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path, claude_cli)
    async with failing([Failure(429, "slow down", retry_after=1), say("Here.")]) as url:
        assert (await run.of(url)).error is None
    assert run.text == "Here."
    assert run.retries == [f"The model service answered 429; trying again (1 of {MAX_RETRIES})."]


@pytest.mark.parametrize(("status", "code"), [(500, "model_failing"), (529, "model_overloaded")])
async def test_a_service_that_keeps_failing_ends_the_run_in_words(
    claude_cli: Path, tmp_path: Path, status: int, code: str
) -> None:
    run = Run(tmp_path, claude_cli)
    async with failing(lambda _: Failure(status, "out of order")) as url:
        error = (await run.of(url, **FEW)).error
    assert error is not None
    assert error.code == code
    assert str(status) in error.detail
    assert len(run.retries) == 2


async def test_without_a_word_of_the_task_a_failing_service_is_tried_for_a_minute_at_most(
    claude_cli: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path, claude_cli)
    async with failing(lambda _: Failure(500, "out of order")) as url, asyncio.timeout(60):
        assert (await run.of(url)).error is not None
    assert len(run.retries) == int(MAX_RETRIES)


async def test_a_service_that_refuses_connections_ends_the_run_in_words(
    claude_cli: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path, claude_cli)
    async with asyncio.timeout(60):
        error = (await run.of(REFUSING, **FEW)).error
    assert error is not None
    assert error.code == "model_unreachable"
    assert "cannot be reached" in run.retries[0]


@pytest.mark.parametrize(
    "body", ["", "event: nonsense\ndata: {not json\n\n", "<html>Sign in</html>"]
)
async def test_an_answer_that_is_none_ends_the_run_in_words(
    claude_cli: Path, tmp_path: Path, body: str
) -> None:
    run = Run(tmp_path, claude_cli)
    async with failing(lambda _: Garbage(body)) as url, asyncio.timeout(60):
        error = (await run.of(url, **FEW)).error
    assert error is not None
    assert error.detail.strip()
    assert run.text == ""


async def test_an_answer_that_is_cut_off_ends_in_words_and_keeps_what_was_said(
    claude_cli: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path, claude_cli)
    half = Text("one ", run.said_something)
    async with failing(lambda _: Cut((half,))) as url, asyncio.timeout(60):
        error = (await run.of(url, **FEW)).error
    assert error is not None
    assert "Connection" in error.detail
    assert run.text.startswith("one ")


async def test_no_host_but_the_models_is_contacted(claude_cli: Path, tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def trap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    proxy = await asyncio.start_server(trap, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    run = Run(tmp_path, claude_cli, HTTP_PROXY=url, HTTPS_PROXY=url, ALL_PROXY=url)
    async with proxy, failing([use("Bash", command="true"), say("Done.")]) as model:
        assert (await run.of(model)).error is None
    assert run.text == "Done."
    assert asked == []
