"""OpenRunner's way to ask for a run: `POST /api/runs`, its event stream, and `POST /api/chat`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Struct, field

from executor_core.api.route import Call
from executor_core.control import Control, Submission
from executor_core.control.control import (
    LONGEST_RUN_S,
    NO_RUN,
    NOT_ACCEPTED,
    PROMPT_BODY_BYTES,
    RunId,
)
from executor_core.control.endpoint import endpoint, event_stream, said
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import (
    AgentEvent,
    AgentResult,
    FileChanged,
    Notice,
    Outcome,
    RawEvent,
    ReasoningDelta,
    RunEnded,
    RunStarted,
    RunState,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    UsageReported,
)
from executor_core.texts import paragraph
from executor_core.web import ServerEvent, error_response, words_for

TIME_LIMIT_S = 300.0
DEFAULT_AGENT = "claude_code"
AGENTS = {
    "claude": "claude_code",
    "claude_code": "claude_code",
    "codex": "codex",
    "opencode": "opencode",
}
"""OpenRunner's names of agents, which may also stand where it says `model`."""
FAILED_STATUS = {"device_stopped": 503, "time_limit": 504}
"""The HTTP status of a chat whose run failed; 502 for the errors of agents."""

# The control surface checks these, in its own words; here they are only described.
_Text = Annotated[str, said(minLength=1)]
_Seconds = Annotated[float, said(exclusiveMinimum=0, maximum=LONGEST_RUN_S)]


class Input(Struct):
    """What to do."""

    text: _Text


class Metadata(Struct):
    """By whom, where and for how long (seconds). `cwd` and `working_dir` are one thing."""

    agent_type: str = DEFAULT_AGENT
    cwd: str | None = None
    working_dir: str | None = None
    timeout_secs: _Seconds = TIME_LIMIT_S
    model: str | None = None
    extra_args: tuple[str, ...] | None = None


class NewRun(Struct):
    """A run, as OpenRunner asks for it."""

    input: Input
    metadata: Metadata = field(default_factory=Metadata)


class Chat(Struct):
    """One message to an agent in a fresh folder; `model` names an agent, or else a model."""

    message: _Text
    model: str | None = None


class ChatAnswer(Struct):
    """All that the agent said."""

    message: str
    agent_type: str
    run_id: str


class OpenRunnerEvent(Struct):
    """The data of one event; the fields beside `type`, which repeats its name, are its kind's."""

    type: Literal[
        "started",
        "token",
        "reasoning",
        "tool_call",
        "tool_result",
        "file_change",
        "usage",
        "notice",
        "error",
        "done",
    ]


_Named = tuple[str, dict[str, Any]]


@endpoint("POST", "/api/runs", errors=NOT_ACCEPTED, body_limit=PROMPT_BODY_BYTES)
async def new_run(call: Call, wanted: NewRun) -> RunId:
    """Ask for a run."""
    asked = wanted.metadata
    submission = Submission(
        prompt=wanted.input.text,
        agent=AGENTS.get(asked.agent_type, asked.agent_type),
        folder=asked.cwd or asked.working_dir,
        model=asked.model,
        time_limit_s=asked.timeout_secs,
        extra_args=asked.extra_args or (),
    )
    return RunId(await call.control.submit(submission))


@event_stream("/api/runs/{run_id}/events", gives=OpenRunnerEvent, check="run", errors=NO_RUN)
async def run_events(call: Call, run_id: str, after: int = 0) -> AsyncIterator[ServerEvent]:
    """What happens in a run, in OpenRunner's words."""
    async for event in call.control.events(run_id, after):
        named = as_openrunner(words_for(call.request, event))
        # Only the last one carries the number, so that a resume repeats rather than loses.
        for number, (name, data) in enumerate(named, start=1):
            yield ServerEvent(event.seq - (number < len(named)), name, data)
        if isinstance(event, RunEnded):
            return


@endpoint("POST", "/api/chat", gives=ChatAnswer, errors=NOT_ACCEPTED)
async def chat(call: Call, wanted: Chat) -> ChatAnswer | web.Response:
    """Ask, and wait to the end; a client that hangs up takes the run with it."""
    named = AGENTS.get(wanted.model or DEFAULT_AGENT)
    agent = named or DEFAULT_AGENT
    submission = Submission(
        prompt=wanted.message,
        agent=agent,
        model=None if named else wanted.model,
        time_limit_s=TIME_LIMIT_S,
    )
    run_id = await call.control.submit(submission)
    outcome = await _outcome_for_client(call, run_id)
    if outcome.state is RunState.COMPLETED:
        return ChatAnswer(message=outcome.text, agent_type=agent, run_id=run_id)
    if outcome.state is RunState.CANCELLED or outcome.error is None:
        cancelled = ExecutorError("chat_cancelled", run_id=run_id).message
        return error_response(call.request, cancelled, 409, run_id=run_id)
    status = FAILED_STATUS.get(outcome.error.code, 502)
    return error_response(call.request, outcome.error, status, run_id=run_id)


async def _outcome_for_client(call: Call, run_id: str) -> Outcome:
    jobs = Jobs("chat")
    ended = jobs.spawn(_outcome(call.control, run_id), "outcome")
    left = jobs.spawn(call.parts.listener.until_left(call.request), "client left")
    try:
        await asyncio.wait({ended, left}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await call.control.cancel(run_id)
        return await ended
    except asyncio.CancelledError:
        await call.control.cancel(run_id)
        raise
    finally:
        await jobs.close()


async def _outcome(control: Control, run_id: str) -> Outcome:
    async for event in control.events(run_id):
        if isinstance(event, RunEnded):
            return event.outcome
    raise ExecutorError("executor_lost")


def as_openrunner(event: AgentEvent) -> list[_Named]:
    """The stream events for one of ours: name and data, whose `type` repeats the name.

    An error in it has its words already (`in_words`).

    A failed run is an `error` and then `done`, so that a reader may wait for `done` alone.
    """
    match event:
        case RunStarted(agent=agent):
            return _one("started", agent_type=agent)
        case TextDelta(text=words):
            return _one("token", content=words)
        case ReasoningDelta(text=words):
            return _one("reasoning", content=words)
        case ToolStarted():
            return _one("tool_call", id=event.call_id, name=event.name, input=event.input)
        case ToolFinished():
            return _one(
                "tool_result", id=event.call_id, output=event.output, is_error=event.is_error
            )
        case FileChanged():
            return _one("file_change", path=event.path, change=event.change)
        case UsageReported(usage=usage):
            return _one("usage", usage=msgspec.to_builtins(usage))
        case Notice():
            return _one("notice", code=event.code, content=event.text)
        case SessionStarted():
            return _one("notice", code="session", content=event.session_id)
        case RunEnded():
            return _ended(event)
        case AgentResult() | RawEvent():
            return []


def _ended(event: RunEnded) -> list[_Named]:
    outcome = event.outcome
    named: list[_Named] = []
    if outcome.state is RunState.FAILED and outcome.error is not None:
        error = outcome.error
        said = paragraph(error.given_title, error.given_detail, error.given_hint)
        named += _one("error", code=error.code, message=said)
    start = outcome.timings.started_at or outcome.timings.accepted_at
    duration = outcome.timings.finished_at - start
    return named + _one(
        "done",
        status=outcome.state.value,
        text=outcome.text,
        usage=msgspec.to_builtins(outcome.usage),
        duration_ms=int(duration.total_seconds() * 1000),
    )


def _one(event: str, /, **data: object) -> list[_Named]:
    return [(event, {"type": event, **data})]
