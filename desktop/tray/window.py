"""What takes the tray's place on a desktop that has none: the same state and the same menu."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QCloseEvent, QIcon
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, make_heading
from desktop.parts.window import Window
from desktop.tray.glance import Glance
from desktop.tray.menu import TrayMenu
from executor_core.control import Control
from executor_core.jobs import Jobs
from executor_core.texts import text

_ICON = 48


class StatusWindow(Window):
    """The state in words, and a button with the tray's menu.

    Signals:
        close_asked: the person closed it; it stays, since nothing else of us would be seen.
    """

    name = "status"
    title = "status.title"
    close_asked = Signal()

    def __init__(self, control: Control, jobs: Jobs, menu: TrayMenu) -> None:
        super().__init__(control, None, jobs)
        self._may_close = False
        self._icon = QLabel()
        self.headline, self.detail, self.note = Paragraph(), Paragraph(), Paragraph()
        make_heading(self.headline)
        self.words(self.note.setText, "status.no_tray")
        self.button = QPushButton()
        self.button.setMenu(menu)
        self.words(self.button.setText, "status.menu")
        self._lay_out()
        self.resize(440, 200)

    def _lay_out(self) -> None:
        sentences = QVBoxLayout()
        sentences.addWidget(self.headline)
        sentences.addWidget(self.detail)
        head = QHBoxLayout()
        head.setSpacing(2 * GAP)
        head.addWidget(self._icon, 0, Qt.AlignmentFlag.AlignTop)
        head.addLayout(sentences, 1)
        self.body.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        self.body.addLayout(head)
        self.body.addWidget(self.note)
        self.body.addStretch(1)
        self.body.addWidget(self.button, 0, Qt.AlignmentFlag.AlignRight)

    def show_glance(self, glance: Glance, icon: QIcon) -> None:
        """The state of now."""
        self._icon.setPixmap(icon.pixmap(_ICON, _ICON))
        self._icon.setAccessibleName(glance.headline)
        self.headline.setText(glance.headline)
        self.detail.setText(text("tray.slots", used=glance.used, max=glance.max))
        self.detail.setVisible(glance.max > 0)

    def put_away(self) -> None:
        """Close it for good: a tray came, or the program ends."""
        self._may_close = True
        self.close()
        self._may_close = False

    def closeEvent(self, event: QCloseEvent) -> None:
        if self._may_close:
            super().closeEvent(event)
        else:
            event.ignore()
            self.close_asked.emit()
