from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from executor_core.config.errors import ConfigError
from executor_core.config.home import (
    Home,
    InstanceLock,
    find_home,
    locked,
    user_home,
    working_folder,
)
from executor_core.errors import ExecutorError

HOLDER = """
import sys
import tempfile
from pathlib import Path
from executor_core.config.home import Home, InstanceLock
lock = InstanceLock.acquire(Home(Path(sys.argv[1])))
print("locked", flush=True)
sys.stdin.read()
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"HOME": "/users/ada"}, "/users/ada/.wegent-executor"),
        ({"HOME": "/users/ada", "WEGENT_EXECUTOR_HOME": "/data/我的 device"}, "/data/我的 device"),
        ({"HOME": "/users/ada", "WEGENT_EXECUTOR_HOME": "~/w"}, "/users/ada/w"),
        ({"HOME": "/users/ada", "WEGENT_EXECUTOR_HOME": " "}, "/users/ada/.wegent-executor"),
        ({"WEGENT_EXECUTOR_HOME": "/data"}, "/data"),
    ],
)
def test_the_home_is_where_the_environment_says(environment: dict[str, str], path: str) -> None:
    assert find_home(environment).path == Path(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows deletes no folder that is in use")
def test_a_working_folder_that_is_gone_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert working_folder(tmp_path) == tmp_path
    assert find_home({"WEGENT_EXECUTOR_HOME": "/data"}).path == Path("/data")


def test_a_user_without_a_home_folder_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(_: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(none))
    with pytest.raises(ConfigError) as caught:
        user_home({})
    assert caught.value.code == "no_user_home"
    assert "WEGENT_EXECUTOR_HOME" in caught.value.message.hint


def test_every_path_lies_in_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    found = {
        name: getattr(home, name).relative_to(tmp_path).as_posix()
        for name, value in vars(Home).items()
        if isinstance(value, property)
    }
    assert found == {
        "config_toml": "config.toml",
        "config_env": "config.env",
        "device_config": "device-config.json",
        "device_id": "device_id",
        "token": "token",
        "api_json": "api.json",
        "accounts": "accounts.json",
        "users_json": "users.json",
        "first_password": "first-password",
        "pause_json": "pause.json",
        "lock": "lock",
        "config_lock": "config.lock",
        "users_lock": "users.lock",
        "journal_db": "journal.db",
        "runs": "runs",
        "hub_db": "hub.db",
        "workspace": "workspace",
        "logs": "logs",
        "skills_cache": "cache/skills",
    }
    assert os.listdir(tmp_path) == []


def test_a_new_home_belongs_to_its_user_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "家 🏠")
    home.create()
    home.create()
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert os.listdir(home.path) == []


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_place_of_the_home_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        Home(tmp_path / "file" / below).create()
    assert caught.value.code == "home_not_a_folder"
    assert str(tmp_path / "file") in caught.value.message.detail


def test_a_home_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    with pytest.raises(ConfigError) as caught:
        Home(tmp_path).create()
    assert caught.value.code == "home_not_writable"
    assert "Read-only file system" in caught.value.message.detail


# --- the lock ----------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_told_the_pid_of_the_first(home: Home) -> None:
    command = [sys.executable, "-c", HOLDER, str(home.path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ExecutorError) as caught:
            InstanceLock.acquire(home)
        assert caught.value.code == "already_running"
        assert caught.value.values["pid"] == str(holder.pid)
        assert not isinstance(caught.value, ConfigError)
        holder.kill()
    with InstanceLock.acquire(home):
        assert home.lock.read_text() == f"{os.getpid()}\n"


def test_a_lock_that_was_released_can_be_taken_again(home: Home) -> None:
    first = InstanceLock.acquire(home)
    with pytest.raises(ExecutorError):
        InstanceLock.acquire(home)
    first.release()
    first.release()
    second = InstanceLock.acquire(home)
    second.release()
    assert stat.S_IMODE(home.lock.stat().st_mode) == 0o600


def test_a_file_that_a_crash_left_locks_nobody_out(home: Home) -> None:
    home.lock.write_text("4194304\n" * 3)
    with InstanceLock.acquire(home):
        assert home.lock.read_text() == f"{os.getpid()}\n"


def test_a_holder_that_wrote_no_pid_is_reported_without(home: Home) -> None:
    with InstanceLock.acquire(home):
        home.lock.write_text("garbage")
        with pytest.raises(ExecutorError) as caught:
            InstanceLock.acquire(home)
    assert caught.value.values["pid"] == "?"


def test_a_lock_in_a_home_that_is_gone_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        InstanceLock.acquire(Home(tmp_path / "gone"))
    assert caught.value.code == "home_not_writable"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_home_that_others_may_write_is_refused_with_what_mends_it(
    tmp_path: Path, mode: int
) -> None:
    home = Home(tmp_path / "a home")
    home.path.mkdir()
    home.path.chmod(mode)
    with pytest.raises(ConfigError) as refused:
        home.create()
    assert refused.value.code == "home_open_to_others"
    assert f"chmod go-w '{home.path}'" in refused.value.message.hint
    home.path.chmod(mode & ~0o022)
    home.create()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_settings_that_others_may_write_are_refused_where_they_can_reach_them(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    home.config_toml.write_text("")
    home.config_toml.chmod(0o666)
    home.create()  # nobody else comes so far
    home.path.chmod(0o755)
    with pytest.raises(ConfigError, match="home_open_to_others"):
        home.create()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links")
@pytest.mark.parametrize("name", ["lock", "config_lock"])
def test_a_lock_follows_no_link_and_empties_no_file(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / "home")
    home.create()
    (tmp_path / "precious").write_text("mine")
    getattr(home, name).symlink_to(tmp_path / "precious")
    with locked(home.config_lock, 0) if name == "config_lock" else InstanceLock.acquire(home):
        assert not getattr(home, name).is_symlink()
    assert (tmp_path / "precious").read_text() == "mine"
