"""What a test must not leave behind: jobs, processes, threads, open files and sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.home import MARKER

_DESCRIPTORS = Path("/proc/self/fd")
_NOT_OURS = ("/dev/", "/proc", "anon_inode:[eventfd]")
_GRACE_S = 1.0
"""A child that was told to end, or a thread that was told to stop, may take that long."""


@dataclass(frozen=True)
class Snapshot:
    """What exists at one moment."""

    children: frozenset[psutil.Process]
    threads: frozenset[threading.Thread]
    files: Counter[str]


def snapshot() -> Snapshot:
    return Snapshot(_children(), frozenset(threading.enumerate()), _open_files())


def check(before: Snapshot) -> None:
    """Raise AssertionError naming everything that exists now and did not before."""
    now = snapshot()
    _, alive = psutil.wait_procs(now.children - before.children, timeout=_GRACE_S)
    assert not alive, f"processes are left: {[_describe(process) for process in alive]}"
    threads = [thread for thread in now.threads - before.threads if not thread.daemon]
    for thread in threads:
        thread.join(_GRACE_S)
    running = [thread.name for thread in threads if thread.is_alive()]
    assert not running, f"threads are left: {running}"
    if now.files - before.files:
        gc.collect()  # what only the garbage collector closes is pytest's ResourceWarning to report
        left = _open_files() - before.files
        assert not left, f"files or sockets are left open: {sorted(left.elements())}"


async def check_jobs() -> None:
    """Raise AssertionError if the running loop has jobs besides the caller.

    One that is on its way out gets a few turns of the loop.
    """
    me = asyncio.current_task()
    jobs: list[asyncio.Task[object]] = []
    for _ in range(10):
        jobs = [job for job in asyncio.all_tasks() if job is not me]
        if not jobs:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"jobs are left: {[job.get_name() for job in jobs]}")


def check_marked_processes() -> None:
    """Raise AssertionError if a process of this test session lives, also a detached one."""
    mine = os.environ[MARKER]  # noqa: TID251 - set by the tests themselves
    parents = {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # not ours to read, or gone meanwhile
            if process.pid not in parents and process.environ().get(MARKER) == mine:
                left.append(_describe(process))
    assert not left, f"processes of this session are left: {left}"


def _describe(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.pid} {process.name()} ({process.status()})"
    return str(process.pid)


def _children() -> frozenset[psutil.Process]:
    """The processes below this one. Linux tells at once if there are none; psutil has to search."""
    lists = list(Path("/proc/self/task").glob("*/children"))
    if lists and not any(map(_content, lists)):
        return frozenset()
    return frozenset(psutil.Process().children(recursive=True))


def _content(path: Path) -> str:
    with suppress(FileNotFoundError):  # a thread that ended since the list was made
        return path.read_text()
    return ""


def _open_files() -> Counter[str]:
    """What each open descriptor is, on Linux; elsewhere nothing. Devices stay open by habit.

    So do the wake-ups of the threads that Qt paints with: they come and go by its own clock.
    """
    found: Counter[str] = Counter()
    if _DESCRIPTORS.is_dir():
        for entry in _DESCRIPTORS.iterdir():
            with suppress(OSError):  # the descriptor that lists the others is closed by now
                found[os.readlink(entry)] += 1
    return Counter({name: n for name, n in found.items() if not name.startswith(_NOT_OURS)})
