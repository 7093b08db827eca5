"""A whole executor on a disk that takes nothing more: it says so, and starts and ends cleanly."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from executor_core.app import Application
from executor_core.config import kept
from executor_core.config.home import Home
from executor_core.config.layers import Config, load
from executor_core.errors import ExecutorError
from executor_core.hub.store import Store


@pytest.fixture
def application(tmp_path: Path) -> Application:
    home = Home(tmp_path / "home")
    home.create()
    environment = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def config() -> Config:
        return load(home, environment, {"api.listen": "127.0.0.1:0"})

    program = [sys.executable, "-m", "executor_core"]
    return Application(config(), standalone=True, own_command=program, load=config)


def refuse(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refuse_in_sql(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


async def test_an_executor_ends_on_a_full_disk_as_on_any_other(
    application: Application, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await application.start()
    monkeypatch.setattr(kept, "write_private", refuse)
    await application.stop()
    assert "No space left" in caplog.text


async def test_a_start_without_room_for_its_address_says_so(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "write_private", refuse)
    with pytest.raises(ExecutorError, match="home_not_writable"):
        await application.start()


async def test_a_start_without_room_for_the_hub_says_so(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "_work", refuse_in_sql)
    with pytest.raises(ExecutorError, match="database_unusable") as caught:
        await application.start()
    assert "hub.db" in caught.value.message.detail
    assert "full" in caught.value.message.detail
