"""A place to ask for a run on this computer: what to do, by which agent, in which folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from desktop.parts.commands import rich
from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP
from desktop.parts.window import Window
from executor_core.control import Submission
from executor_core.model import Availability
from executor_core.texts import text

_LINES = 3
# Where a combo box keeps the flags of a line; 0 takes all of them away.
_FLAGS = Qt.ItemDataRole.UserRole - 1


class _Prompt(QPlainTextEdit):
    """Enter sends; Shift+Enter is a new line; Tab goes on to what is beside it."""

    sent = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setTabChangesFocus(True)
        frame = 2 * (self.frameWidth() + int(self.document().documentMargin()))
        self.setFixedHeight(_LINES * self.fontMetrics().lineSpacing() + frame)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if is_enter and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.sent.emit()
            return
        super().keyPressEvent(event)


class PromptBox(QWidget):
    """What was typed stays until the run is accepted.

    Signals:
        begun(str): the run was accepted; its id.
    """

    begun = Signal(str)

    def __init__(self, window: Window) -> None:
        super().__init__()
        self._window = window
        self._agents: Sequence[Availability] = ()
        self._folder: Path | None = None
        self._is_sending = False
        self.prompt = _Prompt()
        self.agent = QComboBox()
        self.folder, self.no_folder = QPushButton(), QToolButton()
        self.why = Paragraph()
        self.why.hide()
        self.send = QPushButton()
        self._lay_out()
        self._say_words()
        self.agent.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.prompt.sent.connect(self._send)
        self.prompt.textChanged.connect(self._enable)
        self.send.clicked.connect(self._send)
        self.agent.currentIndexChanged.connect(self._enable)
        self.folder.clicked.connect(self._choose_folder)
        self.no_folder.clicked.connect(lambda: self.use_folder(None))
        self.use_folder(None)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP // 2)
        column.addWidget(self.prompt)
        column.addWidget(self.why)
        row = QHBoxLayout()
        row.addWidget(self.agent)
        row.addWidget(self.folder)
        row.addWidget(self.no_folder)
        row.addStretch(1)
        row.addWidget(self.send)
        column.addLayout(row)
        self.no_folder.setAutoRaise(True)
        icon = self.style().StandardPixmap.SP_TitleBarCloseButton
        self.no_folder.setIcon(self.style().standardIcon(icon))

    def _say_words(self) -> None:
        words = self._window.words
        words(self.prompt.setPlaceholderText, "runs.prompt")
        words(self.prompt.setAccessibleName, "runs.prompt_name")
        words(self.agent.setAccessibleName, "runs.agent")
        words(self.send.setText, "runs.send")
        words(self.send.setToolTip, "runs.send_hint")
        words(self.no_folder.setToolTip, "runs.no_folder")
        words(self.no_folder.setAccessibleName, "runs.no_folder")

    # --- choices --------------------------------------------------------------------------

    def offer(self, agents: Sequence[Availability]) -> None:
        """These agents, the usable ones first; the others with the reason why they are not."""
        chosen = self.agent.currentData()
        self._agents = sorted(agents, key=lambda agent: not agent.is_usable)
        self.agent.clear()
        for agent in self._agents:
            self.agent.addItem(_name(agent), agent.name)
            index = self.agent.count() - 1
            if agent.problem is not None:
                self.agent.setItemData(
                    index, rich(agent.problem.sentence), Qt.ItemDataRole.ToolTipRole
                )
            if not agent.is_usable:
                self.agent.setItemData(index, 0, _FLAGS)
        self.agent.setCurrentIndex(max(0, self.agent.findData(chosen)))
        self._say_why()
        self._enable()

    def retranslate(self) -> None:
        """Sentences with values in them, in the language of now."""
        self.offer(self._agents)
        self.use_folder(self._folder)

    def use_folder(self, folder: Path | None) -> None:
        """Work there; None: in a fresh folder of the run's own."""
        self._folder = folder
        name = text("runs.fresh_folder") if folder is None else (folder.name or str(folder))
        self.folder.setText(text("runs.folder", name=name))
        self.folder.setToolTip(str(folder) if folder else text("runs.fresh_folder_hint"))
        self.no_folder.setVisible(folder is not None)

    def _choose_folder(self) -> None:
        dialog = QFileDialog(self, text("runs.choose_folder"))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda chosen: self.use_folder(Path(chosen)))
        dialog.open()

    def _say_why(self) -> None:
        """Where no agent can work, the box says what to do about the first."""
        problems = [agent.problem for agent in self._agents if agent.problem is not None]
        is_stuck = bool(self._agents) and len(problems) == len(self._agents)
        self.why.say(problems[0].sentence if is_stuck else "")

    # --- sending --------------------------------------------------------------------------

    def _enable(self) -> None:
        chosen = next((a for a in self._agents if a.name == self.agent.currentData()), None)
        is_ready = chosen is not None and chosen.is_usable and not self._is_sending
        self.send.setEnabled(is_ready and bool(self.prompt.toPlainText().strip()))

    def _send(self) -> None:
        if not self.send.isEnabled():
            return
        wanted = Submission(
            prompt=self.prompt.toPlainText(),
            agent=self.agent.currentData(),
            folder=str(self._folder) if self._folder else None,
        )
        self._is_sending = True
        self._enable()
        self._window.ask(self._submit(wanted), "submit")

    async def _submit(self, wanted: Submission) -> None:
        try:
            run_id = await self._window.control.submit(wanted)
            if self.prompt.toPlainText() == wanted.prompt:
                self.prompt.clear()
        finally:
            self._is_sending = False
            self._enable()
        self.begun.emit(run_id)


def _name(agent: Availability) -> str:
    return agent.title if agent.problem is None else f"{agent.title} — {agent.problem.title}"
