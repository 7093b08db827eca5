"""From nothing to a finished task: where tasks come from, which agents there are, and one try."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, Tone, make_heading
from desktop.parts.window import ServicesWindow
from desktop.runs.output import Output
from desktop.settings.agents import AgentList
from desktop.settings.connection import ALONE
from desktop.settings.sign_in import SignIn
from desktop.system.streams import closing
from executor_core.clock import Clock
from executor_core.control import Control, Status, Submission
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import Outcome, RunEnded, RunState
from executor_core.services.interface import Account, Services
from executor_core.texts import text

STEPS = ("where", "agents", "try")


class FirstRunWindow(ServicesWindow):
    """Three steps. What was chosen is kept at once, so leaving early loses nothing."""

    name = "first_run"
    title = "first.title"

    def __init__(
        self, control: Control, services: Services | None, jobs: Jobs, *, clock: Clock | None = None
    ) -> None:
        super().__init__(control, services, jobs, clock=clock)
        self.heading, self.note = QLabel(), Paragraph()
        self.steps = QStackedWidget()
        self.alone, self.server, self.back = QPushButton(), QPushButton(), QPushButton()
        self.form = SignIn(self)
        self.agents = AgentList(self)
        self.why_not = Paragraph()
        self.go_on = QPushButton()
        self.prompt, self.agent = QLineEdit(), QComboBox()
        self.output = Output(self)
        self.ending = Paragraph()
        self.try_it, self.done = QPushButton(), QPushButton()
        self._prompt_of_ours = ""
        self._has_ended = False
        self._lay_out()
        self._connect()
        self.show_item("where")
        self.resize(720, 560)

    def _lay_out(self) -> None:
        make_heading(self.heading, 1.5)
        self.heading.setWordWrap(True)
        self.body.setContentsMargins(3 * GAP, 2 * GAP, 3 * GAP, 2 * GAP)
        self.body.setSpacing(2 * GAP)
        for widget in (self.heading, self.note, self.steps):
            self.body.addWidget(widget, 1 if widget is self.steps else 0)
        for step in (self._where(), self._agents(), self._try()):
            self.steps.addWidget(step)
        for put, key in (
            (self.alone.setText, "first.alone"),
            (self.server.setText, "first.server"),
            (self.back.setText, "first.back"),
            (self.go_on.setText, "first.go_on"),
            (self.try_it.setText, "first.try_it"),
            (self.done.setText, "first.done"),
            (self.prompt.setAccessibleName, "runs.prompt_name"),
            (self.agent.setAccessibleName, "runs.agent"),
            (self.output.setAccessibleName, "runs.output"),
        ):
            self.words(put, key)

    def _where(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP)
        self.choice = QWidget()
        choices = QVBoxLayout(self.choice)
        choices.setContentsMargins(0, 0, 0, 0)
        choices.setSpacing(GAP)
        for button, key in ((self.alone, "first.alone_note"), (self.server, "first.server_note")):
            note = Paragraph(is_muted=True)
            self.words(note.setText, key)
            button.setMinimumHeight(5 * GAP)
            choices.addWidget(button)
            choices.addWidget(note)
            choices.addSpacing(GAP)
        column.addWidget(self.choice)
        column.addWidget(self.form)
        column.addWidget(self.back, 0, Qt.AlignmentFlag.AlignLeft)
        column.addStretch(1)
        return page

    def _agents(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        area = QScrollArea()
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        inside = QWidget()
        rows = QVBoxLayout(inside)
        rows.setContentsMargins(0, 0, GAP, 0)
        rows.addWidget(self.agents)
        rows.addStretch(1)
        area.setWidget(inside)
        column.addWidget(area, 1)
        column.addWidget(self.why_not)
        column.addWidget(self.go_on, 0, Qt.AlignmentFlag.AlignRight)
        self.why_not.hide()
        return page

    def _try(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP)
        row = QHBoxLayout()
        row.addWidget(self.prompt, 1)
        row.addWidget(self.agent)
        row.addWidget(self.try_it)
        column.addLayout(row)
        column.addWidget(self.output, 1)
        column.addWidget(self.ending)
        column.addWidget(self.done, 0, Qt.AlignmentFlag.AlignRight)
        self.agent.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.ending.hide()
        return page

    def _connect(self) -> None:
        self.alone.clicked.connect(lambda: self.ask(self._work_alone(), "work alone"))
        self.server.clicked.connect(lambda: self._show_form(is_shown=True))
        self.back.clicked.connect(lambda: self._show_form(is_shown=False))
        self.form.signed_in.connect(lambda account: self.ask(self._signed_in(account), "signed in"))
        self.agents.looked.connect(self._looked)
        self.go_on.clicked.connect(lambda: self.show_item("try"))
        self.prompt.returnPressed.connect(self.try_it.click)
        self.prompt.textChanged.connect(self._enable)
        self.agent.currentIndexChanged.connect(self._enable)
        self.try_it.clicked.connect(lambda: self.follow(self._run(), "first task"))
        self.done.clicked.connect(self.close)
        self._show_form(is_shown=False)

    # --- steps ----------------------------------------------------------------------------

    @property
    def step(self) -> str:
        """The name of the one that is shown."""
        return STEPS[self.steps.currentIndex()]

    def show_item(self, item: str) -> None:
        """Go to one of the steps."""
        if item in STEPS:
            self.steps.setCurrentIndex(STEPS.index(item))
            self._say_step()
            if self.isVisible():
                self._begin_step()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._begin_step()

    def _begin_step(self) -> None:
        first = {"where": self.alone, "agents": self.go_on, "try": self.try_it}
        first[self.step].setFocus(Qt.FocusReason.OtherFocusReason)
        if self.step != "where":
            self.agents.look()

    def _say_step(self) -> None:
        number = STEPS.index(self.step) + 1
        self.heading.setText(text(f"first.{self.step}"))
        progress = text("first.step", number=number, count=len(STEPS))
        self.note.say(f"{progress} {text(f'first.{self.step}_note')}")
        if self.prompt.text() == self._prompt_of_ours:
            self._prompt_of_ours = text("first.prompt")
            self.prompt.setText(self._prompt_of_ours)

    def retranslate(self) -> None:
        super().retranslate()
        self._say_step()
        self.form.retranslate()
        if self.isVisible() and self.step != "where":
            self.agents.look()
        if self._has_ended:
            self.ending.setText("")

    # --- where tasks come from ------------------------------------------------------------

    def _show_form(self, *, is_shown: bool) -> None:
        self.choice.setVisible(not is_shown)
        self.form.setVisible(is_shown)
        self.back.setVisible(is_shown)
        if is_shown:
            self.form.address.setFocus(Qt.FocusReason.OtherFocusReason)

    async def _work_alone(self) -> None:
        status = await self.control.status()
        if not _has_hub(status):
            await self.rooms.settings.change(ALONE, "true")
            self._begin_anew()
        else:
            self.show_item("agents")

    async def _signed_in(self, account: Account) -> None:
        status = await self.control.status()
        if account.server not in {link.server for link in status.links}:
            self._begin_anew()
        else:
            self.show_item("agents")

    def _begin_anew(self) -> None:
        """What was chosen counts from the next start; where it is another process, say so."""
        self.steps.setEnabled(False)
        if self.program is not None and self.program.restart is not None:
            self.program.restart(self.name, "agents")
        else:
            self.say(text("settings.restart_there"), Tone.WARNING)

    # --- agents ---------------------------------------------------------------------------

    def _looked(self) -> None:
        usable = [agent for agent in self.agents.agents if agent.is_usable]
        self.go_on.setEnabled(bool(usable))
        self.why_not.say("" if usable else text("first.no_agent"), Tone.WARNING)
        chosen = self.agent.currentData()
        # No agent for a moment would disable the button, which would lose the focus.
        self.agent.blockSignals(True)
        self.agent.clear()
        for agent in usable:
            self.agent.addItem(agent.title, agent.name)
        self.agent.setCurrentIndex(max(0, self.agent.findData(chosen)))
        self.agent.blockSignals(False)
        self._enable()

    def _enable(self) -> None:
        has_agent = self.agent.currentData() is not None
        self.try_it.setEnabled(has_agent and bool(self.prompt.text().strip()))

    # --- one try --------------------------------------------------------------------------

    async def _run(self) -> None:
        self.try_it.setEnabled(False)
        self.ending.say(text("first.running"))
        self.output.restart(is_raw=False)
        submission = Submission(prompt=self.prompt.text(), agent=self.agent.currentData())
        try:
            self._say_ending(await self._watch(await self.control.submit(submission)))
        except ExecutorError as error:
            self.ending.say(error.message.sentence, Tone.BAD)
        finally:
            self._enable()

    async def _watch(self, run_id: str) -> Outcome:
        async with closing(self.control.events(run_id)) as events:
            async for event in events:
                await self.output.take(event)
                if isinstance(event, RunEnded):
                    return event.outcome
        raise ExecutorError("executor_lost")

    def _say_ending(self, outcome: Outcome) -> None:
        self._has_ended = True
        if outcome.state is RunState.COMPLETED:
            self.ending.say(text("first.completed"), Tone.GOOD)
            self.done.setFocus(Qt.FocusReason.OtherFocusReason)
        elif outcome.error is not None:
            self.ending.say(outcome.error.sentence, Tone.BAD)


def _has_hub(status: Status) -> bool:
    return any(link.server == status.api for link in status.links)
