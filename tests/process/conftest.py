"""Beyond what every test is checked for: an ended child must also have been waited for."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest


@pytest.fixture(autouse=True)
def _no_zombie_left() -> Iterator[None]:
    yield
    left = [p for p in psutil.Process().children() if p.status() == psutil.STATUS_ZOMBIE]
    assert not left, f"zombies are left: {left}"
