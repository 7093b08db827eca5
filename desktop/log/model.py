"""The lines of the log as rows: bounded, filtered by level, searched."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    Signal,
)

from executor_core.services.interface import LogLine
from executor_core.texts import text
from executor_core.unicode import visible

MAX_ROWS = 100_000
_SLACK = 2_000
"""The oldest rows go so many at a time."""
MAX_SEEN_CHARS = 2_000
"""Of one line; all of it is copied."""
COLUMNS = ("log.time", "log.level", "log.source", "log.message")
MESSAGE = COLUMNS.index("log.message")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

Index: TypeAlias = QModelIndex | QPersistentModelIndex
NO_INDEX = QModelIndex()


class Row(NamedTuple):
    """A line of an entry; only the first one tells `at` and `logger`."""

    level: str
    text: str
    at: str = ""
    logger: str = ""

    def __str__(self) -> str:
        return "  ".join(part for part in (self.at, self.level, self.logger, self.text) if part)


class LogModel(QAbstractTableModel):
    """The newest `MAX_ROWS` lines; those of lower levels are kept, but not shown.

    Signals:
        forgot(int): so many of the rows that were shown are gone from the top.
    """

    forgot = Signal(int)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._rows: list[Row] = []
        self._gone = 0
        self._shown: list[int] = []
        """Of each row that is shown its number, counted from the first line ever."""
        self._hidden: frozenset[str] = frozenset()
        self.longest = 0
        """Characters of the longest line so far, as shown."""

    # --- what Qt asks ---------------------------------------------------------------------

    def rowCount(self, parent: Index = NO_INDEX) -> int:
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: Index = NO_INDEX) -> int:
        return 0 if parent.isValid() else len(COLUMNS)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if role != Qt.ItemDataRole.DisplayRole or not index.isValid():
            return None
        row = self.row(index.row())
        # The lines that go on belong to the entry above, whose time and level are said there.
        seen = (row.at, row.level if row.at else "", row.logger, row.text[:MAX_SEEN_CHARS])
        return seen[index.column()]

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> object:
        if orientation != Qt.Orientation.Horizontal or role != Qt.ItemDataRole.DisplayRole:
            return None
        return text(COLUMNS[section])

    # --- what is in it --------------------------------------------------------------------

    def row(self, number: int) -> Row:
        """A row that is shown."""
        return self._rows[self._shown[number] - self._gone]

    def add(self, lines: Iterable[LogLine]) -> None:
        """More entries, newer than all."""
        fresh = [row for line in lines for row in _rows(line)]
        first = self._gone + len(self._rows)
        shown = [n for n, row in enumerate(fresh, first) if row.level not in self._hidden]
        self._rows += fresh
        lengths = (len(row.text) for row in fresh)
        self.longest = min(MAX_SEEN_CHARS, max(self.longest, max(lengths, default=0)))
        if shown:
            end = len(self._shown)
            self.beginInsertRows(NO_INDEX, end, end + len(shown) - 1)
            self._shown += shown
            self.endInsertRows()
        if len(self._rows) > MAX_ROWS + _SLACK:
            self._forget(len(self._rows) - MAX_ROWS)

    def _forget(self, count: int) -> None:
        gone = bisect_left(self._shown, self._gone + count)
        if gone:
            self.beginRemoveRows(NO_INDEX, 0, gone - 1)
        del self._shown[:gone]
        del self._rows[:count]
        self._gone += count
        if gone:
            self.endRemoveRows()
            self.forgot.emit(gone)

    def clear(self) -> None:
        """Forget everything."""
        self.beginResetModel()
        self._rows, self._shown, self._gone, self.longest = [], [], 0, 0
        self.endResetModel()

    def show_from(self, level: str) -> None:
        """Show entries of `level` and above; what has no level is always shown."""
        self.beginResetModel()
        hidden = self._hidden = frozenset(LEVELS[: LEVELS.index(level)])
        rows = enumerate(self._rows, self._gone)
        self._shown = [number for number, row in rows if row.level not in hidden]
        self.endResetModel()

    def find(self, wanted: str) -> list[int]:
        """The rows that are shown and hold `wanted`, whatever its case."""
        folded = wanted.casefold()
        rows, gone = self._rows, self._gone
        return [
            place
            for place, number in enumerate(self._shown)
            if folded in rows[number - gone].text.casefold()
        ]


def _rows(line: LogLine) -> Iterator[Row]:
    first, *others = visible(line.text).split("\n")
    yield Row(level=line.level, text=first, at=line.at, logger=line.logger)
    for other in others:
        yield Row(level=line.level, text=other)
