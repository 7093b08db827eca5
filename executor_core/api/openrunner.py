"""Our events in the words of OpenRunner's stream. Pure."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from executor_core.model import (
    AgentEvent,
    AgentResult,
    FileChanged,
    Notice,
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
