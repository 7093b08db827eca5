"""The runs in the order of the list: what lives on top, then what ended, each newest first."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TypeAlias

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    Signal,
)

from desktop.parts.phrases import clock_time, duration, run_title
from executor_core.control import RunSummary
from executor_core.model import RunState
from executor_core.texts import text

MAX_ROWS = 10_000
"""As many as the journal keeps; older ones leave the list."""
MARKS = {
    RunState.QUEUED: "○",
    RunState.PREPARING: "◔",
    RunState.RUNNING: "▶",
    RunState.STOPPING: "■",
    RunState.COMPLETED: "✓",
    RunState.FAILED: "✗",
    RunState.CANCELLED: "⊘",
}
"""The shapes that stand for the states."""

Index: TypeAlias = QModelIndex | QPersistentModelIndex
_Key: TypeAlias = tuple[bool, float, str]

NO_INDEX = QModelIndex()


class RunsModel(QAbstractListModel):
    """Runs by id, each changed and moved in its place, so that a selection stays on its run.

    Signals:
        older_wanted: the end of the list was scrolled to, and there may be more.
    """

    older_wanted = Signal()

    def __init__(self, now: Callable[[], datetime], parent: QObject) -> None:
        super().__init__(parent)
        self._now = now
        self._runs: dict[str, RunSummary] = {}
        self._keys: list[_Key] = []
        self.agents: dict[str, str] = {}
        """What people call the agents, by name."""
        self.has_older = False

    # --- what Qt asks ---------------------------------------------------------------------

    def rowCount(self, parent: Index = NO_INDEX) -> int:
        return 0 if parent.isValid() else len(self._keys)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        run = self.run_at(index)
        if role == Qt.ItemDataRole.DisplayRole:
            return run_title(run)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{run_title(run)}, {self.second_line(run)}"
        return None

    def canFetchMore(self, parent: Index) -> bool:
        return self.has_older and not parent.isValid() and len(self._keys) < MAX_ROWS

    def fetchMore(self, parent: Index) -> None:
        self.older_wanted.emit()

    # --- what is in it --------------------------------------------------------------------

    def run_at(self, index: Index) -> RunSummary:
        """The run of a row."""
        return self._runs[self._keys[index.row()][2]]

    def run(self, run_id: str) -> RunSummary | None:
        """A run of the list by its id."""
        return self._runs.get(run_id)

    def index_of(self, run_id: str) -> QModelIndex:
        """Its row; an invalid index if it is not in the list."""
        run = self._runs.get(run_id)
        return QModelIndex() if run is None else self.index(bisect_left(self._keys, _key(run)))

    @property
    def live(self) -> tuple[RunSummary, ...]:
        """The runs that have not ended."""
        count = bisect_left(self._keys, (True, float("-inf"), ""))
        return tuple(self._runs[key[2]] for key in self._keys[:count])

    def second_line(self, run: RunSummary) -> str:
        """State, agent and time of a run in words."""
        parts = [text(f"state.run.{run.state}"), self.agents.get(run.agent, run.agent)]
        if run.state.is_final:
            parts.append(clock_time(run.accepted_at, self._now()))
        elif run.started_at is not None:
            parts.append(duration(self._now() - run.started_at))
        return " · ".join(parts)

    def put(self, runs: Iterable[RunSummary]) -> None:
        """Add runs, or what has changed of those that are there. A run that ended stays ended."""
        fresh: dict[str, RunSummary] = {}
        for run in runs:
            known = self._runs.get(run.run_id)
            if known is None:
                fresh[run.run_id] = run
            elif known != run and (run.state.is_final or not known.state.is_final):
                self._change(known, run)
        self._add(sorted(fresh.values(), key=_key))
        self._forget()

    def retell(self) -> None:
        """Names or the language are different now."""
        self._tell(0, len(self._keys) - 1)

    def tick(self) -> None:
        """Time passes for those that live."""
        self._tell(0, len(self.live) - 1)

    def _tell(self, first: int, last: int) -> None:
        if first <= last:
            self.dataChanged.emit(self.index(first), self.index(last))

    def _change(self, known: RunSummary, run: RunSummary) -> None:
        old_key, key = _key(known), _key(run)
        row = bisect_left(self._keys, old_key)
        self._runs[run.run_id] = run
        if key != old_key:
            # Before which of the rows of now it comes to stand; Qt takes its own place for no move.
            target = bisect_left(self._keys, key)
            is_move = target not in (row, row + 1)
            if is_move:
                self.beginMoveRows(NO_INDEX, row, row, NO_INDEX, target)
            del self._keys[row]
            row = target - (target > row)
            self._keys.insert(row, key)
            if is_move:
                self.endMoveRows()
        self._tell(row, row)

    def _add(self, runs: Sequence[RunSummary]) -> None:
        keys = [_key(run) for run in runs]
        for first, last in _stretches([bisect_left(self._keys, key) for key in keys]):
            # Those before it are in the list by now.
            row = bisect_left(self._keys, keys[first])
            self.beginInsertRows(NO_INDEX, row, row + last - first - 1)
            self._keys[row:row] = keys[first:last]
            self._runs |= {run.run_id: run for run in runs[first:last]}
            self.endInsertRows()

    def _forget(self) -> None:
        if len(self._keys) <= MAX_ROWS:
            return
        self.beginRemoveRows(NO_INDEX, MAX_ROWS, len(self._keys) - 1)
        for _, _, run_id in self._keys[MAX_ROWS:]:
            del self._runs[run_id]
        del self._keys[MAX_ROWS:]
        self.endRemoveRows()


def _key(run: RunSummary) -> _Key:
    return (run.state.is_final, -run.accepted_at.timestamp(), run.run_id)


def _stretches(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Where equal neighbours begin and end: what stands at one place is added at once."""
    cuts = [n for n, (one, other) in enumerate(pairwise(rows), start=1) if one != other]
    return [*pairwise([0, *cuts, len(rows)])] if rows else []
