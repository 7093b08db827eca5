"""A line of the log: coloured by its level, with what is searched for marked in it."""

# Qt's stubs leave out the fields of plain structs.
# mypy: disable-error-code="attr-defined, no-any-return"

from __future__ import annotations

import re

from PySide6.QtCore import QRect, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPalette
from PySide6.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from desktop.log.model import MESSAGE, Index, LogModel
from desktop.parts.style import Tone, colour, muted, tint

_TONES = {"WARNING": Tone.WARNING, "ERROR": Tone.BAD, "CRITICAL": Tone.BAD}
_EDGE = 4


class LogRow(QStyledItemDelegate):
    """Paints the cells of a `LogModel`. `wanted` is marked wherever it stands in a message."""

    wanted = ""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = index.model()
        assert isinstance(model, LogModel)
        style = option.widget.style() if option.widget else QApplication.style()
        ground = QStyle.PrimitiveElement.PE_PanelItemViewItem
        style.drawPrimitive(ground, option, painter, option.widget)
        words = str(index.data())
        place = option.rect.adjusted(_EDGE, 0, -_EDGE, 0)
        painter.save()
        painter.setFont(option.font)
        if index.column() == MESSAGE and self.wanted:
            self._mark(painter, option, place, words)
        painter.setPen(_ink(option, index.column(), model.row(index.row()).level))
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, words)
        painter.restore()

    def _mark(
        self, painter: QPainter, option: QStyleOptionViewItem, place: QRect, words: str
    ) -> None:
        metrics = QFontMetrics(option.font)
        shade = tint(Tone.WARNING, option.palette)
        for found in re.finditer(re.escape(self.wanted), words, re.IGNORECASE):
            left = place.left() + metrics.horizontalAdvance(words[: found.start()])
            width = metrics.horizontalAdvance(found.group())
            painter.fillRect(QRect(left, place.top(), width, place.height()), shade)


def _ink(option: QStyleOptionViewItem, column: int, level: str) -> QColor:
    if option.state & QStyle.StateFlag.State_Selected:
        return option.palette.color(QPalette.ColorRole.HighlightedText)
    if level in _TONES:
        return colour(_TONES[level], option.palette)
    is_quiet = column != MESSAGE or level == "DEBUG"
    return muted(option.palette) if is_quiet else option.palette.color(QPalette.ColorRole.Text)
