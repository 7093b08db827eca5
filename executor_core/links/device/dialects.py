"""How a run is told to a server: which dialect it speaks, and one encoder for each.

Pure: events in, frames out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from executor_core.links.device.frames import Frame
from executor_core.links.device.progress import ProgressEncoder, progress_terminal
from executor_core.links.device.responses import ResponsesEncoder, incomplete, responses_terminal
from executor_core.model import AgentEvent, Outcome

_Json = dict[str, Any]


class Dialect(StrEnum):
    """What a server understands; BOTH while that is not known."""

    PROGRESS = "progress"
    RESPONSES = "responses"
    BOTH = "both"

    @property
    def letter(self) -> str:
        return {"progress": "P", "responses": "R"}.get(self.value, "?")


class Encoder(Protocol):
    """The story of one run in one dialect."""

    @property
    def steps(self) -> list[_Json]:
        """The steps that the last frame must repeat, in dialect P."""

    def begin(self) -> None:
        """Say that the run is there; again after a duplicate dispatch."""

    def resume(self) -> None:
        """There is a new connection."""

    def note(self, words: str, at: datetime | None = None) -> None:
        """Show a line of ours until the agent speaks; an empty one takes it back."""

    def absorb(self, event: AgentEvent, *, is_heard: bool = True) -> None:
        """Take in what happened. What nobody hears now may be shortened, to fit into memory."""

    def due_at(self) -> float | None:
        """When `take` has something to say, or None."""

    def take(self, now: float, *, is_last: bool = False) -> list[Frame]:
        """The frames to send now, in order; all that is left if `is_last`."""


def choose_dialect(*, progress_handled: bool, responses_handled: bool) -> Dialect:
    """What the answers to the two probes mean (both: development builds of February 2026)."""
    if progress_handled:
        return Dialect.PROGRESS
    return Dialect.RESPONSES if responses_handled else Dialect.BOTH


def make_encoder(dialect: Dialect, reply_to: _Json) -> Encoder:
    """An encoder for the run that `reply_to` names."""
    match dialect:
        case Dialect.PROGRESS:
            return ProgressEncoder(reply_to)
        case Dialect.RESPONSES:
            return ResponsesEncoder(reply_to)
        case _:
            return _BothEncoder(ResponsesEncoder(reply_to), ProgressEncoder(reply_to))


def terminal_frames(
    dialect: Dialect, reply_to: _Json, outcome: Outcome, steps: Sequence[_Json] = ()
) -> list[Frame]:
    """The one last frame of a run (with BOTH: one of each); `steps` as far as they are known."""
    frames = []
    if dialect is not Dialect.PROGRESS:
        frames.append(responses_terminal(reply_to, outcome))
    if dialect is not Dialect.RESPONSES:
        frames.append(progress_terminal(reply_to, outcome, steps))
    return frames


def cancelled_unknown(dialect: Dialect, task_id: int, subtask_id: int) -> list[Frame]:
    """The answer to a cancel of something we do not have: without it, R waits for ever.

    In P the server has already closed the subtask by itself, so nothing is owed.
    """
    if dialect is Dialect.PROGRESS:
        return []
    return [incomplete({"task_id": task_id, "subtask_id": subtask_id})]


class _BothEncoder:
    """Two stories side by side; a server ignores the one it does not know."""

    def __init__(self, *encoders: Encoder) -> None:
        self._encoders = encoders

    @property
    def steps(self) -> list[_Json]:
        return [step for encoder in self._encoders for step in encoder.steps]

    def begin(self) -> None:
        for encoder in self._encoders:
            encoder.begin()

    def resume(self) -> None:
        for encoder in self._encoders:
            encoder.resume()

    def note(self, words: str, at: datetime | None = None) -> None:
        for encoder in self._encoders:
            encoder.note(words, at)

    def absorb(self, event: AgentEvent, *, is_heard: bool = True) -> None:
        for encoder in self._encoders:
            encoder.absorb(event, is_heard=is_heard)

    def due_at(self) -> float | None:
        due = [at for encoder in self._encoders if (at := encoder.due_at()) is not None]
        return min(due, default=None)

    def take(self, now: float, *, is_last: bool = False) -> list[Frame]:
        return [frame for e in self._encoders for frame in e.take(now, is_last=is_last)]
