"""Simulates the time in which a run is told, and reads what a server would have understood."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, settings

from executor_core.links.device.frames import Frame, encoded_size
from executor_core.links.device.story import Dialect, make_encoder, terminal_frames
from executor_core.model import AgentEvent, Outcome, RunState, Timings
from executor_core.texts import Message

PATIENT = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
"""For property tests on a computer that has other work."""
REPLY_TO = {"task_id": 7, "subtask_id": 9, "message_id": 3, "shell_type": "ClaudeCode"}
_MOMENT = datetime(2026, 1, 29, 13, 8, 22, tzinfo=UTC)


def outcome(
    text: str = "", state: RunState = RunState.COMPLETED, error: Message | None = None
) -> Outcome:
    timings = Timings(accepted_at=_MOMENT, finished_at=_MOMENT)
    return Outcome(state=state, text=text, error=error, timings=timings)


def tell(
    dialect: Dialect,
    events: Iterable[tuple[float, AgentEvent]],
    end: Outcome,
    *,
    link_is_up: bool = True,
) -> list[tuple[float, Frame]]:
    """Every frame of a run with the second in which it was sent, as the stream would send them.

    `events` come with the seconds since the one before. Without a link everything is taken at the
    end, when it is back.
    """
    encoder = make_encoder(dialect, REPLY_TO)
    encoder.begin()
    sent: list[tuple[float, Frame]] = []
    now = 0.0

    def take(until: float) -> None:
        while link_is_up and (due := encoder.due_at()) is not None and due <= until:
            moment = max(due, now)
            frames = encoder.take(moment)
            assert frames, "something was due and nothing came"
            sent.extend((moment, frame) for frame in frames)

    for pause, event in events:
        take(now + pause)
        now += pause
        encoder.absorb(event, is_heard=link_is_up)
        take(now)
    sent.extend((now, frame) for frame in encoder.take(now, is_last=True))
    assert encoder.take(now, is_last=True) == []
    sent.extend((now, f) for f in terminal_frames(dialect, REPLY_TO, end, encoder.steps))
    return sent


def only_frames(sent: list[tuple[float, Frame]]) -> list[tuple[str, Any]]:
    return [(frame.event, frame.data) for _, frame in sent]


def wire_bytes(sent: list[tuple[float, Frame]]) -> int:
    return sum(encoded_size(frame) for _, frame in sent)
