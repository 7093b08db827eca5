"""Every file of the home in every bad state: used, mended or set aside, and said rightly."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from executor_core import app
from executor_core.app import Application
from executor_core.config.home import Home, InstanceLock
from executor_core.config.kept import kept_json
from executor_core.config.layers import Config, load
from executor_core.errors import ExecutorError
from executor_core.services import findings
from tests.config.test_kept import a_folder, a_link, a_pipe, cut, emptied, of_another_kind

OURS = (
    "device_id",
    "accounts.json",
    "api.json",
    "users.json",
    "journal.db",
    "hub.db",
    "lock",
    "config.lock",
    "users.lock",
    "token",
    "first-password",
)
YOURS = ("config.toml", "config.env", "device-config.json")
SECRETS = ("token", "first-password")
"""What is asked of nobody: the doctor tells of the token where there is none that can be used."""


def noise(file: Path) -> None:
    file.write_bytes(random.Random(file.name).randbytes(5000))


def missing(file: Path) -> None:
    file.unlink()


def for_reading_only(file: Path) -> None:
    file.chmod(0o400)


STATES = (
    emptied,
    of_another_kind,
    cut,
    a_folder,
    a_link,
    a_pipe,
    noise,
    missing,
    for_reading_only,
)
State = Callable[[Path], object]


def at(folder: Path) -> Application:
    home = Home(folder / "home")
    environment = {"HOME": str(folder), "USERPROFILE": str(folder), "PATH": "/usr/bin:/bin"}

    def config() -> Config:
        return load(home, environment, {"api.listen": "127.0.0.1:0"})

    program = [sys.executable, "-m", "executor_core"]
    return Application(config(), standalone=True, own_command=program, load=config)


async def start_and_stop(folder: Path) -> None:
    home = Home(folder / "home")
    home.create()
    with InstanceLock.acquire(home):
        application = at(folder)
        try:
            await application.start()
        finally:
            await application.stop()


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    """One that an executor has used, with every file in it."""
    await start_and_stop(tmp_path)
    home = Home(tmp_path / "home")
    kept_json(home.accounts, dict[str, dict[str, str]]).write({"x": {"account": "1"}})
    home.token.write_text("wg-0123456789\n")
    for lock in (home.lock, home.config_lock, home.users_lock):
        lock.touch(0o600)
    assert all((home.path / name).exists() for name in OURS)
    return home


def problems(home: Home) -> list[str]:
    facts = findings.file_facts(home, is_running=False)
    return [path.name for path, _ in facts.unusable]


async def whole_again(home: Home) -> None:
    """The executor starts with it; afterwards there is nothing for the doctor to mend."""
    await start_and_stop(home.path.parent)
    assert problems(home) == []


@pytest.mark.parametrize("name", ["accounts.json", "users.json", "hub.db", "lock"])
async def test_an_executor_starts_with_noise_in_place_of_a_file(home: Home, name: str) -> None:
    noise(home.path / name)
    await whole_again(home)


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
async def test_an_executor_starts_whatever_became_of_one_of_its_files(
    home: Home, tmp_path: Path, state: State
) -> None:
    for name in OURS:
        shutil.copytree(home.path, tmp_path / name / "home")
        damaged = Home(tmp_path / name / "home")
        state(damaged.path / name)
        await whole_again(damaged)


@pytest.mark.parametrize("name", OURS)
async def test_the_doctor_mends_every_file_in_every_state(
    home: Home, tmp_path: Path, name: str
) -> None:
    def look(state: State) -> bool:
        folder = tmp_path / state.__name__
        shutil.copytree(home.path, folder)
        state(folder / name)
        if not (found := problems(Home(folder))):
            return False
        assert found == [name]
        findings.mend_files(Home(folder))
        assert os.path.lexists(folder / f"{name}.damaged-1")
        assert problems(Home(folder)) == []
        return True

    mended = [await asyncio.to_thread(look, state) for state in STATES]
    assert any(mended) is (name not in SECRETS)


@pytest.mark.parametrize("count", [10, pytest.param(300, marks=pytest.mark.slow)])
async def test_no_random_damage_of_a_database_is_beyond_the_doctor(
    home: Home, tmp_path: Path, count: int
) -> None:
    await asyncio.to_thread(_damage_databases, home, tmp_path, count)


def _damage_databases(home: Home, tmp_path: Path, count: int) -> None:
    chance = random.Random(20_260_130)
    for number in range(count):
        name = chance.choice(["journal.db", "hub.db"])
        folder = tmp_path / str(number)
        shutil.copytree(home.path, folder)
        raw = bytearray((folder / name).read_bytes())
        start = chance.randrange(len(raw))
        raw[start : start + 400] = chance.randbytes(min(400, len(raw) - start))
        (folder / name).write_bytes(raw)
        if problems(Home(folder)):
            findings.mend_files(Home(folder))
        assert problems(Home(folder)) == []


@pytest.mark.parametrize("name", ["journal", "hub"])
async def test_a_newer_database_is_left_alone_and_said(home: Home, name: str) -> None:
    code, name = f"{name}_newer", f"{name}.db"
    with closing(sqlite3.connect(home.path / name)) as db:
        db.execute("PRAGMA user_version = 99")
    facts = findings.file_facts(home, is_running=False)
    assert [path.name for path in facts.newer] == [name]
    with pytest.raises(ExecutorError, match=code) as caught:
        await start_and_stop(home.path.parent)
    assert str(home.path / name) in caught.value.message.detail


@pytest.mark.parametrize("name", YOURS)
@pytest.mark.parametrize("state", [a_folder, noise, of_another_kind, cut, emptied])
def test_a_file_of_yours_is_used_or_named_and_never_moved(
    tmp_path: Path, name: str, state: State
) -> None:
    home = Home(tmp_path)
    (home.path / name).write_text('{"x": 1}')
    state(home.path / name)
    said = None
    try:
        load(home, {}, {})
    except ExecutorError as error:
        said = error.message
    assert said is None or (name in said.detail and said.hint)
    assert [path.name for path in home.path.iterdir()] == [name]


@pytest.mark.parametrize("state", [missing, noise])
async def test_the_running_executor_writes_its_address_again(
    home: Home, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    monkeypatch.setattr(app, "LOOK_AT_ADDRESS_S", 0.05)
    application = at(home.path.parent)
    await application.start()
    try:
        before = home.api_json.read_bytes()
        state(home.api_json)
        async with asyncio.timeout(10):
            while not home.api_json.exists() or home.api_json.read_bytes() != before:
                await asyncio.sleep(0.02)
    finally:
        await application.stop()
