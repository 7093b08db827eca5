"""Every run of this computer: a list, the one that is chosen, and a place to ask for another."""

from __future__ import annotations

import asyncio

from PySide6.QtCore import QItemSelectionModel, QModelIndex, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import (
    QFrame,
    QLabel,
    QListView,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from desktop.parts.phrases import clock_time
from desktop.parts.style import GAP, Tone, make_heading
from desktop.parts.window import Window
from desktop.runs.model import RunsModel
from desktop.runs.prompt import PromptBox
from desktop.runs.row import RunRow
from desktop.runs.view import RunView
from desktop.system.streams import closing
from executor_core.clock import Clock
from executor_core.control import Control, RunSummary, Status
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.interface import Services
from executor_core.texts import text

PAGE = 200
AGAIN_S = 2.0
"""After so long an executor that went away is looked for again."""
TICK_MS = 1000


class RunsWindow(Window):
    """The runs window. What it shows is told by the executor; it asks for nothing on a timer."""

    name = "runs"
    title = "runs.title"

    def __init__(
        self, control: Control, services: Services | None, jobs: Jobs, *, clock: Clock | None = None
    ) -> None:
        super().__init__(control, services, jobs, clock=clock)
        self._wanted = ""
        self._oldest: str | None = None
        self._ended = -1
        self._is_lost = False
        self._is_paging = False
        self._watch: asyncio.Task[None] | None = None
        self.model = RunsModel(self.clock.now, self)
        self.list = QListView()
        self.view = RunView(self)
        self.prompt_box = PromptBox(self)
        self._tick = QTimer(self, interval=TICK_MS)
        self._lay_out()
        self._connect()
        self.resize(1040, 700)

    def _lay_out(self) -> None:
        self.list.setModel(self.model)
        self.list.setItemDelegate(RunRow(self.list))
        self.list.setUniformItemSizes(True)
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setMinimumWidth(24 * GAP)
        self.words(self.list.setAccessibleName, "runs.list")
        self.pages = QStackedWidget()
        self.pages.addWidget(self._newcomer())
        self.pages.addWidget(self.view)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self.list)
        splitter.addWidget(self.pages)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([300, 740])
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        line.setFrameShadow(QFrame.Shadow.Sunken)
        self.body.addWidget(splitter, 1)
        self.body.addWidget(line)
        self.body.addWidget(self.prompt_box)

    def _newcomer(self) -> QWidget:
        page, heading, hint = QWidget(), QLabel(), QLabel()
        make_heading(heading, 1.4)
        hint.setWordWrap(True)
        self.words(heading.setText, "runs.none")
        self.words(hint.setText, "runs.none_hint")
        column = QVBoxLayout(page)
        column.setContentsMargins(4 * GAP, GAP, 4 * GAP, GAP)
        column.setSpacing(GAP)
        column.addStretch(1)
        for label in (heading, hint):
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            column.addWidget(label)
        column.addStretch(2)
        return page

    def _connect(self) -> None:
        self.list.selectionModel().currentChanged.connect(self._show_chosen)
        self.list.activated.connect(lambda: self.view.output.setFocus())
        self.model.older_wanted.connect(self._fetch_older)
        self.model.dataChanged.connect(self._show_news)
        self.view.begun.connect(self.show_item)
        self.prompt_box.begun.connect(self.show_item)
        self._tick.timeout.connect(self._time_passes)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Find), self, self.view.begin_find)

    # --- life -----------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._watch is None:
            self._watch = self.follow(self._watch_executor(), "watch")
            self.view.resume()
            self._tick.start()

    def closeEvent(self, event: QCloseEvent) -> None:
        super().closeEvent(event)
        self._watch = None
        self._tick.stop()

    def retranslate(self) -> None:
        super().retranslate()
        self.model.retell()
        self.prompt_box.retranslate()
        self.view.tell()
        if self.isVisible():
            self._offer()  # why an agent cannot work comes in the language of now

    def show_item(self, item: str) -> None:
        """Choose the run with this id, as soon as it is in the list."""
        self._wanted = item
        if not self._choose(item):
            self.ask(self._find(item), "find a run")

    # --- the executor ---------------------------------------------------------------------

    async def _watch_executor(self) -> None:
        while True:
            try:
                self._offer()
                async with closing(self.control.changes()) as changes:
                    async for status in changes:
                        self._is_here()
                        await self._follow_status(status)
            except ExecutorError as error:
                self._is_away(error)
            await self.clock.sleep(AGAIN_S)

    async def _follow_status(self, status: Status) -> None:
        live = {run.run_id for run in status.runs}
        gone = any(run.run_id not in live for run in self.model.live)
        self._put(status.runs)
        if gone or status.ended != self._ended:
            await self._refresh()
            self._ended = status.ended

    async def _refresh(self) -> None:
        """Fetch what is new, however much it is, back to what is known."""
        before = None
        is_empty = self.model.rowCount() == 0
        while True:
            page = await self.control.runs(PAGE, before)
            ended = [run for run in page if run.state.is_final]
            is_known = any(self._is_known(run) for run in ended)
            if is_empty:
                self._end_of_page(page)
            self._put(page)
            if is_known or is_empty or len(page) < PAGE:
                break
            before = ended[-1].run_id
        self._show_page()

    def _is_known(self, run: RunSummary) -> bool:
        known = self.model.run(run.run_id)
        return known is not None and known.state.is_final

    def _fetch_older(self) -> None:
        if not self._is_paging and self._watch is not None:
            self._is_paging = True
            self.follow(self._page_back(), "older runs")

    async def _page_back(self) -> None:
        try:
            page = await self.control.runs(PAGE, self._oldest)
        finally:
            # Before the rows are there: the list may want the next ones while it takes these.
            self._is_paging = False
        self._end_of_page(page)
        self._put(page)

    def _end_of_page(self, page: tuple[RunSummary, ...]) -> None:
        # Not the list's own end: a run that somebody looked up may lie far behind it, and one that
        # is active may be older than its page.
        self._oldest = next((run.run_id for run in reversed(page) if run.state.is_final), None)
        self.model.has_older = len(page) >= PAGE and self._oldest is not None

    def _offer(self) -> None:
        async def ask() -> None:
            agents = await self.control.agents()
            self.model.agents = {agent.name: agent.title for agent in agents}
            self.prompt_box.offer(agents)
            self.model.retell()

        self.follow(ask(), "agents")

    def _is_away(self, error: ExecutorError) -> None:
        if not self._is_lost:
            self._is_lost = True
            now = self.clock.now()
            since = text("runs.lost", title=error.message.title, time=clock_time(now, now))
            self.say(since, Tone.WARNING)

    def _is_here(self) -> None:
        if self._is_lost:
            self._is_lost = False
            self._ended = -1
            self.messages.hide()

    # --- the list -------------------------------------------------------------------------

    def _put(self, runs: tuple[RunSummary, ...]) -> None:
        self.model.put(runs)
        self._show_page()

    def _show_page(self) -> None:
        has_runs = self.model.rowCount() > 0
        self.pages.setCurrentIndex(1 if has_runs else 0)
        is_unchosen = has_runs and not self.list.currentIndex().isValid()
        if is_unchosen and not self._choose(self._wanted):
            self.list.setCurrentIndex(self.model.index(0))

    def _choose(self, run_id: str) -> bool:
        index = self.model.index_of(run_id)
        if index.isValid():
            self._wanted = ""
            choose = QItemSelectionModel.SelectionFlag.ClearAndSelect
            self.list.selectionModel().setCurrentIndex(index, choose)
            self.list.scrollTo(index)
        return index.isValid()

    async def _find(self, run_id: str) -> None:
        self._put(((await self.control.run(run_id)).run,))
        self._choose(run_id)

    def _show_chosen(self, index: QModelIndex) -> None:
        if index.isValid():
            run = self.model.run_at(index)
            self.view.show_run(run, self.model.agents.get(run.agent, run.agent))

    def _show_news(self, first: QModelIndex, last: QModelIndex) -> None:
        chosen = self.list.currentIndex()
        if chosen.isValid() and first.row() <= chosen.row() <= last.row():
            self._show_chosen(chosen)

    def _time_passes(self) -> None:
        if self.isVisible() and self.model.live:
            self.model.tick()
