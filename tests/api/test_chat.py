"""`POST /api/chat`: one message, one answer, whatever becomes of the run or the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
import pytest

from executor_core.api.openrunner import TIME_LIMIT_S
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import RunState
from executor_core.web.listener import LEFT_LOOK_S
from tests.support.office import Office, outcome
from tests.support.scripted_agent import Performance


class Answered(NamedTuple):
    """An answer that came."""

    status: int
    body: dict[str, Any]


async def _ask(http: aiohttp.ClientSession, body: dict[str, Any]) -> Answered:
    async with http.post("/api/chat", json=body) as answer:
        return Answered(answer.status, await answer.json())


@asynccontextmanager
async def asking(
    http: aiohttp.ClientSession, office: Office, **body: Any
) -> AsyncIterator[tuple[asyncio.Task[Answered], Performance]]:
    """A chat on its way, and the run that it started."""
    jobs = Jobs("client")
    asked = jobs.spawn(_ask(http, {"message": "hi"} | body), "chat")
    try:
        yield asked, await office.agent.started()
    finally:
        await jobs.close()


async def test_the_whole_answer_comes_with_agent_and_run(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with asking(http, office) as (asked, playing):
        run_id = playing.assignment.run_id
        assert playing.assignment.prompt == "hi"
        assert playing.assignment.folder == office.folder / "workspace" / run_id
        assert next(iter(office.executor._runs.values())).request.limits.total_s == TIME_LIMIT_S
        playing.say("Hello, ", "you")
        playing.finish()
        answer = {"message": "Hello, you", "agent_type": "claude_code", "run_id": run_id}
        assert await asked == (200, answer)


@pytest.mark.parametrize("model", ["claude", "claude_code", None, ""])
async def test_a_model_may_name_the_agent(
    http: aiohttp.ClientSession, office: Office, model: str | None
) -> None:
    async with asking(http, office, model=model) as (asked, playing):
        assert playing.assignment.model.model is None
        playing.finish("ok")
        assert (await asked).body["agent_type"] == "claude_code"


async def test_every_other_word_is_a_model(http: aiohttp.ClientSession, office: Office) -> None:
    async with asking(http, office, model="claude-sonnet-4-5") as (asked, playing):
        assert playing.assignment.model.model == "claude-sonnet-4-5"
        playing.finish("ok")
        assert (await asked).body["agent_type"] == "claude_code"


async def test_an_agent_that_is_not_here_is_named(http: aiohttp.ClientSession) -> None:
    status, body = await _ask(http, {"message": "hi", "model": "codex"})
    assert (status, body["error"]["code"]) == (400, "agent_unknown")


async def test_a_failed_run_is_a_bad_gateway_in_the_agents_words(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with asking(http, office) as (asked, playing):
        error = ExecutorError("model_overloaded", status=529, reason="too much").message
        playing.finish(error=error)
        status, body = await asked
        assert status == 502
        assert body["error"]["title"] == error.title
        assert body["detail"] == error.sentence
        assert body["run_id"] == playing.assignment.run_id


async def test_a_chat_that_takes_too_long_is_a_timeout(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with asking(http, office) as (asked, _playing):
        while not asked.done():
            await office.clock.advance(TIME_LIMIT_S)
            await asyncio.sleep(0.001)
        status, body = await asked
        assert (status, body["error"]["code"]) == (504, "time_limit")


async def test_a_run_that_somebody_cancels_is_a_conflict(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with asking(http, office) as (asked, playing):
        await office.local.cancel(playing.assignment.run_id)
        status, body = await asked
        assert (status, body["error"]["code"]) == (409, "chat_cancelled")


async def test_a_client_that_hangs_up_takes_the_run_with_it(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with asking(http, office) as (asked, playing):
        asked.cancel()
        await asyncio.wait({asked})
        async with asyncio.timeout(5):
            while not playing.stop.is_set():
                await office.clock.advance(LEFT_LOOK_S)
                await asyncio.sleep(0.001)
        ended = await outcome(office.local, playing.assignment.run_id)
        assert ended.state is RunState.CANCELLED


@pytest.mark.parametrize("body", [{}, {"message": ""}, {"message": " \n"}, {"message": 5}])
async def test_a_chat_without_a_message_is_refused(
    http: aiohttp.ClientSession, office: Office, body: dict[str, Any]
) -> None:
    status, answer = await _ask(http, body)
    assert status == 400
    assert answer["error"]["hint"]
    assert await office.local.runs() == ()
