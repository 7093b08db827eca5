"""The doctor: every check as soon as it is done, and the report for those who help."""

from __future__ import annotations

import asyncio
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QCloseEvent, QGuiApplication, QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from desktop.doctor.report import ReportDialog
from desktop.doctor.row import CheckRow
from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, Tone, make_heading
from desktop.parts.window import ServicesWindow
from desktop.system.deletion import delete_later
from desktop.system.streams import closing
from executor_core.clock import Clock
from executor_core.control import Control
from executor_core.errors import ExecutorError
from executor_core.help_pages import topic_of
from executor_core.jobs import Jobs
from executor_core.services.interface import Check, Services, Verdict
from executor_core.texts import text


class DoctorWindow(ServicesWindow):
    """It looks anew whenever it is opened: what was found earlier may no longer be so."""

    name = "doctor"
    title = "doctor.title"

    def __init__(
        self, control: Control, services: Services | None, jobs: Jobs, *, clock: Clock | None = None
    ) -> None:
        super().__init__(control, services, jobs, clock=clock)
        self._looking: asyncio.Task[None] | None = None
        self.rows: list[CheckRow] = []
        self.summary = Paragraph()
        self.again, self.copy, self.bundle = QPushButton(), QPushButton(), QPushButton()
        self.list, self._column = QWidget(), QVBoxLayout()
        self._lay_out()
        self.again.clicked.connect(self._examine)
        self.copy.clicked.connect(self._copy)
        self.bundle.clicked.connect(self._collect)
        self.resize(760, 640)

    def _lay_out(self) -> None:
        make_heading(self.summary)
        bar = QHBoxLayout()
        bar.addWidget(self.summary, 1)
        for button, key in (
            (self.again, "doctor.again"),
            (self.copy, "doctor.copy"),
            (self.bundle, "doctor.bundle"),
        ):
            self.words(button.setText, key)
            bar.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        self.words(self.list.setAccessibleName, "doctor.list")
        self._column.setContentsMargins(GAP, 0, GAP, 0)
        self._column.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.list.setLayout(self._column)
        area = QScrollArea()
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setWidget(self.list)
        self.body.addLayout(bar)
        self.body.addWidget(area, 1)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not event.spontaneous():
            self._examine()

    def closeEvent(self, event: QCloseEvent) -> None:
        super().closeEvent(event)
        self._looking = None

    def retranslate(self) -> None:
        super().retranslate()
        if self.isVisible():
            # The sentences of checks come from the services in the language of that moment.
            self._examine()

    # --- looking --------------------------------------------------------------------------

    def _examine(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for row in self.rows:
            row.hide()
            delete_later(row)
        self.rows.clear()
        self._say_summary(is_done=False)
        self._looking = self.follow(self._look(), "examine")

    async def _look(self) -> None:
        async with closing(self.rooms.health.examine()) as checks:
            async for check in checks:
                self._add(check)
        self._say_summary(is_done=True)

    def _add(self, check: Check) -> None:
        row = CheckRow(check)
        row.fix_asked.connect(lambda: self.ask(self._fix(row), "fix"))
        row.explain_asked.connect(lambda: self.open_asked.emit("help", topic_of(check.name)))
        row.settings_asked.connect(lambda page: self.open_asked.emit("settings", page))
        self.rows.append(row)
        self._column.addWidget(row)
        self._say_summary(is_done=False)

    def _say_summary(self, *, is_done: bool) -> None:
        for button in (self.again, self.copy, self.bundle):
            button.setEnabled(is_done)
        if not is_done:
            self.summary.say(text("doctor.looking", count=len(self.rows)))
        elif names := self._names(Verdict.FAILED):
            self.summary.say(text("doctor.failed", names=names), Tone.BAD)
        elif names := self._names(Verdict.WARNING):
            self.summary.say(text("doctor.warned", names=names), Tone.WARNING)
        else:
            self.summary.say(text("doctor.well"), Tone.GOOD)

    def _names(self, verdict: Verdict) -> str:
        return ", ".join(row.check.title for row in self.rows if row.check.verdict is verdict)

    async def _fix(self, row: CheckRow) -> None:
        try:
            check = await self.rooms.health.fix(row.check.name)
        except ExecutorError:
            if row in self.rows:
                row.fix.setEnabled(True)
            raise
        if row in self.rows:
            row.show_check(check)
            self._say_summary(is_done=self.again.isEnabled())

    # --- telling others -------------------------------------------------------------------

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText("\n".join(row.as_text() for row in self.rows))
        self.say(text("doctor.copied", count=len(self.rows)))

    def _collect(self) -> None:
        self.bundle.setEnabled(False)
        self.say(text("doctor.collecting"))
        self.ask(self._show_report(), "collect the report")

    async def _show_report(self) -> None:
        try:
            files = await self.rooms.health.bundle()
        except ExecutorError:
            self.bundle.setEnabled(True)
            raise
        self.bundle.setEnabled(True)
        self.messages.hide()
        if not self.isVisible():
            return
        name = f"wegent-executor-{self.clock.now():%Y%m%d-%H%M%S}.zip"
        dialog = ReportDialog(self, files, name)
        dialog.save_asked.connect(lambda target: self.ask(self._save(target, files), "save"))
        dialog.open()

    async def _save(self, target: Path, files: dict[str, str]) -> None:
        written = await self.rooms.health.save_bundle(target, files)
        self.say(text("report.saved", file=written), Tone.GOOD)
