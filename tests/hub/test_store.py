"""The hub's database where the system does not let us have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor_core.errors import ExecutorError
from executor_core.hub.store import Store


async def test_a_place_that_takes_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file stands where the folder should be")
    place = tmp_path / "home" / "hub.db"
    with pytest.raises(ExecutorError) as caught:
        await Store(place).open()
    assert caught.value.code == "database_unusable"
    assert str(place) in caught.value.message.detail
