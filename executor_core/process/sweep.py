"""Repeats a look until nothing is left; at start-up, for what a killed executor left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container
from typing import TYPE_CHECKING

from executor_core.clock import Clock
from executor_core.process import process_table
from executor_core.process._system import system
from executor_core.process.marker import Sign, is_tag_of, run_id_of

if TYPE_CHECKING:
    import psutil

_log = logging.getLogger("executor.process")

START_UP_LIMIT_S = 5.0
_BETWEEN_LOOKS_S = 0.01
# While a process executes another program its environment is empty for a moment, so that one look
# may miss it.
_CLEAN_LOOKS = 2


async def sweep(owner: str, *, alive: Container[str], clock: Clock) -> list[int]:
    """Kill what an earlier executor of the same home left behind; returns the pids, sorted.

    Looks until nothing is found, for 5 s at most. A run in `alive` is left alone.
    """
    leftovers = _Leftovers(owner, alive)
    killed: set[int] = set()

    def look() -> set[psutil.Process]:
        found = leftovers.look()
        process_table.kill(found)
        killed.update(process.pid for process in found)
        return found

    await until_clean(look, clock, START_UP_LIMIT_S)
    if killed:
        _log.info("ended %d processes that an earlier executor had left behind", len(killed))
    return sorted(killed)


def left_behind(owner: str, *, alive: Container[str]) -> list[int]:
    """What `sweep` would kill now, by pid. Blocks for some milliseconds: call it in a thread."""
    return sorted(process.pid for process in _Leftovers(owner, alive).look())


async def until_clean(
    look: Callable[[], set[psutil.Process]], clock: Clock, limit_s: float
) -> bool:
    """Repeat `look`, in a thread, until it finds nothing more to kill. False after `limit_s`."""
    deadline = clock.monotonic() + limit_s
    clean = 0
    while clean < _CLEAN_LOOKS:
        found = await asyncio.to_thread(look)
        clean = 0 if found else clean + 1
        if found and clock.monotonic() >= deadline:
            pids = sorted(process.pid for process in found)
            _log.error("processes %s are still alive after SIGKILL", pids)
            return False
        await clock.sleep(_BETWEEN_LOOKS_S)
    return True


class _Leftovers:
    """What carries a sign that is older than this process, and all descendants of it.

    They themselves may be of any age: an agent that lives on goes on starting tools. Our own runs
    and probes have signs that nobody older carries.
    """

    def __init__(self, owner: str, alive: Container[str]) -> None:
        self._owner = owner
        self._alive = alive
        self._signs: set[Sign] = set()
        self._known: set[psutil.Process] = set()

    def look(self) -> set[psutil.Process]:
        import psutil

        self._signs |= process_table.signs_before_us(self._is_wanted)
        found = process_table.relatives(self._known, self._signs)
        # We may have been started inside such a run, and a child of ours shows our environment
        # until it executes its program.
        found -= set(psutil.Process().children(recursive=True))
        self._known = {process for process in found if _is_of_this_user(process)}
        return self._known

    def _is_wanted(self, sign: Sign) -> bool:
        if isinstance(sign, int):
            # It does not tell which run. While any is alive, only markers count.
            return not self._alive and is_tag_of(sign, self._owner)
        run_id = run_id_of(sign, self._owner)
        return run_id is not None and run_id not in self._alive


def _is_of_this_user(process: psutil.Process) -> bool:
    import psutil

    try:
        return system.is_of_this_user(process)
    except psutil.Error:
        return False  # gone since the look
