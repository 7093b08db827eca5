"""Sends the story of one run as it is told, in order, with a bounded number unacknowledged."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from executor_core.clock import Clock, wait_or
from executor_core.links.device.connection import CALL_LIMIT_S, Connection, LinkLostError
from executor_core.links.device.dialects import Dialect, Encoder, make_encoder
from executor_core.links.device.frames import Frame
from executor_core.model import AgentEvent, RunRequest

_FAR_S = 3600.0
WINDOW = {Dialect.PROGRESS: 1, Dialect.RESPONSES: 16, Dialect.BOTH: 1}
"""Frames in flight. P servers write each to a database side by side: one waits for the other."""


class RunStream:
    """Outlives connections: what could not be sent waits, what was sent is never repeated."""

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
        self._encoder.absorb(event)
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

    def mute(self) -> None:
        """A cancel was accepted: in P a late RUNNING would bring the subtask back to life."""
        self._is_muted = True

    def finish(self) -> None:
        """The run is over: `pump` sends what is left and returns."""
        self._is_over = True
        self._changed.set()

    async def pump(self, connection: Connection) -> None:
        """Send until the run is over. Raises LinkLostError; call again with the next connection."""
        window = _Window(connection, WINDOW[self._dialect])
        while True:
            self._changed.clear()
            is_last = self._is_over
            self._unsent.extend(self._encoder.take(self._clock.monotonic(), is_last=is_last))
            while self._unsent:
                await window.wait_for_place()
                await self._send_next(window)
            if is_last:
                await window.drain()
                return
            due = self._encoder.due_at()
            self._wakes_at = math.inf if due is None else due
            pause = _FAR_S if due is None else max(0.0, due - self._clock.monotonic())
            await wait_or(self._changed, self._clock, pause)

    async def _send_next(self, window: _Window) -> None:
        """Decided only now: a cancel may have come while there was no place."""
        if not self._unsent:
            window.leave_place()
            return
        frame = self._unsent.popleft()
        if self._is_muted and frame.event == "task:progress":
            window.leave_place()
        else:
            await window.send(frame)

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


class _Window:
    """Acknowledged sending with at most `size` frames in flight."""

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection = connection
        self._size = size
        self._places = asyncio.Semaphore(size)

    async def wait_for_place(self) -> None:
        """Call before every `send`."""
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise LinkLostError("the server acknowledges nothing any more") from None

    def leave_place(self) -> None:
        self._places.release()

    async def send(self, frame: Frame) -> None:
        """Send into the place that was waited for."""

        def acknowledged(*_: Any) -> None:
            self._places.release()

        await self._connection.emit(frame, acknowledged)

    async def drain(self) -> None:
        """Wait until everything sent was acknowledged."""
        for _ in range(self._size):
            await self.wait_for_place()
