"""The answers of our own routes: each asks one part one thing. The words are those of the parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import count
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from executor_core.api.route import Call
from executor_core.control import CancelAnswer, RunChanges, RunDetail, RunSummary, Status
from executor_core.control.control import LONGEST_PAUSE_S, MOST_SLOTS
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import AgentEvent, Availability, ErrorInfo, RunEnded
from executor_core.services.interface import (
    Check,
    Device,
    DeviceService,
    Installed,
    InstallService,
    LogLine,
)
from executor_core.web import OWNER, TOKEN_LIFE, ServerEvent, download, last_event_id, words_for

MAX_LIST = 500
MAX_LOG_LINES = 10_000


def _said(**schema: float) -> Meta:
    """What the control surface checks, in its own words; here it is only described."""
    return Meta(extra_json_schema=schema)


class Pause(Struct):
    """How long to start nothing new, in seconds, and why; without `for_s` until it is resumed."""

    for_s: Annotated[float, _said(exclusiveMinimum=0, maximum=LONGEST_PAUSE_S)] | None = None
    reason: Annotated[str, Meta(max_length=1000)] | None = None


class SlotCount(Struct):
    """How many runs may live at once."""

    slots: Annotated[int, _said(minimum=1, maximum=MOST_SLOTS)]


class Login(Struct):
    """A name, under either of its two names, and a password."""

    password: str
    username: str | None = None
    user_name: str | None = None


class Limit(Struct):
    """How many runs to list; with `before`, a run id, of those older than that run."""

    limit: Annotated[int, Meta(ge=1, le=MAX_LIST)] = 50
    before: Annotated[str, Meta(max_length=100)] | None = None


class AgentsQuery(Struct):
    """Whether the login shell is asked again before, for what changed in its start-up files."""

    anew: bool = False


class Lines(Struct):
    """How many entries of the log to show."""

    lines: Annotated[int, Meta(ge=0, le=MAX_LOG_LINES)] = 200


class RunId(Struct):
    """The run that was accepted."""

    run_id: str


class Cancelled(Struct):
    """What the cancel found."""

    answer: CancelAnswer


class Done(Struct):
    """It was done."""

    done: bool = True


class Stopping(Struct):
    """The executor is about to end."""

    stopping: bool = True


class Console(Struct):
    """Where the console is, with a ticket that signs in once; null without a hub."""

    url: str | None


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
    error: ErrorInfo | None = None


class Devices(Struct):
    """The user's devices, the default first."""

    items: tuple[Device, ...]
    total: int


async def login(call: Call) -> SignedIn:
    users, wanted = call.parts.users, call.body
    name = wanted.user_name or wanted.username
    if users is None or not name:
        raise ExecutorError("login_failed")
    token = await users.login(
        name,
        wanted.password,
        address=call.request.remote or "",
        is_known=call.parts.listener.known_user(call.request) in (OWNER, name),
    )
    life_s = int(TOKEN_LIFE.total_seconds())
    return SignedIn(token=token, access_token=token, expires_in=life_s)


# --- runs --------------------------------------------------------------------------------------


async def runs(call: Call) -> tuple[RunSummary, ...]:
    return await call.control.runs(call.query.limit, call.query.before)


async def run(call: Call) -> RunDetail:
    return await call.control.run(call.run_id)


async def submit(call: Call) -> RunId:
    return RunId(await call.control.submit(call.body))


async def retry(call: Call) -> RunId:
    return RunId(await call.control.retry(call.run_id))


async def cancel(call: Call) -> Cancelled:
    return Cancelled(await call.control.cancel(call.run_id))


async def changes(call: Call) -> RunChanges:
    return await call.control.changes_of(call.run_id)


async def artifact(call: Call) -> web.Response:
    name = call.request.match_info["name"]
    return download(await call.control.artifact(call.run_id, name), name)


async def folders_in_use(call: Call) -> tuple[str, ...]:
    return await call.control.folders_in_use()


async def agent_events(call: Call) -> AsyncGenerator[ServerEvent, None]:
    event: AgentEvent
    async for event in call.control.events(call.run_id, last_event_id(call.request) or 0):
        data = msgspec.to_builtins(event)
        yield ServerEvent(event.seq, data["kind"], data)
        if isinstance(event, RunEnded):
            return


# --- the executor ------------------------------------------------------------------------------


async def status(call: Call) -> Status:
    return await call.control.status()


async def status_events(call: Call) -> AsyncGenerator[ServerEvent, None]:
    numbers = count(1)
    async for told in call.control.changes():
        yield ServerEvent(next(numbers), "status", msgspec.to_builtins(told))


async def agents(call: Call) -> tuple[Availability, ...]:
    return await call.control.agents(anew=call.query.anew)


async def check_installable(call: Call) -> None:
    """What is known to be missing is said before anything begins."""
    await _install_desk(call).plan(call.request.match_info["name"])


async def install(call: Call) -> AsyncGenerator[ServerEvent, None]:
    """A client that leaves ends the installation; everything is then as before."""
    told: asyncio.Queue[tuple[str, InstallEvent] | None] = asyncio.Queue()

    async def work() -> None:
        name = call.request.match_info["name"]
        try:
            done = await _install_desk(call).install(
                name, lambda words: told.put_nowait(("step", InstallEvent(text=words)))
            )
        except ExecutorError as error:
            info = words_for(call.request, error)
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


def _install_desk(call: Call) -> InstallService:
    assert call.parts.install is not None
    return call.parts.install


async def pause(call: Call) -> Status:
    return await call.control.pause(call.body.for_s, call.body.reason)


async def resume(call: Call) -> Status:
    return await call.control.resume()


async def resize(call: Call) -> Status:
    return await call.control.resize(call.body.slots)


async def drain(call: Call) -> Status:
    return await call.control.drain()


async def stop(call: Call) -> Stopping:
    await call.control.stop()
    return Stopping()


async def console(call: Call) -> Console:
    return Console(await call.control.console())


async def try_links(call: Call) -> Done:
    await call.control.try_links()
    return Done()


async def credential(call: Call) -> Done:
    await call.control.credential_changed()
    return Done()


# --- devices, health, log ----------------------------------------------------------------------


async def devices(call: Call) -> Devices:
    found = await _device_desk(call).devices()
    return Devices(found, len(found))


async def make_default(call: Call) -> Devices:
    await _device_desk(call).make_default(call.request.match_info["device_id"])
    return await devices(call)


async def clear_default(call: Call) -> Devices:
    await _device_desk(call).clear_default()
    return await devices(call)


async def remove_device(call: Call) -> Devices:
    await _device_desk(call).remove(call.request.match_info["device_id"])
    return await devices(call)


def _device_desk(call: Call) -> DeviceService:
    assert call.parts.devices is not None
    return call.parts.devices


async def doctor(call: Call) -> tuple[Check, ...]:
    assert call.parts.health is not None
    return tuple([check async for check in call.parts.health.examine()])


async def log(call: Call) -> tuple[LogLine, ...]:
    assert call.parts.log is not None
    return tuple([line async for line in call.parts.log.lines(call.query.lines)])


async def log_events(call: Call) -> AsyncGenerator[ServerEvent, None]:
    assert call.parts.log is not None
    numbers = count(1)
    async for line in call.parts.log.lines(call.query.lines, follow=True):
        yield ServerEvent(next(numbers), "log", msgspec.to_builtins(line))
