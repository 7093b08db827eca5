"""A pause and where it is kept: it outlives the executor, with its end and its reason."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Protocol

from msgspec import Struct

_log = logging.getLogger("executor.control")


class Pause(Struct, kw_only=True, frozen=True):
    """Until when nothing new is begun (None: until it is taken back), and why."""

    until: datetime | None = None
    reason: str | None = None


class PauseFile(Protocol):
    """Where a pause is kept. All block shortly, and may raise OSError."""

    def read(self) -> Pause | None:
        """The pause; None where nothing is paused."""

    def write(self, pause: Pause, /) -> None:
        """Keep it."""

    def remove(self) -> None:
        """Nothing is paused any more."""


async def kept_in(file: PauseFile | None) -> Pause | None:
    """The pause of the last time."""
    if file is None:
        return None
    try:
        return await asyncio.to_thread(file.read)
    except OSError as error:
        _log.error("whether tasks are paused cannot be read: %s", error)
        return None


async def keep(pause: Pause | None, file: PauseFile | None) -> None:
    """Write down how it is now; where that fails, a restart does not know."""
    if file is None:
        return
    try:
        if pause is None:
            await asyncio.to_thread(file.remove)
        else:
            await asyncio.to_thread(file.write, pause)
    except OSError as error:
        _log.warning("a restart will not know whether tasks are paused: %s", error)
