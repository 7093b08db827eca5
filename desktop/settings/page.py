"""What the pages of the settings window share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, make_heading
from desktop.parts.window import ServicesWindow
from executor_core.control import Status
from executor_core.services.interface import Setting


class Page(QWidget):
    """One page. `name` is its stable name, `title` the key of its title."""

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, window: ServicesWindow) -> None:
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

    def row(self, *buttons: QPushButton) -> None:
        """Buttons side by side at the end of the page."""
        row = QHBoxLayout()
        for button in buttons:
            row.addWidget(button)
        row.addStretch(1)
        self.column.addLayout(row)
