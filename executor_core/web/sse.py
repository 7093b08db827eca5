"""Server-sent events: a source of numbered events becomes one response that never blocks it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any, NamedTuple

from aiohttp import web

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs

_log = logging.getLogger("executor.web")

KEEP_ALIVE_S = 15.0
WRITE_TIMEOUT_S = 10.0
PIECE_BYTES = 64 * 1024


class ServerEvent(NamedTuple):
    """One event: `id` grows within its stream, `data` is one JSON object."""

    id: int
    event: str
    data: dict[str, Any]

    def encode(self) -> bytes:
        """The event as it stands on the wire. JSON has no raw line breaks, so one line holds it."""
        data = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        return f"id: {self.id}\nevent: {self.event}\ndata: {data}\n\n".encode("utf-8", "replace")


def last_event_id(request: web.Request) -> int | None:
    """Where a client that comes back wants to go on; None for a new one or nonsense."""
    value = request.headers.get("Last-Event-ID", "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None


async def write_events(
    request: web.Request,
    events: AsyncGenerator[ServerEvent, None],
    *,
    check: Callable[[web.Request], None],
    clock: Clock,
    jobs: Jobs,
    write_timeout_s: float = WRITE_TIMEOUT_S,
) -> web.StreamResponse:
    """Send `events` until they end, the client leaves or stops reading, or `jobs` are closed.

    They also end when `check`, asked with every keep-alive, raises ExecutorError: a token that was
    good may be so no longer. The source is closed in every case. A client that takes none of what
    is written for `write_timeout_s` is cut off; it comes back with `Last-Event-ID`.
    """
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
    )
    async with aclosing(events):
        await response.prepare(request)
        stream = _Stream(request, response, clock, write_timeout_s)
        parts = {
            jobs.spawn(stream.forward(events), "sse"),
            jobs.spawn(stream.keep_alive(check), "sse keep-alive"),
        }
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.wait(parts)
    return response


class _Stream:
    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        clock: Clock,
        write_timeout_s: float,
    ) -> None:
        self._request = request
        self._response = response
        self._clock = clock
        self._write_timeout_s = write_timeout_s
        self._writing = asyncio.Lock()

    async def forward(self, events: AsyncGenerator[ServerEvent, None]) -> None:
        # A client that left is no error of ours; the next request of it finds everything again.
        try:
            await self._write(b": hello\n\n")
            async for event in events:
                await self._write(event.encode())
        except (ConnectionError, TimeoutError):
            return
        except ExecutorError as error:
            # The answer has begun, so nobody can be told any more.
            _log.warning("an event stream ended: %s", error)

    async def keep_alive(self, check: Callable[[web.Request], None]) -> None:
        with suppress(ConnectionError, TimeoutError, ExecutorError):
            while True:
                await self._clock.sleep(KEEP_ALIVE_S)
                check(self._request)
                await self._write(b": alive\n\n")

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            try:
                # In pieces, so that a long event waits here and not in the connection's buffer.
                for start in range(0, len(data), PIECE_BYTES):
                    async with asyncio.timeout(self._write_timeout_s):
                        await self._response.write(data[start : start + PIECE_BYTES])
            except TimeoutError:
                if self._request.transport is not None:
                    self._request.transport.abort()
                raise
