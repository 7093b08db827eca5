"""Keeping the computer from falling asleep while agents work, and noticing that it slept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from executor_core.changes import Changes
from executor_core.clock import Clock

TICK_S = 15.0
SLEPT = timedelta(seconds=45)
"""A tick of 15 s that took so long on the wall: the computer was asleep."""
END_S = 2.0
_WINDOWS_CONTINUOUS = 0x80000000
_WINDOWS_SYSTEM_REQUIRED = 0x00000001
_log = logging.getLogger("executor.services")


def keep_awake_command(platform: str) -> list[str] | None:
    """What holds the system awake until its input is closed, so that it cannot outlive us."""
    if platform == "darwin":
        return ["caffeinate", "-i", "cat"]
    if platform.startswith("linux"):
        who = ["--who=Wegent Executor", "--why=Agents are working", "--mode=block"]
        return ["systemd-inhibit", "--what=idle:sleep", *who, "cat"]
    return None


class KeepAwake:
    """Holds the system awake between `hold(True)` and `hold(False)`.

    A system that refuses is asked again when work begins the next time.
    """

    def __init__(self, platform: str = sys.platform) -> None:
        self._platform = platform
        self._command = keep_awake_command(platform)
        self._holder: asyncio.subprocess.Process | None = None
        self._is_held = False

    async def hold(self, is_wanted: bool) -> None:
        """Hold, or let go. Repeating changes nothing."""
        if is_wanted == self._is_held:
            return
        self._is_held = is_wanted
        if self._platform == "win32":
            _tell_windows(is_wanted)
        elif is_wanted:
            await self._start()
        else:
            await self._end()

    async def _start(self) -> None:
        if self._command is None or shutil.which(self._command[0]) is None:
            return
        try:
            self._holder = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            _log.warning("the system cannot be kept awake: %s", error)

    async def _end(self) -> None:
        holder, self._holder = self._holder, None
        if holder is None:
            return
        if holder.stdin is not None:
            holder.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await holder.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                holder.kill()
            await holder.wait()


def _tell_windows(is_wanted: bool) -> None:
    if sys.platform == "win32":
        import ctypes

        wanted = _WINDOWS_SYSTEM_REQUIRED if is_wanted else 0
        ctypes.windll.kernel32.SetThreadExecutionState(_WINDOWS_CONTINUOUS | wanted)


def slept(before: datetime, now: datetime) -> bool:
    """Whether the time between two ticks says that the computer slept."""
    return now - before > SLEPT


async def watch_sleep(clock: Clock, on_wake: Callable[[], Awaitable[None]]) -> None:
    """Call `on_wake` after each sleep; works on every system, a tick late at most."""
    while True:
        before = clock.now()
        await clock.sleep(TICK_S)
        if slept(before, clock.now()):
            _log.info("the computer woke up")
            await on_wake()


async def stay_awake_at_work(
    awake: KeepAwake,
    clock: Clock,
    changes: Changes,
    *,
    is_working: Callable[[], bool],
    is_wanted: Callable[[], bool],
) -> None:
    """Hold while runs live, as long as a person wants it; let go a tick late at most.

    `is_wanted` may block. It is asked at every tick, so that a change of the option counts soon.
    `changes` tell when work begins.
    """
    try:
        while True:
            changed = changes.next
            if is_working():
                await awake.hold(await asyncio.to_thread(is_wanted))
                await clock.sleep(TICK_S)
            else:
                await awake.hold(False)
                await changed.wait()
    finally:
        await awake.hold(False)
