"""What serves a row of the table: who may ask, what came, and the answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from itertools import count
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Struct

from executor_core.control import Control
from executor_core.control.endpoint import Endpoint
from executor_core.errors import ExecutorError
from executor_core.services.interface import (
    DeviceService,
    HealthService,
    InstallService,
    LogService,
)
from executor_core.web import (
    OWNER,
    Access,
    Handler,
    Listener,
    ServerEvent,
    Users,
    download,
    last_event_id,
    read_json,
    user_of,
    words_for,
)


class Parts(Struct, kw_only=True, frozen=True):
    """What the routes speak for. Routes of a part that is None are not there."""

    listener: Listener
    control: Control
    users: Users | None = None
    devices: DeviceService | None = None
    health: HealthService | None = None
    log: LogService | None = None
    install: InstallService | None = None


class Call(NamedTuple):
    """One request of a route; `part` is the part that the row names."""

    parts: Parts
    part: Any
    request: web.Request

    @property
    def control(self) -> Control:
        return self.parts.control


def access_of(row: Endpoint) -> Access:
    """What a request of it must bring."""
    if row.is_public:
        return Access.PUBLIC
    return Access.STREAM if row.is_stream and row.method == "GET" else Access.TOKEN


def handler(row: Endpoint, parts: Parts) -> Handler:
    """What the listener calls."""

    async def handle(request: web.Request) -> web.StreamResponse:
        # The hub lets its other users in as well; this computer is not theirs.
        if not row.is_public and user_of(request) != OWNER:
            raise ExecutorError("owner_only")
        call = Call(parts, getattr(parts, row.part), request)
        arguments = row.unpacked(request.match_info, await _given(row, request))
        if row.is_stream:
            return await _stream(row, call, arguments)
        answer = await _function(row, call)(**arguments)
        if row.then is not None:
            answer = await getattr(call.part, row.then)()
        if isinstance(answer, web.Response):
            return answer
        if row.answer is bytes:
            return download(answer, arguments["name"])
        body = msgspec.json.encode(words_for(request, row.enclosed(answer)))
        return web.Response(body=body, content_type="application/json")

    return handle


async def _given(row: Endpoint, request: web.Request) -> Struct | None:
    try:
        if row.body is not None:
            return msgspec.convert(await read_json(request), row.body)
        if row.query is not None:
            return msgspec.convert(dict(request.query), row.query, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise ExecutorError("bad_body", reason=error) from error
    return None


def _function(row: Endpoint, call: Call, name: str | None = None) -> Callable[..., Any]:
    if row.is_method or name is not None:
        found: Callable[..., Any] = getattr(call.part, name or row.name)
        return found
    return lambda **arguments: row.function(call, **arguments)


async def _stream(row: Endpoint, call: Call, arguments: dict[str, Any]) -> web.StreamResponse:
    # What is wrong is said before the stream begins: afterwards nobody can.
    if row.check is not None:
        await _function(row, call, row.check)(**call.request.match_info)
    if row.can_resume:
        arguments["after"] = last_event_id(call.request) or 0
    events = _function(row, call)(**arguments)
    return await call.parts.listener.stream(call.request, _sent(row, call.request, events))


async def _sent(
    row: Endpoint, request: web.Request, events: Any
) -> AsyncGenerator[ServerEvent, None]:
    numbers = count(1)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ServerEvent):
                yield event
                continue
            data = msgspec.to_builtins(words_for(request, event))
            if row.event is not None:
                yield ServerEvent(next(numbers), row.event, data)
            else:
                yield ServerEvent(event.seq, data["kind"], data)
            if row.last is not None and isinstance(event, row.last):
                return
