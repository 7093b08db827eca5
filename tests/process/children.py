"""Small real programs to be spawned, and ways to see what is left of them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import psutil

from executor_core.process import MARKER, ProcessTree, marker_of

OWNER = "tests"
_T = TypeVar("_T")
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class HurriedClock:
    """Real time, but every second is a tenth of one."""

    _FACTOR = 10.0

    def monotonic(self) -> float:
        return time.monotonic() * self._FACTOR

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._FACTOR)


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def new_marker() -> str:
    return marker_of(OWNER, uuid4().hex)


async def spawn(
    argv: list[str], *, marker: str | None = None, cwd: Path = Path("/")
) -> ProcessTree:
    return await ProcessTree.spawn(
        argv, cwd=cwd, env=ENV, marker=marker or new_marker(), clock=HurriedClock()
    )


async def first_line(tree: ProcessTree) -> bytes:
    async with asyncio.timeout(20):
        async for line in tree.lines():
            return line
    raise AssertionError("stdout ended without a line")


def carriers_of(marker: str) -> set[psutil.Process]:
    """Looked up without the code under test."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == marker:
                found.add(process)
        except psutil.Error:
            continue
    return found


def is_alive(process: psutil.Process) -> bool:
    """Whether it still does anything; one that waits to be reaped does not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def told_by(processes: Iterable[psutil.Process], ask: Callable[[psutil.Process], _T]) -> list[_T]:
    """What each of them says of itself; those that ended meanwhile say nothing."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.append(ask(process))
    return found


async def until(is_so: Callable[[], bool], limit_s: float = 10) -> None:
    """Wait for something that only the outside world can tell."""
    async with asyncio.timeout(limit_s):
        while not is_so():
            await asyncio.sleep(0.01)
