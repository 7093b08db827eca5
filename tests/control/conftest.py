from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor_core.control import Control
from tests.support.clock import JumpingClock
from tests.support.office import Office


@pytest.fixture
async def office(tmp_path: Path, clock: JumpingClock) -> AsyncIterator[Office]:
    """An executor with two slots, open."""
    office = Office(tmp_path, clock)
    await office.open()
    yield office
    await office.close()


@pytest.fixture(params=["local", "remote"])
def control(office: Office, request: pytest.FixtureRequest) -> Control:
    """The executor in this process, then the same over its listener."""
    return office.local if request.param == "local" else office.remote
