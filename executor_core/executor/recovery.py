"""What became of the runs that a crash cut off: decided from their event files alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from executor_core.errors import ExecutorError
from executor_core.journal import RunRow
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Outcome,
    RunEnded,
    RunState,
    SessionStarted,
    TextDelta,
    Timings,
)


def outcome_after_crash(row: RunRow, events: Iterable[AgentEvent], now: datetime) -> Outcome:
    """The agent's result if it was already said, else a failure that keeps the text so far."""
    words: list[str] = []
    first_text_at = session_id = None
    result: AgentResult | None = None
    for event in events:
        match event:
            case RunEnded(outcome=outcome):
                return outcome
            case TextDelta(text=more):
                words.append(more)
                first_text_at = first_text_at or event.at
            case SessionStarted():
                session_id = event.session_id
            case AgentResult():
                result = result or event
    if result is None:
        result = AgentResult(error=ExecutorError("interrupted").message)
    return Outcome(
        state=RunState.FAILED if result.error else RunState.COMPLETED,
        text=result.answer("".join(words)),
        error=result.error,
        usage=result.usage,
        session_id=session_id,
        timings=Timings(
            accepted_at=row.accepted_at,
            started_at=row.started_at,
            first_text_at=first_text_at,
            finished_at=now,
        ),
    )
