"""Time as a value that is handed in, so that tests can let hours pass in a millisecond."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a room may know about time: `monotonic` for deadlines, `now` for records."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    def now(self) -> datetime:
        """The wall time, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""


class SystemClock:
    """The clock of the machine."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def wait_or(event: asyncio.Event, clock: Clock, seconds: float) -> bool:
    """Wait for `event`, but no longer than `seconds`. True if the event came."""
    if event.is_set():
        return True
    waiter = asyncio.Task(event.wait())
    timer = asyncio.Task(clock.sleep(seconds))
    try:
        await asyncio.wait({waiter, timer}, return_when=asyncio.FIRST_COMPLETED)
        return event.is_set()
    finally:
        for job in (waiter, timer):
            job.cancel()
        await asyncio.gather(waiter, timer, return_exceptions=True)
