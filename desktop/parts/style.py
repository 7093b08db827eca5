"""The few colours and distances of our windows. All else is the system's own style.

Colours follow the palette, so they change with the system from light to dark; text sizes are
relative to the font that the person chose.
"""

from __future__ import annotations

from enum import Enum

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFont, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QWidget

GAP = 8
"""Pixels between things that belong together; margins and columns are multiples of it."""


_GROUNDS = {"light": "#efefef", "dark": "#2b2b2b"}
_SCHEMES = {"light": Qt.ColorScheme.Light, "dark": Qt.ColorScheme.Dark}


class Tone(Enum):
    """What a colour says: its value on light and on dark ground. Never said by colour alone."""

    GOOD = ("#1a7f37", "#3fb950")
    WARNING = ("#9a6700", "#d29922")
    BAD = ("#cf222e", "#f85149")
    ACCENT = ("#0969da", "#58a6ff")


def use_colours(scheme: str) -> None:
    """Make all windows `light` or `dark`, or as the system has them."""
    QApplication.setPalette(QPalette())
    QGuiApplication.styleHints().setColorScheme(_SCHEMES.get(scheme, Qt.ColorScheme.Unknown))
    ground = _GROUNDS.get(scheme)
    if ground is not None and is_dark(QApplication.palette()) != (scheme == "dark"):
        # Not every desktop can be asked for it. The rest of a palette follows from its ground.
        QApplication.setPalette(_palette(QColor(ground)))


def _palette(ground: QColor) -> QPalette:
    palette = QPalette(ground)
    pale, faint = ("#8f8f8f", "#9a9a9a") if is_dark(palette) else ("#8a8a8a", "#6e6e6e")
    role, disabled = QPalette.ColorRole, QPalette.ColorGroup.Disabled
    palette.setColor(role.Base, ground.lighter(140) if is_dark(palette) else QColor("white"))
    palette.setColor(role.PlaceholderText, QColor(faint))
    for text in (role.WindowText, role.Text, role.ButtonText, role.PlaceholderText):
        palette.setColor(disabled, text, QColor(pale))
    palette.setColor(disabled, role.Base, ground)
    return palette


def is_dark(palette: QPalette) -> bool:
    """Whether windows are dark; the system's own answer is unknown on many desktops."""
    ground = palette.color(QPalette.ColorRole.Window)
    return ground.lightness() < palette.color(QPalette.ColorRole.WindowText).lightness()


def colour(tone: Tone, palette: QPalette) -> QColor:
    """The colour of `tone` that can be read on this palette."""
    light, dark = tone.value
    return QColor(dark if is_dark(palette) else light)


def tint(tone: Tone, palette: QPalette) -> QColor:
    """A ground in `tone` on which text of the palette can still be read."""
    ground, strong = palette.color(QPalette.ColorRole.Window), colour(tone, palette)
    return QColor(
        _mixed(ground.red(), strong.red()),
        _mixed(ground.green(), strong.green()),
        _mixed(ground.blue(), strong.blue()),
    )


def _mixed(ground: int, strong: int) -> int:
    return round(ground * 0.82 + strong * 0.18)


def outline(palette: QPalette) -> QColor:
    """What Fusion makes darker into an outline that can be seen on this palette."""
    return QColor("#dcdcdc" if is_dark(palette) else "#999999")


def muted(palette: QPalette) -> QColor:
    """For text that matters less."""
    return palette.color(QPalette.ColorRole.PlaceholderText)


def make_heading(widget: QWidget, scale: float = 1.2) -> None:
    """Bold, and larger than the text around it."""
    font = QFont(widget.font())
    font.setBold(True)
    font.setPointSizeF(font.pointSizeF() * scale)
    widget.setFont(font)
