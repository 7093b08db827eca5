"""Sentences in a window, whoever wrote them: the one way in which they are shown."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QLabel, QSizePolicy

from desktop.parts.commands import has_command, rich
from desktop.parts.style import GAP, Tone, colour, muted
from executor_core.unicode import visible


class Paragraph(QLabel):
    """Text that wraps, can be selected, and keeps its shade when the system's colours change."""

    def __init__(self, *, is_muted: bool = False) -> None:
        super().__init__()
        self._is_muted = is_muted
        self._tone: Tone | None = None
        self._words = ""
        self.setWordWrap(True)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._paint()

    def setText(self, words: str) -> None:
        self._words = words = visible(words)
        is_rich = has_command(words)
        self.setTextFormat(Qt.TextFormat.RichText if is_rich else Qt.TextFormat.PlainText)
        super().setText(rich(words) if is_rich else words)

    def text(self) -> str:
        """The words as they were given."""
        return self._words

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
        if event.type() == QEvent.Type.PaletteChange:
            self._paint()

    def _paint(self) -> None:
        # The parent's: our own palette is what is being changed here.
        parent = self.parentWidget()
        palette = QPalette(parent.palette() if parent is not None else QPalette())
        if self._tone is not None:
            palette.setColor(QPalette.ColorRole.WindowText, colour(self._tone, palette))
        elif self._is_muted:
            palette.setColor(QPalette.ColorRole.WindowText, muted(palette))
        # Told of this change too, we come here again; the same palette once more is none.
        self.setPalette(palette)
