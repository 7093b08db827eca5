"""The log as it is written: filtered, searched, held still while somebody reads above."""

from __future__ import annotations

import asyncio
from functools import partial

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import (
    QCloseEvent,
    QFontDatabase,
    QGuiApplication,
    QKeySequence,
    QResizeEvent,
    QShortcut,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableView,
)

from desktop.log.model import MAX_ROWS, MESSAGE, LogModel
from desktop.log.row import LogRow
from desktop.parts.find_bar import FindBar
from desktop.parts.style import GAP
from desktop.parts.window import Window
from desktop.system.streams import closing
from executor_core.clock import Clock
from executor_core.control import Control
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.interface import LogLine, LogService, Services
from executor_core.texts import text

FRAME_MS = 100
BATCH = 1000
"""So many entries make a frame even before its time."""
FIND_MS = 150
AGAIN_S = 2.0
_LEVELS = {
    "DEBUG": "log.all",
    "INFO": "log.info",
    "WARNING": "log.warnings",
    "ERROR": "log.errors",
}
_WIDTHS = ("2026-01-29 13:08:22", "CRITICAL", "executor.workspace")
"""What the columns before the message have room for."""


class _Table(QTableView):
    resized = Signal()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()


class LogWindow(Window):
    """The log viewer. It follows the end until somebody scrolls up."""

    name = "log"
    title = "log.title"

    def __init__(
        self, control: Control, services: Services | None, jobs: Jobs, *, clock: Clock | None = None
    ) -> None:
        super().__init__(control, services, jobs, clock=clock)
        self._reading: asyncio.Task[None] | None = None
        self._waiting: list[LogLine] = []
        self._is_missing = False
        self._places: list[int] = []
        self.model = LogModel(self)
        self.table, self.row = _Table(), LogRow(self)
        self.level = QComboBox()
        self.find_bar = FindBar(self.words)
        self.follow_end, self.copy, self.open = QPushButton(), QPushButton(), QPushButton()
        self._frame = QTimer(self, singleShot=True, interval=FRAME_MS)
        self._find_soon = QTimer(self, singleShot=True, interval=FIND_MS)
        self._lay_out()
        self._say_words()
        self._connect()
        self.resize(1000, 600)

    def _lay_out(self) -> None:
        bar = QHBoxLayout()
        bar.addWidget(self.level)
        bar.addWidget(self.find_bar, 1)
        for button in (self.follow_end, self.copy, self.open):
            bar.addWidget(button)
        self.follow_end.setCheckable(True)
        self.follow_end.setChecked(True)
        self.body.addLayout(bar)
        self.body.addWidget(self.table, 1)
        table = self.table
        fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
        fixed.setPointSizeF(self.font().pointSizeF())
        table.setFont(fixed)
        table.setModel(self.model)
        table.setItemDelegate(self.row)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setTabKeyNavigation(False)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        rows, columns = table.verticalHeader(), table.horizontalHeader()
        rows.hide()
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(round(table.fontMetrics().lineSpacing() * 1.25))
        columns.setHighlightSections(False)
        columns.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        for column, sample in enumerate(_WIDTHS):
            width = table.fontMetrics().horizontalAdvance(sample) + 2 * GAP
            table.setColumnWidth(column, width)

    def _say_words(self) -> None:
        for widget, key in (
            (self.follow_end, "log.follow"),
            (self.copy, "log.copy"),
            (self.open, "log.open_folder"),
        ):
            self.words(widget.setText, key)
        self.words(self.follow_end.setToolTip, "log.follow_hint")
        self.words(self.level.setAccessibleName, "log.least")
        self.words(self.table.setAccessibleName, "log.title")
        for number, (level, key) in enumerate(_LEVELS.items()):
            self.level.addItem("", level)
            self.words(partial(self.level.setItemText, number), key)

    def _connect(self) -> None:
        self.level.currentIndexChanged.connect(self._show_level)
        self.find_bar.wanted.connect(self._find_soon.start)
        self.find_bar.stepped.connect(self._step)
        self.find_bar.left.connect(self.table.setFocus)
        self._find_soon.timeout.connect(self._find)
        self._frame.timeout.connect(self._show_waiting)
        self.follow_end.toggled.connect(self._stay_at_end)
        self.copy.clicked.connect(self._copy)
        self.open.clicked.connect(self._show_folder)
        self.table.resized.connect(self._widen)
        self.model.forgot.connect(self._hold_still)
        self.table.verticalScrollBar().valueChanged.connect(self._scrolled)
        # The table's own Ctrl+C copies one cell.
        for keys, act in (
            (QKeySequence.StandardKey.Copy, self._copy),
            (QKeySequence.StandardKey.Find, self.find_bar.begin),
        ):
            QShortcut(QKeySequence(keys), self, act)

    # --- reading --------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._reading is None and self.services is not None:
            self._reading = self.follow(self._read(self.services.log), "read the log")

    def closeEvent(self, event: QCloseEvent) -> None:
        super().closeEvent(event)
        self._reading = None
        self._frame.stop()
        self._waiting.clear()
        self.model.clear()

    async def _read(self, log: LogService) -> None:
        while True:
            try:
                await self._read_on(log)
            except ExecutorError as error:
                self._is_missing = True
                self.say_error(error)
            await self.clock.sleep(AGAIN_S)

    async def _read_on(self, log: LogService) -> None:
        self.model.clear()
        async with closing(log.lines(MAX_ROWS, follow=True)) as lines:
            async for line in lines:
                self._waiting.append(line)
                if len(self._waiting) >= BATCH:
                    self._show_waiting()
                    await asyncio.sleep(0)
                elif not self._frame.isActive():
                    self._frame.start()

    def _show_waiting(self) -> None:
        self._frame.stop()
        self.model.add(self._waiting)
        self._waiting.clear()
        self._widen()
        self._stay_at_end()
        if self._is_missing:
            self._is_missing = False
            self.messages.hide()

    def _widen(self) -> None:
        """Give the message the rest of the window, or what its longest line needs."""
        longest = (self.model.longest + 2) * self.table.fontMetrics().averageCharWidth()
        before = sum(self.table.columnWidth(column) for column in range(MESSAGE))
        width = max(longest, self.table.viewport().width() - before)
        if width != self.table.columnWidth(MESSAGE):
            self.table.setColumnWidth(MESSAGE, width)

    # --- where one looks ------------------------------------------------------------------

    def _scrolled(self, value: int) -> None:
        self.follow_end.setChecked(value == self.table.verticalScrollBar().maximum())

    def _stay_at_end(self) -> None:
        if self.follow_end.isChecked():
            self.table.scrollToBottom()

    def _hold_still(self, gone: int) -> None:
        if not self.follow_end.isChecked():
            bar = self.table.verticalScrollBar()
            bar.setValue(bar.value() - gone)

    def _show_level(self) -> None:
        self.model.show_from(self.level.currentData())
        self._stay_at_end()
        self._find()

    # --- finding --------------------------------------------------------------------------

    def _find(self) -> None:
        self._find_soon.stop()
        wanted = self.find_bar.line.text()
        self.row.wanted = wanted
        self.table.viewport().update()
        self._places = self.model.find(wanted) if wanted else []
        if self._places:
            self._go_to(self._nearest(0))
        else:
            self.find_bar.say(0, 0)

    def _step(self, by: int) -> None:
        wanted = self.find_bar.line.text()
        # Lines have come and gone since.
        self._places = self.model.find(wanted) if wanted else []
        if self._places:
            self._go_to(self._nearest(by))

    def _nearest(self, by: int) -> int:
        """The place to go to from the current row: at or after it, after it, or before it."""
        here = self.table.currentIndex().row()
        if by < 0:
            found = [n for n, row in enumerate(self._places) if row < here]
            return found[-1] if found else len(self._places) - 1
        return next((n for n, row in enumerate(self._places) if row >= here + by), 0)

    def _go_to(self, place: int) -> None:
        index = self.model.index(self._places[place], MESSAGE)
        self.table.setCurrentIndex(index)
        self.table.scrollTo(index, QAbstractItemView.ScrollHint.PositionAtCenter)
        self.table.viewport().update()
        self.find_bar.say(place + 1, len(self._places))

    # --- what can be done -----------------------------------------------------------------

    def _copy(self) -> None:
        """The chosen rows; all that are shown where none is chosen."""
        chosen = [index.row() for index in self.table.selectionModel().selectedRows()]
        rows = sorted(chosen) or range(self.model.rowCount())
        QGuiApplication.clipboard().setText("\n".join(str(self.model.row(n)) for n in rows))
        self.say(text("log.copied", count=len(rows)))

    def _show_folder(self) -> None:
        if self.services is not None:
            self.show_folder(self.services.log.path.parent)
