"""What the pages of the settings window share, with the first run: the desk, words, a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QLabel, QMessageBox, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from desktop.base import Window
from desktop.deletion import delete_later
from desktop.style import GAP, Tone, colour, make_heading, muted
from executor_core.clock import Clock, SystemClock
from executor_core.control import Control, Status
from executor_core.control.desk import Desk, Setting
from executor_core.jobs import Jobs
from executor_core.texts import text


class DeskWindow(Window):
    """A window that works with the desk and cannot be without it."""

    def __init__(
        self, control: Control, desk: Desk | None, jobs: Jobs, *, clock: Clock | None = None
    ) -> None:
        super().__init__(control, desk, jobs)
        assert desk is not None
        self.rooms: Desk = desk
        self.clock = clock or SystemClock()

    async def change(self, name: str, value: str | list[str] | None) -> Setting:
        """Change an option, and have it count as soon as it can. Raises as SettingsDesk.change."""
        return await self.rooms.settings.change(name, value)

    def needs_restart(self, name: str, *, is_needed: bool = True) -> None:
        """That `name` counts from the next start only; said where the window has a place for it."""

    def question(self, title: str, sentence: str, deed: str, act: Callable[[], object]) -> None:
        """Ask before something that cannot be taken back; `deed` is the word on the button."""
        box = QMessageBox(QMessageBox.Icon.Question, title, title, parent=self)
        box.setInformativeText(sentence)
        box.setTextFormat(Qt.TextFormat.PlainText)
        yes = box.addButton(deed, QMessageBox.ButtonRole.AcceptRole)
        no = box.addButton(text("settings.no"), QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(no)
        box.setEscapeButton(no)

        def answered() -> None:
            if box.clickedButton() is yes:
                act()
            delete_later(box)

        box.finished.connect(lambda _: answered())
        box.open()


class Page(QWidget):
    """One page. `name` is its stable name, `title` the key of its title."""

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, window: DeskWindow) -> None:
        super().__init__()
        self.host = window
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(2 * GAP, GAP, 2 * GAP, GAP)
        self.column.setSpacing(GAP)
        heading = QLabel()
        make_heading(heading, 1.3)
        window.words(heading.setText, self.title)
        self.column.addWidget(heading)

    def appear(self) -> None:
        """It came to the front: find out how things are now."""

    def take(self, settings: Mapping[str, Setting]) -> None:
        """The options as they are now."""

    def show_status(self, status: Status) -> None:
        """The executor as it is now."""

    def retranslate(self) -> None:
        """Say sentences with values in them in the language of now."""

    def sentence(self, key: str = "", *, is_muted: bool = False) -> Paragraph:
        """A new paragraph at the end of the page."""
        label = Paragraph(is_muted=is_muted)
        if key:
            self.host.words(label.setText, key)
        self.column.addWidget(label)
        return label

    def subheading(self, key: str) -> QLabel:
        """A heading at the end of the page."""
        label = QLabel()
        make_heading(label, 1.0)
        self.host.words(label.setText, key)
        self.column.addSpacing(GAP)
        self.column.addWidget(label)
        return label

    def button(self, key: str, act: Callable[[], object]) -> QPushButton:
        """A button, not yet in any layout."""
        button = QPushButton()
        self.host.words(button.setText, key)
        button.clicked.connect(lambda: act())
        return button


class Paragraph(QLabel):
    """Text that wraps, can be selected, and keeps its shade when the system's colours change."""

    def __init__(self, *, is_muted: bool = False) -> None:
        super().__init__()
        self._is_muted = is_muted
        self._is_painting = False
        self._tone: Tone | None = None
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._paint()

    def say(self, words: str, tone: Tone | None = None) -> None:
        """Show `words`; nothing takes no place."""
        self._tone = tone
        self.setText(words)
        self.setVisible(bool(words))
        self._paint()

    def minimumSizeHint(self) -> QSize:
        """One line: how high it is for its width, the layout asks elsewhere."""
        return QSize(8 * GAP, self.fontMetrics().lineSpacing())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        is_ours = self._is_painting or event.type() != QEvent.Type.PaletteChange
        if not is_ours:
            self._paint()

    def _paint(self) -> None:
        # The parent's: our own palette is what is being changed here.
        parent = self.parentWidget()
        palette = QPalette(parent.palette() if parent is not None else QPalette())
        if self._tone is not None:
            palette.setColor(QPalette.ColorRole.WindowText, colour(self._tone, palette))
        elif self._is_muted:
            palette.setColor(QPalette.ColorRole.WindowText, muted(palette))
        self._is_painting = True
        self.setPalette(palette)
        self._is_painting = False
