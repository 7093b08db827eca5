"""Tells a server the story of each run in the dialect that it speaks, one frame at a time.

Servers handle frames side by side (those of dialect R since August 2026 in any order): the next one
of a run leaves when the last one was acknowledged. Runs do not wait for each other. The encoders of
the dialects are pure: events in, frames out.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from executor_core.clock import Clock, wait_or
from executor_core.links.device.frames import Frame
from executor_core.links.device.progress import ProgressEncoder, progress_terminal
from executor_core.links.device.responses import (
    REPEATABLE,
    ResponsesEncoder,
    as_before_v2,
    incomplete,
    responses_terminal,
)
from executor_core.links.device.server_socket import LinkLostError, ServerSocket
from executor_core.model import AgentEvent, Outcome, RunRequest

_Json = dict[str, Any]

_FAR_S = 3600.0


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


class RunStream:
    """Outlives connections: what could not be sent waits. What was sent is never repeated, but
    for what changes nothing then: a server that lost it would show a tool at work for ever."""

    def __init__(self, request: RunRequest, dialect: Dialect, clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self._dialect = dialect
        self._encoder: Encoder = make_encoder(dialect, request.reply_to)
        self._encoder.begin()
        self._unsent: deque[Frame] = deque()
        self._changed = asyncio.Event()
        self._wakes_at = math.inf
        self._is_over = False
        self._is_muted = False
        self._is_heard = False
        self._waits_for = ""

    @property
    def address(self) -> str | None:
        """The server and account that the story belongs to."""
        return self._request.address

    @property
    def steps(self) -> list[_Json] | None:
        """What the terminal frame must repeat of the story; None where the dialect has no steps."""
        return None if self._dialect is Dialect.RESPONSES else self._encoder.steps

    def absorb(self, event: AgentEvent) -> None:
        """Take in what happened; it is sent when it is due."""
        self._encoder.absorb(event, is_heard=self._is_heard)
        self._wake_if_due()

    def wait_for(self, reason: str) -> None:
        """Show why the run does not begin; an empty reason takes that back."""
        if reason != self._waits_for:
            self._waits_for = reason
            self._encoder.note(reason, self._clock.now())
            self._wake_if_due()

    def announce(self) -> None:
        """Say again that the run is there."""
        self._encoder.begin()
        self._wake_if_due()

    def resume(self, dialect: Dialect) -> None:
        """There is a new connection, perhaps to a server that speaks another dialect."""
        self.use(dialect)
        if not self._is_over:
            self._encoder.resume()

    def use(self, dialect: Dialect) -> None:
        """The story goes on in this dialect."""
        if dialect is not self._dialect:
            self._dialect = dialect
            self._unsent.clear()
            self._encoder = make_encoder(dialect, self._request.reply_to)
            self._encoder.begin()
            self._encoder.note(self._waits_for, self._clock.now())

    def mute(self) -> None:
        """A cancel was accepted: in P a late RUNNING would bring the subtask back to life."""
        self._is_muted = True

    def finish(self) -> None:
        """The run is over: `pump` sends what is left and returns."""
        self._is_over = True
        self._changed.set()

    async def pump(self, connection: ServerSocket) -> None:
        """Send until the run is over. Raises LinkLostError; call again with the next connection."""
        self._is_heard = True
        try:
            await self._send_all(connection)
        finally:
            self._is_heard = False

    async def _send_all(self, connection: ServerSocket) -> None:
        while True:
            self._changed.clear()
            is_last = self._is_over
            frames = self._encoder.take(self._clock.monotonic(), is_last=is_last)
            self._unsent.extend(frames if connection.is_v2 else as_before_v2(frames))
            while self._unsent:
                await self._send(connection, self._unsent.popleft())
            if is_last:
                return
            due = self._encoder.due_at()
            self._wakes_at = math.inf if due is None else due
            pause = _FAR_S if due is None else max(0.0, due - self._clock.monotonic())
            await wait_or(self._changed, self._clock, pause)

    async def _send(self, connection: ServerSocket, frame: Frame) -> None:
        if self._is_muted and frame.event == "task:progress":
            return
        is_taken = False
        try:
            await connection.call(frame.event, frame.data)
            is_taken = True
        except TimeoutError:
            raise LinkLostError("the server acknowledges nothing any more") from None
        finally:
            if not is_taken and frame.event in REPEATABLE:
                self._unsent.appendleft(frame)

    def _wake_if_due(self) -> None:
        """Words that only join a waiting batch wake nobody: a thousand a second are nothing."""
        due = self._encoder.due_at()
        if due is not None and due < self._wakes_at:
            self._changed.set()


async def steps_in(events: AsyncIterator[AgentEvent], reply_to: _Json) -> list[_Json]:
    """The steps of a run whose story is not in memory any more, from its events."""
    encoder = make_encoder(Dialect.PROGRESS, reply_to)
    async for event in events:
        encoder.absorb(event)
    return encoder.steps
