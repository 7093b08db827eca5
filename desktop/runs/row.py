"""A run in the list: its title, and below it what it is doing."""

# Qt's stubs leave out the fields of plain structs.
# mypy: disable-error-code="attr-defined, no-any-return"

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPalette
from PySide6.QtWidgets import QApplication, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from desktop.parts.phrases import run_title
from desktop.parts.style import GAP, Tone, colour, muted
from desktop.runs.model import MARKS, Index, RunsModel
from executor_core.model import RunState

TONES = {
    RunState.QUEUED: None,
    RunState.PREPARING: Tone.ACCENT,
    RunState.RUNNING: Tone.ACCENT,
    RunState.STOPPING: Tone.WARNING,
    RunState.COMPLETED: Tone.GOOD,
    RunState.FAILED: Tone.BAD,
    RunState.CANCELLED: None,
}
"""The colour that goes with a state's shape; None: no colour of its own."""


class RunRow(QStyledItemDelegate):
    """Paints the rows of a `RunsModel`."""

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        return QSize(12 * GAP, 2 * _line_height(option.font) + 2 * GAP)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        model = index.model()
        assert isinstance(model, RunsModel)
        run = model.run_at(index)
        style = option.widget.style() if option.widget else QApplication.style()
        ground = QStyle.PrimitiveElement.PE_PanelItemViewItem
        style.drawPrimitive(ground, option, painter, option.widget)
        normal, soft, shape = _colours(option, run.state)
        height = _line_height(option.font)
        place = option.rect.adjusted(GAP, GAP, -GAP, -GAP)
        words = place.adjusted(height + GAP // 2, 0, 0, 0)
        bold = QFont(option.font)
        bold.setBold(not run.state.is_final)
        painter.save()
        painter.setFont(option.font)
        painter.setPen(shape)
        side = QRect(place.left(), place.top(), height, height)
        painter.drawText(side, Qt.AlignmentFlag.AlignCenter, MARKS[run.state])
        _draw_line(painter, words, run_title(run), bold, normal)
        words.setTop(words.top() + height)
        _draw_line(painter, words, model.second_line(run), option.font, soft)
        painter.restore()


def _colours(option: QStyleOptionViewItem, state: RunState) -> tuple[QColor, QColor, QColor]:
    """For the title, the line below it, and the shape."""
    if option.state & QStyle.StateFlag.State_Selected:
        on_ground = option.palette.color(QPalette.ColorRole.HighlightedText)
        return on_ground, on_ground, on_ground
    normal, soft = option.palette.color(QPalette.ColorRole.Text), muted(option.palette)
    tone = TONES[state]
    return normal, soft, soft if tone is None else colour(tone, option.palette)


def _line_height(font: QFont) -> int:
    # A title may be in a script that stands higher than the font of the system.
    return round(QFontMetrics(font).lineSpacing() * 1.3)


def _draw_line(painter: QPainter, place: QRect, line: str, font: QFont, ink: QColor) -> None:
    painter.setFont(font)
    painter.setPen(ink)
    fitting = QFontMetrics(font).elidedText(line, Qt.TextElideMode.ElideRight, place.width())
    painter.drawText(place, Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft, fitting)
