from __future__ import annotations

import pytest
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication

from desktop.tray.glance import TrayState
from desktop.tray.icon import SIZES, TILES, draw, tray_icon
from tests.desktop.contrast import contrast


def pixels(state: TrayState, used: int, size: int = 16, *, is_template: bool = False) -> bytes:
    image = draw(state, used, 5, size, is_template=is_template).toImage()
    return bytes(image.bits())


def silhouette(state: TrayState) -> tuple[bool, ...]:
    """Which pixels of the template are opaque: what is left when colour says nothing."""
    image = draw(state, 2, 5, 32, is_template=True).toImage()
    return tuple(image.pixelColor(x, y).alpha() > 127 for y in range(32) for x in range(32))


def test_every_state_has_a_shape_of_its_own(qapp: QApplication) -> None:
    shapes = [silhouette(state) for state in TrayState]
    for number, one in enumerate(shapes):
        for other in shapes[:number]:
            assert sum(a != b for a, b in zip(one, other, strict=True)) > 60


def test_every_number_of_used_slots_looks_different_at_16_pixels(qapp: QApplication) -> None:
    assert len({pixels(TrayState.WORKING, used) for used in range(1, 6)}) == 5


def test_a_template_is_black_and_transparent_only(qapp: QApplication) -> None:
    icon = tray_icon(TrayState.WORKING, 2, 5, is_template=True)
    image = icon.pixmap(22, 22).toImage()
    colours = {image.pixelColor(x, y).rgb() & 0xFFFFFF for x in range(22) for y in range(22)}
    assert icon.isMask()
    assert colours == {0}


def test_icons_come_in_all_sizes_for_screens_of_every_density(qapp: QApplication) -> None:
    found = {size.width() for size in tray_icon(TrayState.IDLE, 0, 5).availableSizes()}
    assert found == set(SIZES)


@pytest.mark.parametrize("ground", ["#ffffff", "#1e1e1e"])
@pytest.mark.parametrize("state", list(TrayState))
def test_tiles_stand_out_on_light_and_on_dark_panels(state: TrayState, ground: str) -> None:
    assert contrast(QColor(TILES[state]), QColor(ground)) >= 3
