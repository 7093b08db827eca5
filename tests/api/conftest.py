from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.clock import JumpingClock
from tests.support.office import TOKEN, Office


@pytest.fixture
async def office(tmp_path: Path, clock: JumpingClock) -> AsyncIterator[Office]:
    """An executor with two slots, open, whose listener also knows a second user."""
    office = Office(tmp_path, clock)
    office.listener.accept(lambda token: "second" if token == "second-token" else None)
    await office.open()
    yield office
    await office.close()


@pytest.fixture
async def http(office: Office) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the owner's token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(office.listener.base_url, headers=headers) as session:
        yield session


def documented(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Method and path of everything that an OpenAPI document describes."""
    return [(method.upper(), path) for path, ways in document["paths"].items() for method in ways]
