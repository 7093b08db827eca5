"""A line for finding text in what is above it. It finds nothing itself."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QHideEvent, QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QToolButton, QWidget

from desktop.parts.style import GAP
from executor_core.texts import text


class _Line(QLineEdit):
    """Enter and Shift+Enter step; Escape leaves the line, not the window."""

    stepped = Signal(int)
    left = Signal()

    def event(self, event: QEvent) -> bool:
        if (
            event.type() == QEvent.Type.ShortcutOverride
            and isinstance(event, QKeyEvent)
            and event.key() == Qt.Key.Key_Escape
        ):
            event.accept()
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            is_back = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self.stepped.emit(-1 if is_back else 1)
        else:
            super().keyPressEvent(event)


class FindBar(QWidget):
    """What to find, and how much was found.

    Signals:
        wanted(str): other text is to be found; none when the bar is left.
        stepped(int): go to the next (1) or the previous (-1) place.
        left: the person is done with it.
    """

    wanted = Signal(str)
    stepped = Signal(int)
    left = Signal()

    def __init__(self, words: Callable[[Callable[[str], object], str], None]) -> None:
        """`words` is that of the window, for the texts of the bar."""
        super().__init__()
        self.line = _Line()
        self.count = QLabel()
        self.previous, self.next = QToolButton(), QToolButton()
        self.previous.setArrowType(Qt.ArrowType.UpArrow)
        self.next.setArrowType(Qt.ArrowType.DownArrow)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP // 2)
        for widget, key in ((self.previous, "find.previous"), (self.next, "find.next")):
            widget.setAutoRaise(True)
            words(widget.setToolTip, key)
            words(widget.setAccessibleName, key)
        words(self.line.setPlaceholderText, "find.what")
        words(self.line.setAccessibleName, "find.what")
        row.addWidget(self.line, 1)
        row.addWidget(self.count)
        row.addWidget(self.previous)
        row.addWidget(self.next)
        self.line.setClearButtonEnabled(True)
        self.line.textChanged.connect(self.wanted)
        self.line.stepped.connect(self.stepped)
        self.line.left.connect(self.left)
        self.previous.clicked.connect(lambda: self.stepped.emit(-1))
        self.next.clicked.connect(lambda: self.stepped.emit(1))
        self.say(0, 0)

    def begin(self) -> None:
        """Show it, ready for another text."""
        self.show()
        self.line.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.line.selectAll()
        if self.line.text():
            self.wanted.emit(self.line.text())

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        if not event.spontaneous():
            self.wanted.emit("")

    def say(self, place: int, count: int, *, has_more: bool = False) -> None:
        """The place that is shown, counted from 1, of how many."""
        for button in (self.previous, self.next):
            button.setEnabled(count > 0)
        if not self.line.text():
            self.count.clear()
        elif count == 0:
            self.count.setText(text("find.none"))
        else:
            number = f"{count}+" if has_more else str(count)
            self.count.setText(text("find.place", place=place, count=number))
