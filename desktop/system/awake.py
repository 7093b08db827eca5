"""Keeping the computer from falling asleep while agents work, and noticing that it slept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from PySide6.QtCore import SLOT, QObject, Slot
from PySide6.QtDBus import QDBusConnection
from PySide6.QtNetwork import QNetworkInformation

from desktop.system.deletion import delete_later
from executor_core.clock import Clock

TICK_S = 15.0
SLEPT = timedelta(seconds=45)
"""A tick of 15 s that took so long on the wall: the computer was asleep."""
END_S = 2.0
_WINDOWS_CONTINUOUS = 0x80000000
_WINDOWS_SYSTEM_REQUIRED = 0x00000001
_log = logging.getLogger("executor.desktop")


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


class SystemSignals(QObject):
    """Calls `on_change` at once where the system tells that it woke, or that a network came."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change
        if sys.platform.startswith("linux"):
            connect: Any = QDBusConnection.systemBus().connect  # Any: its types want bytes
            place = ("", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
            connect(*place, "PrepareForSleep", self, SLOT("on_sleep(bool)"))
        if QNetworkInformation.loadDefaultBackend():
            QNetworkInformation.instance().reachabilityChanged.connect(self.on_network)

    @Slot(bool)
    def on_sleep(self, is_going_to: bool) -> None:
        """login1 says True before the sleep and False after it."""
        if not is_going_to:
            self._on_change()

    def on_network(self, reachability: QNetworkInformation.Reachability) -> None:
        """The way to the network changed."""
        if reachability is not QNetworkInformation.Reachability.Disconnected:
            self._on_change()

    def close(self) -> None:
        """Hear nothing more."""
        self._on_change = lambda: None
        delete_later(self)
