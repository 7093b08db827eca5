"""What is told in a window without stopping the person."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QToolButton, QWidget

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, Tone, tint


class MessageBar(QFrame):
    """A line at the top of a window that says something and can be sent away."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._tone: Tone | None = None
        self.setAutoFillBackground(True)
        self.label = Paragraph()
        self.label.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.close_button = QToolButton(self)
        self.close_button.setAutoRaise(True)
        self.close_button.setIcon(
            self.style().standardIcon(self.style().StandardPixmap.SP_TitleBarCloseButton)
        )
        self.close_button.clicked.connect(self.hide)
        row = QHBoxLayout(self)
        row.setContentsMargins(GAP, GAP // 2, GAP // 2, GAP // 2)
        row.addWidget(self.label, 1)
        row.addWidget(self.close_button, 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    def say(self, sentence: str, tone: Tone) -> None:
        """Show `sentence`; an earlier one goes."""
        self._tone = tone
        self._paint()
        self.label.setText(sentence)
        self.show()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()

    def _paint(self) -> None:
        if self._tone is None:
            return
        palette = self.window().palette()
        palette.setColor(self.backgroundRole(), tint(self._tone, palette))
        # Told of this change too, we come here again; the same palette once more is none.
        self.setPalette(palette)
