"""The icons, drawn: every state has a shape of its own, and pips count the slots.

A mark on a tile of a colour that stands out on light and on dark panels alike, since no system
tells which one its panel is. As a template (macOS) the tile is black and the mark is cut out.
"""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QIcon, QPainter, QPainterPath, QPen, QPixmap

from desktop.tray.glance import TrayState
from executor_core.resources import resource_path

SIZES = (16, 18, 20, 22, 24, 32, 36, 40, 44, 48, 64, 128)
TILES = {
    TrayState.STARTING: "#6e7781",
    TrayState.IDLE: "#1f883d",
    TrayState.WORKING: "#0969da",
    TrayState.BUSY: "#bc4c00",
    TrayState.PAUSED: "#8250df",
    TrayState.OFFLINE: "#7d8590",
    TrayState.ATTENTION: "#cf222e",
}
MOST_PIPS = 5
_UNIT = 16
"""Marks are drawn on a grid of 16 by 16, the smallest size."""


def app_icon() -> QIcon:
    """The icon of the program and its windows."""
    return QIcon(str(resource_path("icons/wegent-executor.svg")))


@lru_cache(maxsize=64)
def tray_icon(state: TrayState, used: int, most: int, *, is_template: bool = False) -> QIcon:
    """The icon of a state, in all sizes. `used` and `most` slots count while it works."""
    icon = QIcon()
    for size in SIZES:
        icon.addPixmap(draw(state, used, most, size, is_template=is_template))
    icon.setIsMask(is_template)
    return icon


def draw(state: TrayState, used: int, most: int, size: int, *, is_template: bool) -> QPixmap:
    """One icon of `size` by `size` pixels."""
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(size / _UNIT, size / _UNIT)
    tile = QColor("black") if is_template else QColor(TILES[state])
    ink = _Ink(painter, tile, is_template)
    _DRAWN[state](ink, used, most)
    painter.end()
    return pixmap


class _Ink:
    """A painter with two colours: the tile's, and the mark's, which a template cuts out."""

    def __init__(self, painter: QPainter, tile: QColor, is_template: bool) -> None:
        self.painter = painter
        self._tile = tile
        self._is_template = is_template

    def tile(self, path: QPainterPath) -> None:
        self.painter.fillPath(path, self._tile)

    def outline(self, path: QPainterPath, width: float) -> None:
        self.painter.strokePath(path, _pen(self._tile, width))

    def mark(self, path: QPainterPath, strength: float = 1.0) -> None:
        with_mode, colour = self._mark(strength)
        self.painter.setCompositionMode(with_mode)
        self.painter.fillPath(path, colour)
        self.painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceOver)

    def line(self, path: QPainterPath, width: float) -> None:
        with_mode, colour = self._mark(1.0)
        self.painter.setCompositionMode(with_mode)
        self.painter.strokePath(path, _pen(colour, width))
        self.painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceOver)

    def _mark(self, strength: float) -> tuple[QPainter.CompositionMode, QColor]:
        colour = QColor("white")
        colour.setAlphaF(strength)
        if self._is_template:
            return QPainter.CompositionMode.CompositionMode_DestinationOut, colour
        return QPainter.CompositionMode.CompositionMode_SourceOver, colour


def _pen(colour: QColor, width: float) -> QPen:
    return QPen(
        colour, width, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin
    )


def _square() -> QPainterPath:
    path = QPainterPath()
    path.addRoundedRect(QRectF(0, 0, 16, 16), 3.5, 3.5)
    return path


def _disc(x: float, y: float, radius: float) -> QPainterPath:
    path = QPainterPath()
    path.addEllipse(QPointF(x, y), radius, radius)
    return path


def _bar(x: float, y: float, width: float, height: float) -> QPainterPath:
    path = QPainterPath()
    path.addRoundedRect(QRectF(x, y, width, height), width / 3, width / 3)
    return path


def _way(*points: tuple[float, float]) -> QPainterPath:
    path = QPainterPath(QPointF(*points[0]))
    for point in points[1:]:
        path.lineTo(QPointF(*point))
    return path


def _starting(ink: _Ink, used: int, most: int) -> None:
    ink.tile(_disc(8, 8, 8))
    for x in (4, 8, 12):
        ink.mark(_disc(x, 8, 1.3))


def _idle(ink: _Ink, used: int, most: int) -> None:
    ink.tile(_square())
    ink.line(_way((4.2, 8.4), (7, 11.2), (11.9, 5.2)), 2.1)


def _working(ink: _Ink, used: int, most: int) -> None:
    ink.tile(_square())
    _number(ink, used)
    if most <= MOST_PIPS:
        step = 14 / most
        for number in range(most):
            pip = QPainterPath()
            pip.addRect(QRectF(1 + number * step, 12.6, step - 0.8, 2))
            ink.mark(pip, 1.0 if number < used else 0.35)
    else:
        whole, part = QPainterPath(), QPainterPath()
        whole.addRect(QRectF(1, 12.6, 14, 2))
        part.addRect(QRectF(1, 12.6, 14 * used / most, 2))
        ink.mark(whole, 0.35)
        ink.mark(part)


def _busy(ink: _Ink, used: int, most: int) -> None:
    """Full: an octagon, like a stop sign, with the number alone."""
    ink.tile(_octagon())
    _number(ink, used, centre=8)


def _octagon() -> QPainterPath:
    path = _way((4.6, 0), (11.4, 0), (16, 4.6), (16, 11.4), (11.4, 16), (4.6, 16), (0, 11.4))
    path.lineTo(QPointF(0, 4.6))
    path.closeSubpath()
    return path


def _number(ink: _Ink, number: int, centre: float = 6.4) -> None:
    font = QFont()
    font.setBold(True)
    # Scaled to its height below, so that every font gives the same size.
    font.setPixelSize(64)
    path = QPainterPath()
    path.addText(0, 0, font, str(number))
    bounds = path.boundingRect()
    scale = min(9.4 / bounds.height(), 11 / bounds.width())
    painter = ink.painter
    painter.save()
    painter.translate(8, centre)
    painter.scale(scale, scale)
    painter.translate(-bounds.center())
    ink.mark(path)
    painter.restore()


def _paused(ink: _Ink, used: int, most: int) -> None:
    ink.tile(_disc(8, 8, 8))
    ink.mark(_bar(4.8, 4.3, 2.4, 7.4))
    ink.mark(_bar(8.8, 4.3, 2.4, 7.4))


def _offline(ink: _Ink, used: int, most: int) -> None:
    """Hollow and struck out."""
    ink.outline(_disc(8, 8, 6.6), 2)
    ink.outline(_way((3.6, 12.4), (12.4, 3.6)), 2)


def _attention(ink: _Ink, used: int, most: int) -> None:
    triangle = _way((8, 1.6), (14.8, 14), (1.2, 14))
    triangle.closeSubpath()
    ink.tile(triangle)
    ink.outline(triangle, 2)
    ink.line(_way((8, 5.4), (8, 9.4)), 1.9)
    ink.mark(_disc(8, 12.3, 1.15))


_DRAWN = {
    TrayState.STARTING: _starting,
    TrayState.IDLE: _idle,
    TrayState.WORKING: _working,
    TrayState.BUSY: _busy,
    TrayState.PAUSED: _paused,
    TrayState.OFFLINE: _offline,
    TrayState.ATTENTION: _attention,
}
