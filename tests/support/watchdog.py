"""Measures every callback of every asyncio loop, so that no test can hide a blocked loop.

One step of a coroutine between two awaits is one callback. The price is a few clock readings each.
Time in which a step stood in line for a processor does not count: on a busy machine that happens to
the best. Where the system does not tell it, a step that neither computed nor waited does not count.
"""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

FATAL_S = 0.5
NOTABLE_S = 0.05
Effort: TypeAlias = tuple[float, int, float]
"""What a thread did so far: seconds of processor time, how often it chose to wait, and the seconds
that it could have run but stood in line."""
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

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        least_s: float = NOTABLE_S,
        effort: Callable[[], Effort] | None = None,
    ) -> None:
        self._clock = clock
        self._effort = effort or _effort
        self._least_s = least_s
        self._stalls: list[Stall] = []
        self._original: Any = None

    def install(self) -> None:
        original = _handle._run
        clock, effort, least_s = self._clock, self._effort, self._least_s

        def run(handle: Any) -> None:
            callback = handle._callback  # a handle that is cancelled meanwhile forgets it
            before = effort()
            began = clock()
            try:
                original(handle)
            finally:
                if (seconds := clock() - began) >= least_s:
                    after = effort()
                    seconds -= after[2] - before[2]
                    if seconds >= least_s and _is_own_doing(seconds, before, after):
                        self._stalls.append(Stall(seconds, _name(callback)))

        self._original = original
        _handle._run = run

    def remove(self) -> None:
        _handle._run = self._original

    def take(self) -> list[Stall]:
        """The stalls since the last call, longest first."""
        stalls, self._stalls = self._stalls, []
        return sorted(stalls, key=lambda stall: -stall.seconds)


class _Scheduling(threading.local):
    """The open file in which Linux counts what the scheduler did with this thread."""

    def __init__(self) -> None:
        try:
            self.file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.file = -1

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)

    def in_line_s(self) -> float:
        return int(os.pread(self.file, 80, 0).split()[1]) / 1e9 if self.file >= 0 else 0.0


_scheduling = _Scheduling()


def _effort() -> Effort:
    waits = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    return time.thread_time(), waits, _scheduling.in_line_s()


def _is_own_doing(seconds: float, before: Effort, after: Effort) -> bool:
    return after[0] - before[0] >= seconds / 2 or after[1] > before[1]


def _name(callback: Any) -> str:
    """The job and its coroutine, or the function."""
    job = getattr(callback, "__self__", None)
    if isinstance(job, asyncio.Task):
        coroutine = getattr(job.get_coro(), "__qualname__", "?")
        return f"{job.get_name()} ({coroutine})"
    return getattr(callback, "__qualname__", None) or repr(callback)
