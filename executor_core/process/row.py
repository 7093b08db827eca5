"""One line of the system's process table."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from executor_core.process.marker import MARKER, Sign


class Row(NamedTuple):
    """A living process (no zombie), with the marker and the tag that it carries, if readable."""

    pid: int
    ppid: int
    marker: str | None
    tag: int | None = None

    def carries(self, signs: Container[Sign]) -> bool:
        """Whether one of `signs` is on it."""
        return self.marker in signs or self.tag in signs


def rows_by_psutil() -> list[Row]:
    """The process table where the system has no cheaper way to it."""
    import psutil

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
