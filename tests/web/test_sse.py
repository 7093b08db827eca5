"""Event streams: their bytes, and that no client can hold the source or the listener."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from executor_core.clock import SystemClock
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.web import Access, Listener, ServerEvent, last_event_id
from executor_core.web.sse import KEEP_ALIVE_S, write_events
from tests.support.clock import JumpingClock
from tests.web.conftest import BEARER, TOKEN


class Source:
    """Three numbered events, then silence; remembers whether it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def events(self, after: int) -> AsyncGenerator[ServerEvent, None]:
        try:
            for number in range(after + 1, 4):
                yield ServerEvent(number, "token", {"content": f"é\n{number}"})
            await asyncio.Event().wait()
        finally:
            self.closed.set()


@pytest.fixture
async def source() -> Source:
    return Source()


@pytest.fixture
async def stream(listener: Listener, source: Source) -> AsyncIterator[aiohttp.ClientSession]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await listener.stream(request, source.events(last_event_id(request) or 0))

    listener.route("GET", "/events", handle, access=Access.STREAM)
    async with aiohttp.ClientSession(await listener.start(), headers=BEARER) as http:
        yield http


async def _lines(answer: aiohttp.ClientResponse, wanted: str) -> list[str]:
    """Everything up to the first line that starts with `wanted`."""
    lines: list[str] = []
    async with asyncio.timeout(5):
        while not (lines and lines[-1].startswith(wanted)):
            lines.append((await answer.content.readline()).decode().rstrip("\n"))
    return lines


async def test_an_event_is_id_name_and_one_line_of_data(stream: aiohttp.ClientSession) -> None:
    async with stream.get("/events") as answer:
        assert answer.content_type == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        lines = await _lines(answer, "id: 2")
    assert lines[lines.index("id: 1") :][:3] == [
        "id: 1",
        "event: token",
        'data: {"content":"é\\n1"}',
    ]


async def test_a_client_that_comes_back_gets_only_what_is_new(
    stream: aiohttp.ClientSession,
) -> None:
    async with stream.get("/events", headers={"Last-Event-ID": "2"}) as answer:
        lines = await _lines(answer, "data:")
    assert [line for line in lines if line.startswith("id:")] == ["id: 3"]


@pytest.mark.parametrize("value", ["", "x", "-1", "٣", "9" * 30])
async def test_a_foreign_last_event_id_means_from_the_start(
    stream: aiohttp.ClientSession, value: str
) -> None:
    async with stream.get("/events", headers={"Last-Event-ID": value}) as answer:
        assert "id: 1" in await _lines(answer, "data:")


async def test_silence_is_kept_alive_by_comments(
    stream: aiohttp.ClientSession, clock: JumpingClock
) -> None:
    async with stream.get("/events") as answer:
        await _lines(answer, 'data: {"content":"é\\n3"}')
        await clock.advance(KEEP_ALIVE_S + 1)
        assert (await _lines(answer, ":"))[-1] == ": alive"


async def test_a_token_that_is_good_no_longer_ends_its_open_stream(
    stream: aiohttp.ClientSession, listener: Listener, clock: JumpingClock
) -> None:
    users = {"token-of-anna": "anna", "token-of-bert": "bert"}
    listener.accept(users.get)
    async with (
        stream.get("/events", headers={"Authorization": "Bearer token-of-anna"}) as annas,
        stream.get("/events?access_token=token-of-bert", headers={"Authorization": ""}) as berts,
        stream.get("/events") as owners,
    ):
        for answer in (annas, berts, owners):
            await _lines(answer, 'data: {"content":"é\\n3"}')
        await clock.advance(KEEP_ALIVE_S + 1)
        for answer in (annas, berts, owners):
            assert (await _lines(answer, ":"))[-1] == ": alive"
        users.clear()
        await clock.advance(KEEP_ALIVE_S + 1)
        async with asyncio.timeout(5):
            assert await annas.read() == b"\n"
            assert await berts.read() == b"\n"
        assert (await _lines(owners, ":"))[-1] == ": alive"


async def test_stopping_the_listener_ends_the_stream_and_its_source(
    stream: aiohttp.ClientSession, listener: Listener, source: Source
) -> None:
    async with stream.get("/events") as answer:
        await _lines(answer, "id: 3")
        async with asyncio.timeout(1.5):
            await listener.stop()
        rest = await answer.content.read()
        assert b"id: 1" not in rest
        assert source.closed.is_set()


async def test_a_client_that_does_not_read_is_cut_off_and_the_source_let_go() -> None:
    closed = asyncio.Event()
    jobs = Jobs("test")

    async def flood() -> AsyncGenerator[ServerEvent, None]:
        try:
            number = 0
            while True:
                number += 1
                yield ServerEvent(number, "token", {"content": "x" * 100_000})
        finally:
            closed.set()

    async def handle(request: web.Request) -> web.StreamResponse:
        return await write_events(
            request,
            flood(),
            check=lambda _request: None,
            clock=SystemClock(),
            jobs=jobs,
            write_timeout_s=0.2,
        )

    listener = Listener(port=0, token=TOKEN)
    listener.route("GET", "/flood", handle, access=Access.PUBLIC)
    await listener.start()
    with socket.create_connection(("127.0.0.1", listener.port)) as client:
        host = f"127.0.0.1:{listener.port}"
        client.sendall(f"GET /flood HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            await closed.wait()
    await jobs.close()
    await listener.stop()


async def test_a_source_that_fails_ends_the_stream_and_is_said_once(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing() -> AsyncGenerator[ServerEvent, None]:
        yield ServerEvent(1, "token", {})
        raise ExecutorError("unknown_path")

    async def handle(request: web.Request) -> web.StreamResponse:
        return await listener.stream(request, failing())

    listener.route("GET", "/failing", handle, access=Access.STREAM)
    base = await listener.start()
    async with aiohttp.ClientSession(base, headers=BEARER) as http, http.get("/failing") as answer:
        assert (await answer.read()).endswith(b"data: {}\n\n")
    [said] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert said.exc_info is None
    assert "[unknown_path]" in said.getMessage()
