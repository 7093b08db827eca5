"""What a route is: one row of the table that is served, documented and tested."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Struct

from executor_core.control import Control
from executor_core.control.control import MAX_PROMPT_BYTES
from executor_core.errors import ExecutorError
from executor_core.services.interface import (
    DeviceService,
    HealthService,
    InstallService,
    LogService,
)
from executor_core.web import (
    BODY_LIMIT_BYTES,
    OWNER,
    Access,
    Handler,
    Listener,
    ServerEvent,
    Users,
    read_json,
    user_of,
)

PROMPT_BODY_BYTES = 6 * MAX_PROMPT_BYTES + BODY_LIMIT_BYTES
"""Room for the longest prompt, also where JSON spells each byte of it in six."""


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
    """One request, taken apart: `body` and `query` are what the route said that it takes."""

    parts: Parts
    request: web.Request
    body: Any
    query: Any

    @property
    def control(self) -> Control:
        return self.parts.control

    @property
    def run_id(self) -> str:
        return self.request.match_info["run_id"]


class Route(NamedTuple):
    """One row. `answer` returns a `gives`, or a whole response where it must choose the status.

    `body` and `query` are the structs that the JSON and the parameters must fit; `part` names the
    part that must be there. All but public routes are the owner's alone.
    """

    method: str
    path: str
    summary: str
    answer: Callable[[Call], Awaitable[object]]
    gives: Any
    body: Any = None
    query: Any = None
    access: Access = Access.TOKEN
    part: str = "control"
    body_limit: int = BODY_LIMIT_BYTES

    def handler(self, parts: Parts) -> Handler:
        """What the listener calls."""

        async def handle(request: web.Request) -> web.StreamResponse:
            answer = await self.answer(await _call(self, parts, request))
            if isinstance(answer, web.Response):
                return answer
            return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

        return handle


class Stream(NamedTuple):
    """One row whose answer are server-sent events, each a `gives` as JSON.

    `check` may refuse before the stream begins, which afterwards nobody can. `can_resume`: it goes
    on after `Last-Event-ID`.
    """

    path: str
    summary: str
    events: Callable[[Call], AsyncGenerator[ServerEvent, None]]
    gives: Any
    check: Callable[[Call], Awaitable[object]] | None = None
    query: Any = None
    can_resume: bool = False
    part: str = "control"
    method: str = "GET"
    body: Any = None
    access: Access = Access.STREAM
    body_limit: int = BODY_LIMIT_BYTES

    def handler(self, parts: Parts) -> Handler:
        """What the listener calls."""

        async def handle(request: web.Request) -> web.StreamResponse:
            call = await _call(self, parts, request)
            if self.check is not None:
                await self.check(call)
            return await parts.listener.stream(request, self.events(call))

        return handle


async def _call(route: Route | Stream, parts: Parts, request: web.Request) -> Call:
    # The hub lets its other users in as well; this computer is not theirs.
    if route.access is not Access.PUBLIC and user_of(request) != OWNER:
        raise ExecutorError("owner_only")
    body = query = None
    try:
        if route.body is not None:
            body = msgspec.convert(await read_json(request), route.body)
        if route.query is not None:
            query = msgspec.convert(dict(request.query), route.query, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise ExecutorError("bad_body", reason=error) from error
    return Call(parts, request, body, query)
