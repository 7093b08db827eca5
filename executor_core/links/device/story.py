"""Sends the story of one run as it is told, in order: one frame at a time.

Servers handle frames side by side (those of dialect R since August 2026 in any order): the next one
of a run leaves when the last one was acknowledged. Runs do not wait for each other.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from executor_core.clock import Clock, wait_or
from executor_core.links.device.connection import Connection, LinkLostError
from executor_core.links.device.dialects import Dialect, Encoder, make_encoder
from executor_core.links.device.frames import Frame
from executor_core.links.device.responses import REPEATABLE, as_before_v2
from executor_core.model import AgentEvent, RunRequest

_FAR_S = 3600.0


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
    def steps(self) -> list[dict[str, Any]] | None:
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

    async def pump(self, connection: Connection) -> None:
        """Send until the run is over. Raises LinkLostError; call again with the next connection."""
        self._is_heard = True
        try:
            await self._send_all(connection)
        finally:
            self._is_heard = False

    async def _send_all(self, connection: Connection) -> None:
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

    async def _send(self, connection: Connection, frame: Frame) -> None:
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


async def steps_in(
    events: AsyncIterator[AgentEvent], reply_to: dict[str, Any]
) -> list[dict[str, Any]]:
    """The steps of a run whose story is not in memory any more, from its events."""
    encoder = make_encoder(Dialect.PROGRESS, reply_to)
    async for event in events:
        encoder.absorb(event)
    return encoder.steps
