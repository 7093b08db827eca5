"""One run: what it is, how it stands, what it says and does, and what can be done about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QGuiApplication, QPalette
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from desktop.parts.find_bar import FindBar
from desktop.parts.message_bar import MessageBar
from desktop.parts.paragraph import Paragraph
from desktop.parts.phrases import clock_time, duration, run_title
from desktop.parts.style import GAP, Tone, colour, make_heading, muted
from desktop.parts.window import Window
from desktop.runs.finder import OutputFinder
from desktop.runs.model import MARKS
from desktop.runs.output import MAX_LINES, Output
from desktop.runs.row import TONES
from desktop.system.streams import closing
from executor_core.control import RunDetail, RunSummary
from executor_core.errors import ExecutorError
from executor_core.model import Source
from executor_core.texts import text

AGAIN_S = 1.0
"""After so long a stream that broke off is taken up where it ended."""
LOST = ("not_running", "executor_lost", "executor_silent")


class RunView(QWidget):
    """The chosen run of a runs window.

    Signals:
        begun(str): another run was started here; its id.
    """

    begun = Signal(str)

    def __init__(self, window: Window) -> None:
        super().__init__()
        self._window = window
        self._run: RunSummary | None = None
        self._detail: RunDetail | None = None
        self._agent = ""
        self._jobs: list[asyncio.Task[None]] = []
        self.mark, self.title = QLabel(), Paragraph()
        self.facts, self.folder = Paragraph(is_muted=True), Paragraph(is_muted=True)
        self.error = MessageBar(self)
        self.error.close_button.hide()
        self.output = Output(self)
        self.find_bar = FindBar(window.words)
        self.finder = OutputFinder(self.output, self.find_bar)
        self.beginning = Paragraph()
        self._make_buttons()
        self._lay_out()
        self.find_bar.left.connect(self._leave_find)
        self.output.shortened.connect(self.beginning.show)
        window.words(self.output.setAccessibleName, "runs.output")

    def _make_buttons(self) -> None:
        window = self._window
        self.cancel, self.retry, self.open = QPushButton(), QPushButton(), QPushButton()
        self.copy_text, self.copy_id, self.raw = QPushButton(), QPushButton(), QPushButton()
        for button, key, act in (
            (self.cancel, "runs.cancel", self._cancel),
            (self.retry, "runs.retry", self._retry),
            (self.open, "runs.open_folder", self._show_folder),
            (self.copy_text, "runs.copy_text", self._copy_text),
            (self.copy_id, "runs.copy_id", self._copy_id),
            (self.raw, "runs.raw", self._follow),
        ):
            window.words(button.setText, key)
            button.clicked.connect(act)
        self.open.setEnabled(False)
        self.raw.setCheckable(True)
        window.words(self.raw.setToolTip, "runs.raw_hint")

    def _lay_out(self) -> None:
        make_heading(self.mark)
        make_heading(self.title)
        heading = QHBoxLayout()
        heading.addWidget(self.mark, 0, Qt.AlignmentFlag.AlignTop)
        heading.addWidget(self.title, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(GAP, 0, 0, 0)
        column.setSpacing(GAP // 2)
        buttons = QHBoxLayout()
        for button in (self.cancel, self.retry, self.open, self.copy_text, self.copy_id):
            buttons.addWidget(button)
        buttons.addStretch(1)
        buttons.addWidget(self.raw)
        column.addLayout(heading)
        for label in (self.facts, self.folder):
            column.addWidget(label)
        column.addLayout(buttons)
        for widget in (self.error, self.beginning):
            column.addWidget(widget)
        column.addWidget(self.output, 1)
        column.addWidget(self.find_bar)
        self.find_bar.hide()
        self.beginning.hide()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self.tell()

    # --- which run ------------------------------------------------------------------------

    @property
    def run_id(self) -> str | None:
        """The run that is shown."""
        return self._run.run_id if self._run else None

    def show_run(self, run: RunSummary, agent: str) -> None:
        """Show `run`, from its beginning if another one was shown. `agent` is for people."""
        is_other = run.run_id != self.run_id
        is_news = is_other or self._run is None or self._run.state != run.state
        self._run, self._agent = run, agent
        if is_other:
            self._detail = None
            self._follow()
        if is_news and not is_other:
            self._jobs.append(self._window.follow(self._look(run.run_id), "look at a run"))
        self.tell()

    def resume(self) -> None:
        """The window was closed meanwhile, which ended what was followed."""
        if self._run is not None:
            self._follow()

    def _follow(self) -> None:
        """From the beginning: another run, or the same one told in another way."""
        run_id = self.run_id
        assert run_id is not None
        for job in self._jobs:
            job.cancel()
        self.beginning.hide()
        self.output.restart(is_raw=self.raw.isChecked())
        follow = self._window.follow
        self._jobs = [
            follow(self._stream(run_id), "stream"),
            follow(self._look(run_id), "look at a run"),
        ]

    async def _stream(self, run_id: str) -> None:
        after = 0
        while True:
            try:
                async with closing(self._window.control.events(run_id, after)) as events:
                    async for event in events:
                        await self.output.take(event)
                        after = event.seq
                return
            except ExecutorError as error:
                if error.code not in LOST:
                    raise
            await self._window.clock.sleep(AGAIN_S)

    async def _look(self, run_id: str) -> None:
        try:
            self._detail = await self._window.control.run(run_id)
        except ExecutorError as error:
            if error.code not in LOST:
                raise
        self.tell()

    # --- how it stands --------------------------------------------------------------------

    def tell(self) -> None:
        """Say everything anew: something changed, time passed, or the language is another."""
        run = self._run
        if run is None:
            return
        tone = TONES[run.state]
        palette = self.palette()
        shade = muted(palette) if tone is None else colour(tone, palette)
        palette.setColor(QPalette.ColorRole.WindowText, shade)
        self.mark.setPalette(palette)
        self.mark.setText(MARKS[run.state])
        self.title.setText(run.title or run_title(run))
        self.facts.setText(" · ".join(self._facts(run)))
        self.beginning.setText(text("runs.beginning_cut", lines=MAX_LINES))
        self._tell_detail(run)
        self.cancel.setVisible(not run.state.is_final)
        self.retry.setVisible(run.state.is_final and run.source is Source.API)

    def _facts(self, run: RunSummary) -> list[str]:
        now = self._window.clock.now()
        facts = [text(f"state.run.{run.state}"), self._agent]
        if run.task_id is not None:
            facts.append(text("cli.run.task", task=run.task_id))
        facts.append(clock_time(run.accepted_at, now))
        if run.started_at is not None:
            facts.append(duration((run.finished_at or now) - run.started_at))
        if (used := run.resources) is not None:
            facts.append(
                text(
                    "cli.run.resources",
                    memory=round(used.rss_bytes / 2**20),
                    cpu=f"{used.cpu_s:.1f}",
                    processes=used.processes,
                )
            )
        return facts

    def _tell_detail(self, run: RunSummary) -> None:
        detail = self._detail
        outcome = detail.outcome if detail else None
        if outcome is not None and outcome.usage is not None:
            usage = text(
                "cli.run.usage",
                input=outcome.usage.input_tokens,
                output=outcome.usage.output_tokens,
            )
            self.facts.setText(f"{self.facts.text()} · {usage}")
        folder = detail.folder if detail else None
        self.folder.say(folder or "")
        self.open.setEnabled(folder is not None)
        if outcome is not None and outcome.error is not None:
            self.error.say(outcome.error.sentence, Tone.BAD)
        else:
            self.error.hide()

    # --- what can be done -----------------------------------------------------------------

    def begin_find(self) -> None:
        """Look for something in the output."""
        self.find_bar.begin()

    def _leave_find(self) -> None:
        self.find_bar.hide()
        self.output.setFocus(Qt.FocusReason.OtherFocusReason)

    def _cancel(self) -> None:
        if self._run is not None:
            self._window.ask(self._window.control.cancel(self._run.run_id), "cancel")

    def _retry(self) -> None:
        async def retry(run_id: str) -> None:
            self.begun.emit(await self._window.control.retry(run_id))

        if self._run is not None:
            self._window.ask(retry(self._run.run_id), "retry")

    def _show_folder(self) -> None:
        folder = self._detail.folder if self._detail else None
        if folder is not None:
            self._window.show_folder(Path(folder))

    def _copy_text(self) -> None:
        outcome = self._detail.outcome if self._detail else None
        self._copy(outcome.text if outcome else self.output.answer())

    def _copy_id(self) -> None:
        self._copy(self.run_id or "")

    def _copy(self, words: str) -> None:
        QGuiApplication.clipboard().setText(words)
        self._window.say(text("runs.copied"))
