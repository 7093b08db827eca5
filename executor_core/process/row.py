"""One line of the system's process table."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A living process (no zombie). `marker` is the run marker in its environment, if readable."""

    pid: int
    ppid: int
    marker: str | None


def rows_by_psutil() -> list[Row]:
    """The process table where the system has no cheaper way to it."""
    import psutil

    from executor_core.process.marker import MARKER

    rows: list[Row] = []
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            ppid = process.ppid()
        except psutil.Error:
            continue  # gone meanwhile, or none of our business
        try:
            marker = process.environ().get(MARKER)
        except (psutil.Error, OSError):
            marker = None  # not readable: only its ancestors can tell whose it is
        rows.append(Row(pid, ppid, marker))
    return rows
