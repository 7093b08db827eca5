"""Finds the processes of a run by ancestry and by their signs, and kills them.

A process is known by pid *and* start time (`psutil.Process` compares both), never by pid alone.
Everything here blocks for some milliseconds: call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from executor_core.model import Resources
from executor_core.process._system import system
from executor_core.process.marker import Sign, run_id_of
from executor_core.process.row import Row

if TYPE_CHECKING:
    import psutil

_MOST_LOOKS = 10  # at a tree whose members keep replacing each other


def relatives(known: Iterable[psutil.Process], signs: Container[Sign]) -> set[psutil.Process]:
    """All that is alive of trees: `known` members, carriers of the signs, their descendants."""
    members = {process.pid: process for process in known if process.is_running()}

    def look() -> set[int]:
        rows = {row.pid: row for row in system.rows()}
        pids = {pid for pid in members if pid in rows}
        pids |= {row.pid for row in rows.values() if row.carries(signs)}
        pids -= _lineage(rows)
        return pids | _descendants(rows, pids)

    return _opened(look, members)


def signs_before_us(is_wanted: Callable[[Sign], bool]) -> set[Sign]:
    """The wanted signs that a process of this user carries which is no younger than this one."""
    import psutil

    our_start = psutil.Process().create_time()
    found: set[Sign] = set()
    for row in system.rows():
        carried = {sign for sign in (row.marker, row.tag) if sign is not None and is_wanted(sign)}
        if carried <= found:
            continue
        with suppress(psutil.Error):  # gone since the look
            process = psutil.Process(row.pid)
            if process.create_time() <= our_start and system.is_of_this_user(process):
                found |= carried
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL each of them, with its process group. One that is gone or refuses is left."""
    import psutil

    for process in processes:
        # What could not be killed is found, and named, by the next look.
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
    """What each run of `owner` uses now, by run id; found in one look at the process table.

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
            with suppress(psutil.Error):  # gone since the look
                members.append(psutil.Process(pid))
        found[run_id] = measure(members)
    return found


def _opened(
    look: Callable[[], set[int]], known: Mapping[int, psutil.Process]
) -> set[psutil.Process]:
    """What `look` finds, with start times.

    If one has ended meanwhile, looks again: it may have started another.
    """
    import psutil

    opened: set[psutil.Process] = set()
    for _ in range(_MOST_LOOKS):
        pids = look()
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
