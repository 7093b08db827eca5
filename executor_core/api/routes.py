"""The table of what is served: the rows of the protocols, and a few of our own beyond them.

What is in it is served, stands in `/openapi.json`, and is tried by the tests.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from itertools import count
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from executor_core import __version__
from executor_core.api import openrunner
from executor_core.api.openapi import document
from executor_core.api.route import Call, Parts, access_of, handler
from executor_core.control import Control
from executor_core.control.endpoint import Endpoint, endpoint, endpoints, event_stream
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.interface import (
    Check,
    DeviceService,
    HealthService,
    Installed,
    InstallService,
    LogLine,
    LogService,
)
from executor_core.texts import Message
from executor_core.web import OWNER, TOKEN_LIFE, Listener, ServerEvent, Users, words_for

_LineCount = Annotated[int, Meta(ge=0, le=10_000)]


class Health(Struct):
    """It listens."""

    status: str = "ok"


class UsableAgent(Struct):
    """What everybody may know of an agent."""

    name: str
    title: str
    usable: bool


class UsableAgents(Struct):
    """The agents of this computer."""

    agents: tuple[UsableAgent, ...]


class Login(Struct):
    """A name, under either of its two names, and a password."""

    password: str
    username: str | None = None
    user_name: str | None = None


class SignedIn(Struct):
    """A bearer token, under both of its names, and for how many seconds it is good."""

    token: str
    access_token: str
    expires_in: int
    token_type: str = "bearer"  # noqa: S105  the kind, no token


class InstallEvent(Struct, omit_defaults=True):
    """A step, in a sentence; the last event is `installed` or `failed`, and says what or why."""

    text: str = ""
    installed: Installed | None = None
    error: Message | None = None


def attach(
    listener: Listener,
    control: Control,
    *,
    users: Users | None = None,
    devices: DeviceService | None = None,
    health: HealthService | None = None,
    log: LogService | None = None,
    install: InstallService | None = None,
) -> None:
    """Register the routes of every part that is given."""
    parts = Parts(
        listener=listener,
        control=control,
        users=users,
        devices=devices,
        health=health,
        log=log,
        install=install,
    )
    for row in ROUTES:
        listener.statuses.update(row.errors)
    listener.statuses["owner_only"] = 403
    if users is not None:
        listener.accept(users.verify)
    for row in _served(parts):
        listener.route(
            row.method,
            row.path,
            handler(row, parts),
            access=access_of(row),
            body_limit=row.body_limit,
        )


def _served(parts: Parts) -> list[Endpoint]:
    return [row for row in ROUTES if getattr(parts, row.part) is not None]


@endpoint("GET", "/health", is_public=True)
async def health(_call: Call) -> Health:
    """Whether it listens."""
    return Health()


@endpoint("GET", "/health/agents", is_public=True)
async def health_agents(call: Call) -> UsableAgents:
    """Which agents can work."""
    found = await call.control.agents()
    return UsableAgents(tuple(UsableAgent(a.name, a.title, a.is_usable) for a in found))


@endpoint("GET", "/openapi.json")
async def describe(call: Call) -> dict[str, Any]:
    """This description."""
    return document(_served(call.parts), __version__)


@endpoint(
    "POST", "/api/auth/login", part="users", is_public=True,
    errors={"login_failed": 400, "login_slowed": 429, "users_unreadable": 409},
)  # fmt: skip
async def login(call: Call, wanted: Login) -> SignedIn:
    """A token for a name and a password."""
    users: Users = call.part
    name = wanted.user_name or wanted.username
    if not name:
        raise ExecutorError("login_failed")
    token = await users.login(
        name,
        wanted.password,
        address=call.request.remote or "",
        is_known=call.parts.listener.known_user(call.request) in (OWNER, name),
    )
    life_s = int(TOKEN_LIFE.total_seconds())
    return SignedIn(token=token, access_token=token, expires_in=life_s)


@endpoint("GET", "/api/doctor", part="health")
async def doctor(call: Call) -> tuple[Check, ...]:
    """All checks of this computer."""
    service: HealthService = call.part
    return tuple([check async for check in service.examine()])


@endpoint("GET", "/api/log", part="log")
async def log(call: Call, lines: _LineCount = 200) -> tuple[LogLine, ...]:
    """The end of the log."""
    service: LogService = call.part
    return tuple([line async for line in service.lines(lines)])


@event_stream("/api/log/events", part="log", event="log")
def log_events(call: Call, lines: _LineCount = 200) -> AsyncIterator[LogLine]:
    """The end of the log, and what comes."""
    service: LogService = call.part
    return service.lines(lines, follow=True)


@endpoint(
    "POST", "/api/agents/{name}/install", part="install", is_stream=True, gives=InstallEvent,
    check="plan", errors={"agent_not_installable": 404, "npm_missing": 409},
)  # fmt: skip
async def install(call: Call, name: str) -> AsyncIterator[ServerEvent]:
    """Install an agent, or update it, step by step.

    A client that leaves ends the installation; everything is then as before.
    """
    service: InstallService = call.part
    told: asyncio.Queue[tuple[str, InstallEvent] | None] = asyncio.Queue()

    async def work() -> None:
        try:
            done = await service.install(
                name, lambda words: told.put_nowait(("step", InstallEvent(text=words)))
            )
        except ExecutorError as error:
            info = words_for(call.request, error.message)
            told.put_nowait(("failed", InstallEvent(text=info.sentence, error=info)))
        else:
            told.put_nowait(("installed", InstallEvent(installed=done)))

    jobs, numbers = Jobs("install"), count(1)
    jobs.spawn(work(), "install").add_done_callback(lambda _: told.put_nowait(None))
    try:
        while (event := await told.get()) is not None:
            yield ServerEvent(next(numbers), event[0], msgspec.to_builtins(event[1]))
    finally:
        await jobs.close()


ROUTES: tuple[Endpoint, ...] = (
    *endpoints(sys.modules[__name__]),
    *endpoints(openrunner),
    *endpoints(Control),
    *endpoints(DeviceService),
)
