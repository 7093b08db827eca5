"""The event streams of a run: OpenRunner's words, our own, resumption, and leaving."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import aiohttp
import pytest

from executor_core.errors import ExecutorError
from executor_core.web.sse import KEEP_ALIVE_S
from tests.support.clock import settle
from tests.support.office import RICH, TOKEN, Office


class Sent(NamedTuple):
    """One event as it came."""

    id: int
    name: str
    data: dict[str, Any]


async def read_event(answer: aiohttp.ClientResponse) -> Sent | None:
    """The next event; None at the end of the stream."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(5):
        while line := (await answer.content.readline()).decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name in ("id", "event", "data"):
                fields[name] = value
            if line == "\n" and fields:
                return Sent(int(fields["id"]), fields["event"], json.loads(fields["data"]))
    return None


async def read_all(http: aiohttp.ClientSession, path: str, after: int | None = None) -> list[Sent]:
    """The whole stream, which must end by itself."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with http.get(path, headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        events = []
        while (event := await read_event(answer)) is not None:
            events.append(event)
        return events


async def test_a_rich_run_is_told_in_openrunners_words(
    http: aiohttp.ClientSession, office: Office
) -> None:
    run_id = await office.complete(*RICH)
    sent = await read_all(http, f"/api/runs/{run_id}/events")
    assert all(event.data["type"] == event.name for event in sent)
    assert [(event.name, event.data | {"type": ""}) for event in sent] == [
        ("started", {"type": "", "agent_type": "claude_code"}),
        ("notice", {"type": "", "code": "session", "content": "s-1"}),
        ("reasoning", {"type": "", "content": "hm"}),
        ("token", {"type": "", "content": "Hé\n"}),
        ("notice", {"type": "", "code": "model_retry", "content": "again"}),
        ("tool_call", {"type": "", "id": "t1", "name": "Write", "input": {"path": "a.txt"}}),
        ("tool_result", {"type": "", "id": "t1", "output": "ok", "is_error": False}),
        ("file_change", {"type": "", "path": "a.txt", "change": "written"}),
        ("usage", {"type": "", "usage": {"input_tokens": 3, "output_tokens": 4}}),
        ("token", {"type": "", "content": "llo"}),
        ("done", {"type": "", "status": "completed", "text": "Hé\nllo", "usage": None}
         | {"duration_ms": 0}),
    ]  # fmt: skip
    assert [event.id for event in sent] == sorted(event.id for event in sent)


async def test_a_failed_run_is_an_error_and_then_done(
    http: aiohttp.ClientSession, office: Office
) -> None:
    run_id = await office.begin()
    failure = ExecutorError("model_overloaded", status=529, reason="too much").message
    office.playing.finish(error=failure)
    error, done = (await read_all(http, f"/api/runs/{run_id}/events"))[-2:]
    assert error.data == {
        "type": "error",
        "code": "model_overloaded",
        "message": failure.sentence,
    }
    assert (done.name, done.data["status"]) == ("done", "failed")


async def test_a_cancelled_run_is_done_and_no_error(
    http: aiohttp.ClientSession, office: Office
) -> None:
    run_id = await office.begin()
    await office.local.cancel(run_id)
    sent = await read_all(http, f"/api/runs/{run_id}/events")
    assert [event.name for event in sent] == ["started", "done"]
    assert sent[-1].data["status"] == "cancelled"


@pytest.mark.parametrize("path", ["events", "agent-events"])
async def test_a_stream_that_goes_on_after_any_event_loses_none(
    http: aiohttp.ClientSession, office: Office, path: str
) -> None:
    run_id = await office.begin()
    for told in RICH:
        office.playing.emit(told)
    office.playing.finish(error=ExecutorError("internal").message)
    path = f"/api/runs/{run_id}/{path}"
    whole = await read_all(http, path)
    for index, event in enumerate(whole[:-1]):
        rest = await read_all(http, path, event.id)
        assert rest[-len(whole[index + 1 :]) :] == whole[index + 1 :]
    assert (await read_all(http, path, whole[-1].id))[-1].name == whole[-1].name


async def test_a_stream_comes_as_the_run_works_and_is_kept_alive_in_silence(
    http: aiohttp.ClientSession, office: Office
) -> None:
    run_id = await office.begin()
    async with http.get(f"/api/runs/{run_id}/events") as answer:
        assert await read_event(answer) is not None
        office.playing.say("first")
        assert await read_event(answer) == (2, "token", {"type": "token", "content": "first"})
        await settle()
        await office.clock.advance(KEEP_ALIVE_S + 1)
        async with asyncio.timeout(5):
            assert await answer.content.readline() == b": alive\n"
        office.playing.finish()
        done = await read_event(answer)
        assert done is not None
        assert done.name == "done"
        assert await read_event(answer) is None


async def test_a_client_that_leaves_takes_its_stream_with_it(
    http: aiohttp.ClientSession, office: Office
) -> None:
    run_id = await office.begin()
    before = asyncio.all_tasks()
    async with http.get(f"/api/runs/{run_id}/events") as answer:
        await read_event(answer)
        answer.close()
    async with asyncio.timeout(5):
        while any("sse" in job.get_name() for job in asyncio.all_tasks() - before):
            office.playing.say("still here?")
            await asyncio.sleep(0)
    assert (await office.local.run(run_id)).run.state == "running"


async def test_a_browser_may_send_its_token_in_the_query_of_a_stream_only(
    office: Office,
) -> None:
    run_id = await office.complete()
    async with aiohttp.ClientSession(office.listener.base_url) as http:
        query = f"?access_token={TOKEN}"
        assert await read_all(http, f"/api/runs/{run_id}/events{query}")
        async with http.get(f"/api/runs/{run_id}{query}") as answer:
            assert answer.status == 401
        async with http.get(f"/api/runs/{run_id}/events?access_token=second-token") as answer:
            assert answer.status == 403
