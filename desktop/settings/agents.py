"""The agents of this computer: which can work, why others cannot, and installing them."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, Tone, make_heading
from desktop.parts.window import ServicesWindow
from desktop.settings.plain import FieldsPage
from executor_core.errors import ExecutorError
from executor_core.model import Availability
from executor_core.services.interface import InstallPlan
from executor_core.texts import paragraph, text

MAX_LINES = 500
"""Of what an installation says; the last ones stay."""


class AgentRow(QFrame):
    """One agent: its state in words, and a button where something can be done about it."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.state, self.hint = Paragraph(), Paragraph(), Paragraph(is_muted=True)
        make_heading(self.title, 1.0)
        self.install = QPushButton()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, GAP // 2, 0, GAP // 2)
        words = QVBoxLayout()
        words.setSpacing(GAP // 4)
        for label in (self.title, self.state, self.hint):
            words.addWidget(label)
        row.addLayout(words, 1)
        row.addWidget(self.install)

    def show_agent(self, agent: Availability, *, can_install: bool) -> None:
        """The agent as it was found."""
        self.title.setText(agent.title)
        if agent.is_usable:
            known = (agent.version, agent.remark, agent.login, agent.path)
            facts = [part for part in known if part]
            self.state.say(text("settings.agent_usable"), Tone.GOOD)
            self.hint.say(" · ".join(facts))
        else:
            problem = agent.problem
            title = problem.title if problem else text("settings.agent_unusable")
            self.state.say(text("settings.agent_not", title=title), Tone.WARNING)
            self.hint.say(paragraph(problem.detail, problem.hint) if problem else "")
        self.install.setVisible(can_install and not agent.is_usable)
        self.install.setText(text("settings.install"))
        self.install.setAccessibleName(text("settings.install_name", title=agent.title))


class AgentList(QWidget):
    """All agents, and the installation that runs.

    Signals:
        looked: the agents were looked for; they are in `agents`.
    """

    looked = Signal()

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__()
        self._window = window
        self._is_installing = False
        self.agents: Sequence[Availability] = ()
        self.rows: dict[str, AgentRow] = {}
        self.note = Paragraph()
        self.progress = QPlainTextEdit()
        self.progress.setReadOnly(True)
        self.progress.setTabChangesFocus(True)
        self.progress.setMaximumBlockCount(MAX_LINES)
        self.progress.setFixedHeight(14 * GAP)
        self.progress.hide()
        window.words(self.progress.setAccessibleName, "settings.install_progress")
        self.again = QPushButton()
        self.again.clicked.connect(self.look)
        window.words(self.again.setText, "settings.look_again")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.addWidget(self.note)
        self._column.addWidget(self.progress)
        row = QHBoxLayout()
        row.addWidget(self.again)
        row.addStretch(1)
        self._column.addLayout(row)
        self.note.say(text("settings.looking"))

    def look(self) -> None:
        """Find out which agents there are."""

        async def look() -> None:
            await self._look()
            if not self._is_installing:
                self.note.say("")

        self._window.follow(look(), "agents")

    async def _look(self) -> None:
        self.again.setEnabled(False)
        try:
            self.agents = await self._window.control.agents(anew=True)
        finally:
            self.again.setEnabled(True)
        self.retranslate()
        self.looked.emit()

    def retranslate(self) -> None:
        """The same in the language of now."""
        known = self._window.rooms.install.installable()
        for agent in sorted(self.agents, key=lambda agent: not agent.is_usable):
            if agent.name not in self.rows:
                row = self.rows[agent.name] = AgentRow()
                row.install.clicked.connect(lambda _=False, name=agent.name: self._plan(name))
                self._column.insertWidget(len(self.rows) - 1, row)
            self.rows[agent.name].show_agent(agent, can_install=agent.name in known)
            self.rows[agent.name].install.setEnabled(not self._is_installing)

    # --- installing -----------------------------------------------------------------------

    def _plan(self, name: str) -> None:
        async def plan() -> None:
            try:
                found = await self._window.rooms.install.plan(name)
            except ExecutorError as error:
                self.note.say(error.message.sentence, Tone.BAD)
                return
            self._window.question(
                text("settings.install_title", title=found.title),
                text("settings.install_plan", folder=found.folder, command=found.command),
                text("settings.install"),
                lambda: self._window.ask(self._install(found), "install an agent"),
            )

        self._window.ask(plan(), "plan an installation")

    async def _install(self, plan: InstallPlan) -> None:
        if self._is_installing:
            return
        self._is_installing = True
        self.retranslate()
        self.progress.clear()
        self.progress.show()
        self.note.say(text("settings.installing", title=plan.title))
        try:
            done = await self._window.rooms.install.install(
                plan.name, self.progress.appendPlainText
            )
        except ExecutorError as error:
            self.note.say(error.message.sentence, Tone.BAD)
        else:
            self.progress.hide()
            self.note.say(
                text("cli.install.done", agent=plan.title, version=done.version, path=done.path),
                Tone.GOOD,
            )
            if done.shadowed_by is not None:
                self.note.say(text("cli.install.shadowed", path=done.shadowed_by), Tone.WARNING)
        finally:
            self._is_installing = False
            await self._look()


class AgentsPage(FieldsPage):
    """The agents, and the options about them."""

    name = "agents"
    title = "settings.agents"
    names = ("device.agent", "agents.anthropic_api_key")

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.list = AgentList(window)
        self.column.addWidget(self.list)
        self.heading = self.subheading("settings.agent_options")
        self.place = self.column.count()
        self.column.addStretch(1)

    def appear(self) -> None:
        self.list.look()

    def retranslate(self) -> None:
        self.list.retranslate()
