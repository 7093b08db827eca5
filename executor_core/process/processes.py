"""The processes of runs: found by ancestry and by their signs, measured, and ended.

A process is known by pid *and* start time (`psutil.Process` compares both), never by pid alone.
What is no coroutine here blocks for some milliseconds: call it in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from executor_core.clock import Clock
from executor_core.model import Resources
from executor_core.process._system import system
from executor_core.process.marker import Row, Sign, is_tag_of, run_id_of

if TYPE_CHECKING:
    import psutil

_MOST_SCANS = 10  # at a tree whose members keep replacing each other


def relatives(known: Iterable[psutil.Process], signs: Container[Sign]) -> set[psutil.Process]:
    """All that is alive of trees: `known` members, carriers of the signs, their descendants."""
    members = {process.pid: process for process in known if process.is_running()}

    def scan() -> set[int]:
        rows = {row.pid: row for row in system.rows()}
        pids = {pid for pid in members if pid in rows}
        pids |= {row.pid for row in rows.values() if row.carries(signs)}
        pids -= _lineage(rows)
        return pids | _descendants(rows, pids)

    return _opened(scan, members)


def signs_before_us(is_wanted: Callable[[Sign], bool]) -> set[Sign]:
    """The wanted signs that a process of this user carries which is no younger than this one."""
    import psutil

    our_start = psutil.Process().create_time()
    found: set[Sign] = set()
    for row in system.rows():
        carried = {sign for sign in (row.marker, row.tag) if sign is not None and is_wanted(sign)}
        if carried <= found:
            continue
        with suppress(psutil.Error):  # gone meanwhile
            process = psutil.Process(row.pid)
            if process.create_time() <= our_start and system.is_of_this_user(process):
                found |= carried
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL each of them, with its process group. One that is gone or refuses is left."""
    import psutil

    for process in processes:
        # What could not be killed is found, and named, by the next scan.
        with suppress(psutil.Error, OSError):
            if process.is_running():
                system.kill_group_of(process.pid)
                process.kill()


def measure(processes: Iterable[psutil.Process]) -> Resources:
    """What these processes use together."""
    import psutil

    rss_bytes, cpu_s, count = 0, 0.0, 0
    for process in processes:
        with suppress(psutil.Error, OSError), process.oneshot():
            times = process.cpu_times()
            rss_bytes += process.memory_info().rss
            cpu_s += times.user + times.system
            cpu_s += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            count += 1
    return Resources(rss_bytes=rss_bytes, cpu_s=cpu_s, processes=count)


def resources_by_run(owner: str) -> dict[str, Resources]:
    """What each run of `owner` uses now, by run id; found in one scan of the process table.

    A descendant whose environment cannot be read counts with its ancestors.
    """
    import psutil

    rows = {row.pid: row for row in system.rows()}
    roots: dict[str, set[int]] = {}
    for row in rows.values():
        if row.marker is not None and (run_id := run_id_of(row.marker, owner)) is not None:
            roots.setdefault(run_id, set()).add(row.pid)
    lineage = _lineage(rows)
    found: dict[str, Resources] = {}
    for run_id, pids in roots.items():
        members: list[psutil.Process] = []
        for pid in (pids | _descendants(rows, pids)) - lineage:
            with suppress(psutil.Error):  # gone meanwhile
                members.append(psutil.Process(pid))
        found[run_id] = measure(members)
    return found


def _opened(
    scan: Callable[[], set[int]], known: Mapping[int, psutil.Process]
) -> set[psutil.Process]:
    """What `scan` finds, with start times.

    If one has ended meanwhile, scans again: it may have started another.
    """
    import psutil

    opened: set[psutil.Process] = set()
    for _ in range(_MOST_SCANS):
        pids = scan()
        opened = set()
        for pid in pids:
            with suppress(psutil.Error):
                opened.add(known.get(pid) or psutil.Process(pid))
        if len(opened) == len(pids):
            break
    return opened


