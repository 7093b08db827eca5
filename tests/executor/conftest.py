"""One executor per test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.executor.room import Room, opened
from tests.support.clock import JumpingClock


@pytest.fixture
async def room(tmp_path: Path, clock: JumpingClock) -> AsyncIterator[Room]:
    """An executor with a scripted agent, on an empty disk."""
    async with opened(tmp_path, clock) as room:
        yield room
