"""A clock that stands still until the test moves it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

_ROUNDS = 1000
"""After so many turns of the loop, jobs that are still busy are taken for a job that never ends."""
_ROUNDS_OF_FOREIGN_LOOP = 50
START = datetime(2026, 1, 29, 13, 8, 22, tzinfo=UTC)


class JumpingClock:
    """An `executor_core.clock.Clock` for tests: hours pass in a millisecond.

    `monotonic` starts at 1000.0 and `now` at `START`; both move only by `advance` or `jumping`.
    """

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def monotonic(self) -> float:
        return self._now

    def now(self) -> datetime:
        return START + timedelta(seconds=self._now - 1000.0)

    async def sleep(self, seconds: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), waiter))
        await waiter

    @property
    def next_deadline_s(self) -> float | None:
        """Seconds until the first sleeper is due; None if nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] - self._now if self._sleepers else None

    async def advance(self, seconds: float) -> None:
        """Let that time pass: everyone due wakes at its own moment and runs until it waits again.

        Jobs that wait for a thread, a socket or a process are not waited for.
        """
        await settle()
        target = self._now + seconds
        while (due := self.next_deadline_s) is not None and self._now + due <= target:
            await self._jump()
        self._now = target
        await settle()

    @asynccontextmanager
    async def jumping(self) -> AsyncIterator[None]:
        """Inside this block time jumps to the next deadline whenever every job waits.

        For tests whose jobs wait for the clock and each other only: while something real (a
        socket, a thread, a process) is on its way, every timeout would run out at once.
        """
        driver = asyncio.Task(self._jump_for_ever(), name="jumping-clock")
        try:
            yield
        finally:
            driver.cancel()
            await asyncio.gather(driver, return_exceptions=True)

    async def _jump(self) -> None:
        deadline, _, waiter = heapq.heappop(self._sleepers)
        self._now = max(self._now, deadline)
        waiter.set_result(None)
        await settle()

    async def _jump_for_ever(self) -> None:
        while True:
            await settle()
            if self.next_deadline_s is None:
                await asyncio.sleep(0.001)
            else:
                await self._jump()


async def settle() -> None:
    """Let every job run until it waits for something other than its turn.

    Raises AssertionError if that never happens.
    """
    # Only asyncio's own loops tell what is still to run; others get a fixed number of turns.
    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    if ready is None:
        for _ in range(_ROUNDS_OF_FOREIGN_LOOP):
            await asyncio.sleep(0)
        return
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
        if not ready:
            return
    raise AssertionError(f"the loop is still busy after {_ROUNDS} turns")
