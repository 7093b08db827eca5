from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from executor_core.config import options, writing
from executor_core.config.errors import ConfigError
from executor_core.config.files import UnsafeFileError, read_private, write_private
from executor_core.config.home import Home, locked
from executor_core.config.kinds import Address
from executor_core.config.writing import change_options, set_option
from tests.config.conftest import Load

BEFORE = """\
# my device
[server]
# the office
url = "https://old.example"
unknown = [1, 2]   # kept

[other]
x = 1
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_setting_an_option_keeps_comments_and_unknown_keys(home: Home, config: Load) -> None:
    home.config_toml.write_text(BEFORE)
    set_option(home, "server.url", "https://new.example")
    assert home.config_toml.read_text() == BEFORE.replace("old", "new")
    assert mode(home.config_toml) == 0o600
    assert config()[options.SERVER_URL] == "https://new.example"


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("language", "zh_CN", "zh_CN"),
        ("log.backup_count", "3", 3),
        ("log.max_size_bytes", "20MB", 20 * 1024 * 1024),
        ("heartbeat.interval_s", "2.5", 2.5),
        ("heartbeat.interval_s", 20, 20.0),
        ("skills.clear_cache", "no", False),
        ("workspace.trusted_folders", "/a, /b", (Path("/a"), Path("/b"))),
        ("workspace.trusted_folders", ["/a"], (Path("/a"),)),
        ("workspace.root", "~/work", Path("/users/ada/work")),
        ("api.listen", "127.0.0.1:0", Address("127.0.0.1", 0)),
        ("device.name", "工作站", "工作站"),
    ],
)
@pytest.mark.parametrize("before", ["", BEFORE])
def test_what_was_set_is_read_back(
    home: Home, config: Load, before: str, name: str, value: str, read: object
) -> None:
    home.config_toml.write_text(before)
    set_option(home, name, value)
    made = config()
    assert made[options.OPTIONS[name]] == read
    assert made.explain(name)[-1].source.startswith("config.toml, line ")
    assert ("other" in home.config_toml.read_text()) == bool(before)


def test_numbers_and_switches_are_written_as_such(home: Home) -> None:
    set_option(home, "log.backup_count", "3")
    set_option(home, "skills.clear_cache", "no")
    set_option(home, "heartbeat.interval_s", "20")
    assert tomllib.loads(home.config_toml.read_text()) == {
        "log": {"backup_count": 3},
        "skills": {"clear_cache": False},
        "heartbeat": {"interval_s": 20},
    }


def test_setting_none_gives_the_default_back(home: Home, config: Load) -> None:
    set_option(home, "log.level", "ERROR")
    set_option(home, "log.level", None)
    set_option(home, "log.backup_count", None)
    assert config()[options.LOG_LEVEL] == "INFO"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("log.levell", "INFO", "unknown_option"),
        ("server.token", "wg-0123456789", "option_not_in_file"),
        ("log.level", "LOUD", "bad_option"),
        ("log.level", 5, "bad_option"),
        ("workspace.root", "/tmp/\udcff", "bad_option"),
        ("workspace.trusted_folders", ["/tmp", "/tmp/\udcff"], "bad_option"),
    ],
)
def test_what_cannot_be_set_changes_nothing(home: Home, name: str, value: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        set_option(home, name, value)
    assert caught.value.code == code
    assert not home.config_toml.exists()


@pytest.mark.parametrize("before", ["[server\n", "server = 1\n"])
def test_a_broken_file_is_named_and_left_alone(home: Home, before: str) -> None:
    home.config_toml.write_text(before)
    with pytest.raises(ConfigError, match=r"config\.toml, line 1"):
        set_option(home, "server.url", "https://new.example")
    assert home.config_toml.read_text() == before


def test_a_linked_config_stays_a_link(home: Home, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("")
    home.config_toml.symlink_to(real)
    set_option(home, "log.level", "ERROR")
    assert home.config_toml.is_symlink()
    assert "ERROR" in real.read_text()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        set_option(Home(tmp_path / "missing"), "log.level", "ERROR")
    assert caught.value.code == "config_not_written"


ONE_OF_SEVERAL = """
import sys
from pathlib import Path
from executor_core.config.home import Home, locked
from executor_core.config.writing import set_option

for number in range(30):
    set_option(Home(Path(sys.argv[1])), sys.argv[2], f"{sys.argv[3]}{number}")
"""
WRITERS = [
    ("log.backup_count", ""),
    ("device.name", "name-"),
    ("heartbeat.timeout_s", "1"),
    ("device.capabilities", "gpu-"),
]


def test_of_several_processes_that_write_at_once_none_loses_a_change(
    home: Home, config: Load
) -> None:
    command = [sys.executable, "-c", ONE_OF_SEVERAL, str(home.path)]
    writers = [subprocess.Popen([*command, *words]) for words in WRITERS]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    found = config()
    assert found[options.LOG_BACKUP_COUNT] == 29
    assert found[options.DEVICE_NAME] == "name-29"
    assert found[options.HEARTBEAT_TIMEOUT_S] == 129
    assert found[options.DEVICE_CAPABILITIES] == ("gpu-29",)


def test_of_several_threads_that_write_at_once_none_loses_a_change(
    home: Home, config: Load
) -> None:
    def write(name: str, words: str) -> None:
        for number in range(20):
            set_option(home, name, f"{words}{number}")

    with ThreadPoolExecutor(len(WRITERS)) as pool:
        for done in [pool.submit(write, *words) for words in WRITERS]:
            done.result()
    assert config()[options.LOG_BACKUP_COUNT] == 19
    assert config()[options.DEVICE_NAME] == "name-19"


def test_a_writer_that_never_ends_is_not_waited_for_without_end(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PATIENCE_S", 0.05)
    with locked(home.config_lock, 1), pytest.raises(ConfigError, match="timed out") as caught:
        set_option(home, "log.level", "ERROR")
    assert caught.value.code == "config_not_written"
    assert not home.config_toml.exists()
    set_option(home, "log.level", "ERROR")


@pytest.mark.parametrize("before", [None, BEFORE])
def test_what_a_check_refuses_is_taken_back(home: Home, before: str | None) -> None:
    if before is not None:
        home.config_toml.write_text(before)

    def refuse() -> None:
        assert "ERROR" in home.config_toml.read_text()
        raise KeyError

    with pytest.raises(KeyError):
        change_options(home, {"log.level": "ERROR"}, check=refuse)
    assert (home.config_toml.read_text() if home.config_toml.exists() else None) == before


# --- private files -----------------------------------------------------------------------------


def test_a_private_file_is_never_readable_by_others(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, b"new")
    assert (file.read_bytes(), mode(file)) == (b"new", 0o600)
    assert os.listdir(tmp_path) == ["token"]


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "token"
    file.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(file, b"new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["token"]


def test_a_mode_that_lets_others_read_is_repaired_and_told(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t")
    file.chmod(0o640)
    assert read_private(file) == (b"t", True)
    assert mode(file) == 0o600
    assert read_private(file) == (b"t", False)


def test_what_is_not_a_plain_file_of_ours_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("t")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(UnsafeFileError):
            read_private(tmp_path / name)


def test_a_file_of_another_user_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(os, "getuid", lambda: os.stat(tmp_path).st_uid + 1)
    with pytest.raises(UnsafeFileError):
        read_private(tmp_path / "token")
