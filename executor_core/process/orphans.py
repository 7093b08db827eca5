"""As process 1 of a container we inherit all orphans there, and nobody else buries them."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from executor_core.clock import Clock

if TYPE_CHECKING:
    import psutil

_LOOK_EVERY_S = 0.5


async def reap_orphans(clock: Clock, *, is_first: bool | None = None) -> None:
    """Wait for dead children whom nobody else waits for, as long as this is process 1.

    A child that we started has somebody who waits for it, at once and by its pid. Who is found dead
    by two looks, between which the loop went on, is an orphan: nobody's exit code is taken away.
    """
    if sys.platform == "win32" or not (os.getpid() == 1 if is_first is None else is_first):
        return
    seen: set[psutil.Process] = set()
    while True:
        dead = await asyncio.to_thread(_dead_children)
        _bury(dead & seen)
        seen = dead
        await clock.sleep(_LOOK_EVERY_S)


def _bury(dead: set[psutil.Process]) -> None:
    if sys.platform == "win32":
        return
    for process in dead:
        with suppress(ChildProcessError):  # its waiter was faster
            os.waitpid(process.pid, os.WNOHANG)


def _dead_children() -> set[psutil.Process]:
    import psutil

    dead = set[psutil.Process]()
    if sys.platform == "win32":
        return dead
    with suppress(ChildProcessError):  # no children at all
        # Cheap, and mostly the whole answer.
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return dead
        for child in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                if child.status() == psutil.STATUS_ZOMBIE:
                    dead.add(child)
    return dead
