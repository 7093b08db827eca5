"""The routes: OpenRunner's, and our own beyond them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType, field

from executor_core.api.openrunner import as_openrunner
from executor_core.control import Control, Submission
from executor_core.errors import ExecutorError
from executor_core.model import RunEnded
from executor_core.web import (
    OWNER,
    Access,
    Listener,
    ServerEvent,
    last_event_id,
    read_json,
    user_of,
)

OPENRUNNER_TIME_LIMIT_S = 300.0
MAX_LIST = 500

_Answer = Callable[[Control, web.Request], Awaitable[object]]


class _Input(Struct):
    text: str


class _Metadata(Struct):
    agent_type: str = "claude_code"
    cwd: str | None = None
    working_dir: str | None = None
    timeout_secs: float = OPENRUNNER_TIME_LIMIT_S
    model: str | None = None
    extra_args: list[str] | UnsetType = UNSET


class _NewRun(Struct):
    input: _Input
    metadata: _Metadata = field(default_factory=_Metadata)


class _Pause(Struct):
    for_s: float | None = None
    reason: str | None = None


def attach(listener: Listener, control: Control) -> None:
    """Register every route of the table on `listener`."""
    listener.statuses.update(owner_only=403, run_unknown=404, queue_full=503, draining=503)
    for method, path, answer in _TABLE:
        is_public = path in _PUBLIC
        access = Access.PUBLIC if is_public else Access.TOKEN
        answers = _handler(answer, control, is_public=is_public)
        listener.route(method, path, answers, access=access)
    for path, own in (("events", False), ("agent-events", True)):
        handler = _stream(listener, control, is_own_format=own)
        listener.route("GET", f"/api/runs/{{run_id}}/{path}", handler, access=Access.STREAM)


def _handler(
    answer: _Answer, control: Control, *, is_public: bool
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        if not is_public:
            _check_owner(request)
        body = msgspec.json.encode(await answer(control, request))
        return web.Response(body=body, content_type="application/json")

    return handle


def _check_owner(request: web.Request) -> None:
    # The hub lets its other users in as well; this computer is not theirs.
    if user_of(request) != OWNER:
        raise ExecutorError("owner_only")


async def _body(request: web.Request, kind: type[Any]) -> Any:
    """The JSON body as `kind`; a wrong one is answered with what is wrong in it."""
    try:
        return msgspec.convert(await read_json(request), kind)
    except msgspec.ValidationError as error:
        raise ExecutorError("bad_body", reason=error) from error


# --- answers -----------------------------------------------------------------------------------


async def _health(_control: Control, _request: web.Request) -> object:
    return {"status": "ok"}


async def _health_agents(control: Control, _request: web.Request) -> object:
    found = await control.agents()
    return {"agents": [{"name": a.name, "title": a.title, "usable": a.is_usable} for a in found]}


async def _status(control: Control, _request: web.Request) -> object:
    return await control.status()


async def _runs(control: Control, request: web.Request) -> object:
    raw = request.query.get("limit", "50")
    limit = int(raw) if raw.isdecimal() and len(raw) < 10 else 0
    if not 1 <= limit <= MAX_LIST:
        raise ExecutorError("bad_value", name="limit", allowed=f"1 … {MAX_LIST}")
    return await control.runs(limit)


async def _run(control: Control, request: web.Request) -> object:
    return await control.run(request.match_info["run_id"])


async def _new_run(control: Control, request: web.Request) -> object:
    wanted = await _body(request, _NewRun)
    if wanted.metadata.extra_args:
        raise ExecutorError("extra_args_refused")
    submission = Submission(
        prompt=wanted.input.text,
        agent=wanted.metadata.agent_type,
        folder=wanted.metadata.cwd or wanted.metadata.working_dir,
        model=wanted.metadata.model,
        time_limit_s=wanted.metadata.timeout_secs,
    )
    return {"run_id": await control.submit(submission)}


async def _submit(control: Control, request: web.Request) -> object:
    return {"run_id": await control.submit(await _body(request, Submission))}


async def _cancel(control: Control, request: web.Request) -> object:
    return {"answer": await control.cancel(request.match_info["run_id"])}


async def _agents(control: Control, _request: web.Request) -> object:
    return await control.agents()


async def _pause(control: Control, request: web.Request) -> object:
    wanted = await _body(request, _Pause)
    return await control.pause(wanted.for_s, wanted.reason)


async def _resume(control: Control, _request: web.Request) -> object:
    return await control.resume()


async def _drain(control: Control, _request: web.Request) -> object:
    return await control.drain()


async def _stop(control: Control, _request: web.Request) -> object:
    await control.stop()
    return {"stopping": True}


async def _console(control: Control, _request: web.Request) -> object:
    return {"url": await control.console()}


async def _credential(control: Control, _request: web.Request) -> object:
    await control.credential_changed()
    return {"changed": True}


def _stream(
    listener: Listener, control: Control, *, is_own_format: bool
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def events(run_id: str, after: int) -> AsyncGenerator[ServerEvent, None]:
        async for event in control.events(run_id, after):
            if is_own_format:
                data = msgspec.to_builtins(event)
                yield ServerEvent(event.seq, data["kind"], data)
            else:
                named = as_openrunner(event)
                # Only the last one carries the number, so that a resume repeats rather than loses.
                for number, (name, data) in enumerate(named, start=1):
                    yield ServerEvent(event.seq - (number < len(named)), name, data)
            if isinstance(event, RunEnded):
                return

    async def handle(request: web.Request) -> web.StreamResponse:
        _check_owner(request)
        run_id = request.match_info["run_id"]
        # Not the stream but the answer says that there is no such run.
        await control.run(run_id)
        return await listener.stream(request, events(run_id, last_event_id(request) or 0))

    return handle


_PUBLIC = ("/health", "/health/agents")

_TABLE: tuple[tuple[str, str, _Answer], ...] = (
    ("GET", "/health", _health),
    ("GET", "/health/agents", _health_agents),
    ("GET", "/api/status", _status),
    ("GET", "/api/runs", _runs),
    ("POST", "/api/runs", _new_run),
    ("GET", "/api/runs/{run_id}", _run),
    ("POST", "/api/runs/{run_id}/cancel", _cancel),
    ("POST", "/api/submissions", _submit),
    ("GET", "/api/agents", _agents),
    ("POST", "/api/pause", _pause),
    ("POST", "/api/resume", _resume),
    ("POST", "/api/drain", _drain),
    ("POST", "/api/stop", _stop),
    ("POST", "/api/console", _console),
    ("POST", "/api/credential", _credential),
)
