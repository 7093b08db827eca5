"""Check boxes and radio buttons whose outlines can be seen on every ground."""

from __future__ import annotations

from PySide6.QtCore import QEvent
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QAbstractButton, QApplication, QCheckBox, QRadioButton

from desktop.parts.style import outline


class CheckBox(QCheckBox):
    """In place of QCheckBox."""

    def __init__(self) -> None:
        super().__init__()
        _paint(self)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            _paint(self)


class RadioButton(QRadioButton):
    """In place of QRadioButton."""

    def __init__(self) -> None:
        super().__init__()
        _paint(self)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            _paint(self)


def _paint(button: QAbstractButton) -> None:
    """Fusion draws outlines in the colour of the ground, only darker; on dark ground none is seen.

    It fills nothing in that colour here, so it can be told another one.
    """
    if button.style().name() != "fusion":
        return
    palette = button.palette()
    shade = outline(QApplication.palette())
    for group in (QPalette.ColorGroup.Active, QPalette.ColorGroup.Inactive):
        palette.setColor(group, QPalette.ColorRole.Window, shade)
    button.setPalette(palette)
