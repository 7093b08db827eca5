"""OpenRunner's way to ask for a run: `POST /api/runs`, its event stream, and `POST /api/chat`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct, field

from executor_core.api.answers import RunId
from executor_core.api.openrunner import as_openrunner
from executor_core.api.route import Call
from executor_core.control import Control, Submission
from executor_core.control.control import LONGEST_RUN_S
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import Outcome, RunEnded, RunState
from executor_core.web import ServerEvent, error_response, last_event_id, words_for

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
_Text = Annotated[str, Meta(extra_json_schema={"minLength": 1})]
_Seconds = Annotated[
    float, Meta(extra_json_schema={"exclusiveMinimum": 0, "maximum": LONGEST_RUN_S})
]


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


async def new_run(call: Call) -> RunId:
    wanted: Metadata = call.body.metadata
    submission = Submission(
        prompt=call.body.input.text,
        agent=AGENTS.get(wanted.agent_type, wanted.agent_type),
        folder=wanted.cwd or wanted.working_dir,
        model=wanted.model,
        time_limit_s=wanted.timeout_secs,
        extra_args=wanted.extra_args or (),
    )
    return RunId(await call.control.submit(submission))


async def check_run(call: Call) -> None:
    """Not the stream but the answer says that there is no such run."""
    await call.control.run(call.run_id)


async def events(call: Call) -> AsyncGenerator[ServerEvent, None]:
    async for event in call.control.events(call.run_id, last_event_id(call.request) or 0):
        named = as_openrunner(words_for(call.request, event))
        # Only the last one carries the number, so that a resume repeats rather than loses.
        for number, (name, data) in enumerate(named, start=1):
            yield ServerEvent(event.seq - (number < len(named)), name, data)
        if isinstance(event, RunEnded):
            return


async def chat(call: Call) -> ChatAnswer | web.Response:
    """Run to the end; a client that hangs up takes the run with it."""
    named = AGENTS.get(call.body.model or DEFAULT_AGENT)
    agent = named or DEFAULT_AGENT
    submission = Submission(
        prompt=call.body.message,
        agent=agent,
        model=None if named else call.body.model,
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