def _descendants(rows: Mapping[int, Row], roots: Iterable[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for row in rows.values():
        children.setdefault(row.ppid, []).append(row.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        fresh = [pid for pid in children.get(waiting.pop(), ()) if pid not in found]
        found.update(fresh)
        waiting += fresh
    return found


def _lineage(rows: Mapping[int, Row]) -> set[int]:
    """We and our ancestors: an executor may itself have been started inside somebody's run."""
    pid, lineage = os.getpid(), set[int]()
    while pid in rows and pid not in lineage:
        lineage.add(pid)
        pid = rows[pid].ppid
    return lineage


# --- until nothing is left ----------------------------------------------------------------------

_log = logging.getLogger("executor.process")

START_UP_LIMIT_S = 5.0
_BETWEEN_SCANS_S = 0.01
# While a process executes another program its environment is empty for a moment, so that one scan
# may miss it.
_CLEAN_SCANS = 2


async def sweep(owner: str, *, alive: Container[str], clock: Clock) -> list[int]:
    """Kill what an earlier executor of the same home left behind; returns the pids, sorted.

    Scans until nothing is found, for 5 s at most. A run in `alive` is left alone.
    """
    leftovers = _Leftovers(owner, alive)
    killed: set[int] = set()

    def scan() -> set[psutil.Process]:
        found = leftovers.scan()
        kill(found)
        killed.update(process.pid for process in found)
        return found

    await until_clean(scan, clock, START_UP_LIMIT_S)
    if killed:
        _log.info("ended %d processes that an earlier executor had left behind", len(killed))
    return sorted(killed)


def left_behind(owner: str, *, alive: Container[str]) -> list[int]:
    """What `sweep` would kill now, by pid. Blocks for some milliseconds: call it in a thread."""
    return sorted(process.pid for process in _Leftovers(owner, alive).scan())


async def until_clean(
    scan: Callable[[], set[psutil.Process]], clock: Clock, limit_s: float
) -> bool:
    """Repeat `scan`, in a thread, until it finds nothing more to kill. False after `limit_s`."""
    deadline = clock.monotonic() + limit_s
    clean = 0
    while clean < _CLEAN_SCANS:
        found = await asyncio.to_thread(scan)
        clean = 0 if found else clean + 1
        if found and clock.monotonic() >= deadline:
            pids = sorted(process.pid for process in found)
            _log.error("processes %s are still alive after SIGKILL", pids)
            return False
        await clock.sleep(_BETWEEN_SCANS_S)
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

    def scan(self) -> set[psutil.Process]:
        import psutil

        self._signs |= signs_before_us(self._is_wanted)
        found = relatives(self._known, self._signs)
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
        return False  # gone meanwhile


# --- as process 1 of a container ----------------------------------------------------------------

_SCAN_EVERY_S = 0.5


async def reap_orphans(clock: Clock, *, is_first: bool | None = None) -> None:
    """Wait for dead children whom nobody else waits for, as long as this is process 1.

    A child that we started has somebody who waits for it, at once and by its pid. Who is found dead
    by two scans, between which the loop went on, is an orphan: nobody's exit code is taken away.
    """
    if sys.platform == "win32" or not (os.getpid() == 1 if is_first is None else is_first):
        return
    seen: set[psutil.Process] = set()
    while True:
        dead = await asyncio.to_thread(_dead_children)
        _bury(dead & seen)
        seen = dead
        await clock.sleep(_SCAN_EVERY_S)


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


# --- when we are killed -------------------------------------------------------------------------

_SCRIPT = 'read -r done || "$@"'


@contextmanager
def last_will(argv: Sequence[str]) -> Iterator[None]:
    """Should this process die inside the block, a shell that waits for that runs `argv`.

    It sees the end of a pipe, which no signal prevents. Not on Windows, where the jobs of our trees
    end with us.
    """
    if sys.platform == "win32":
        yield
        return
    heir = subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT, "sh", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with suppress(OSError):  # somebody killed it
            heir.communicate(b"done\n")
