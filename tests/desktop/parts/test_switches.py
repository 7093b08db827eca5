from __future__ import annotations

from collections.abc import Iterator

import pytest
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QVBoxLayout, QWidget

from desktop.parts.style import use_colours
from desktop.parts.switches import CheckBox, RadioButton
from tests.desktop.conftest import settle
from tests.desktop.contrast import contrast


@pytest.fixture
def window(qapp: QApplication) -> Iterator[QWidget]:
    window = QWidget()
    QVBoxLayout(window)
    yield window
    use_colours("system")


def strongest(window: QWidget, button: QWidget) -> float:
    """The contrast with the ground of what stands out most in an empty mark."""
    image = window.grab(button.geometry()).toImage()
    ground = window.palette().color(QPalette.ColorRole.Window)
    pixels = ((x, y) for x in range(8) for y in range(image.height()))
    return max(contrast(QColor(image.pixelColor(x, y)), ground) for x, y in pixels)


@pytest.mark.parametrize("kind", [CheckBox, RadioButton])
async def test_the_outline_is_seen_whichever_colours_come(
    window: QWidget, kind: type[CheckBox | RadioButton]
) -> None:
    button = kind()
    layout = window.layout()
    assert layout is not None
    layout.addWidget(button)
    window.show()
    for scheme in ("dark", "light", "dark"):
        use_colours(scheme)
        await settle()
        assert strongest(window, button) >= 3, scheme
        ink, ground = (
            window.palette().color(role)
            for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Window)
        )
        assert button.palette().color(QPalette.ColorRole.WindowText) == ink
        assert contrast(ink, ground) > 7
