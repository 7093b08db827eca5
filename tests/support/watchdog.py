"""Measures every callback of every asyncio loop, so that no test can hide a blocked loop.

One step of a coroutine between two awaits is one callback. The price is two clock readings each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FATAL_S = 0.5
NOTABLE_S = 0.05
_handle: Any = asyncio.Handle
"""Untyped, because its `_run` is no public name; all loops in Python call it."""


@dataclass(frozen=True)
class Stall:
    """One callback that kept the loop from everything else for `seconds`."""

    seconds: float
    callback: str

    def __str__(self) -> str:
        return f"{self.seconds * 1000:.0f} ms in {self.callback}"


class Watchdog:
    """Collects stalls between `install` and `remove`; `take` hands them over."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._stalls: list[Stall] = []
        self._original: Any = None

    def install(self) -> None:
        original = _handle._run
        clock = self._clock

        def run(handle: Any) -> None:
            callback = handle._callback  # a handle that is cancelled meanwhile forgets it
            began = clock()
            try:
                original(handle)
            finally:
                seconds = clock() - began
                if seconds >= NOTABLE_S:
                    self._stalls.append(Stall(seconds, _name(callback)))

        self._original = original
        _handle._run = run

    def remove(self) -> None:
        _handle._run = self._original

    def take(self) -> list[Stall]:
        """The stalls since the last call, longest first."""
        stalls, self._stalls = self._stalls, []
        return sorted(stalls, key=lambda stall: -stall.seconds)


def _name(callback: Any) -> str:
    """The job and its coroutine, or the function."""
    job = getattr(callback, "__self__", None)
    if isinstance(job, asyncio.Task):
        coroutine = getattr(job.get_coro(), "__qualname__", "?")
        return f"{job.get_name()} ({coroutine})"
    return getattr(callback, "__qualname__", None) or repr(callback)
