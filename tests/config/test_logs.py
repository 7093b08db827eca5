from __future__ import annotations

import dataclasses
import io
import logging
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor_core.config import logs
from executor_core.config.logs import LogFile, Logs, set_up_logging
from executor_core.config.redaction import register_secret

ROOM = logging.getLogger("executor.links.device")
SHAPE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - \[links\.device\] - "
    r"\[in (?P<file>/.*test_logs\.py):\d+\] - INFO - hello 5"
)


class Set:
    """Logging as it was set up by a test, closed after it."""

    def __init__(self) -> None:
        self._open: list[Logs] = []

    def up(self, file: LogFile, level: str = "INFO", stderr: io.StringIO | None = None) -> Logs:
        logs = set_up_logging(file, level, stderr)
        self._open.append(logs)
        return logs

    def close(self) -> None:
        for one in self._open:
            one.close()


@pytest.fixture
def set_() -> Iterator[Set]:
    made = Set()
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "logs")


def test_a_line_has_the_shape_of_the_guides(set_: Set, file: LogFile) -> None:
    stderr = io.StringIO()
    assert set_.up(file, stderr=stderr).is_writing_file
    ROOM.info("hello %d", 5)
    match = SHAPE.fullmatch(file.path.read_text().rstrip("\n"))
    assert match is not None
    assert Path(match["file"]) == Path(__file__)
    assert stderr.getvalue() == file.path.read_text()


def test_the_file_is_its_owners_alone(set_: Set, file: LogFile) -> None:
    file.folder.mkdir()
    file.path.write_text("from before\n")
    file.path.chmod(0o644)
    set_.up(file)
    ROOM.info("hello")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert file.path.read_text().startswith("from before\n")


def test_a_new_folder_is_its_owners_alone(set_: Set, file: LogFile) -> None:
    set_.up(file)
    assert stat.S_IMODE(file.folder.stat().st_mode) == 0o700


def test_levels_hold_for_our_rooms_and_libraries_speak_from_warning(
    set_: Set, file: LogFile
) -> None:
    logging.getLogger().setLevel(logging.DEBUG)  # as a library may have left it
    set_.up(file, level="DEBUG")
    ROOM.debug("ours")
    for library in ("socketio.any", "engineio.any", "aiohttp.any", "anything"):
        logging.getLogger(library).info("quiet")
        logging.getLogger(library).warning("loud")
    text = file.path.read_text()
    assert "ours" in text
    assert "quiet" not in text
    assert text.count("loud") == 4
    assert "[aiohttp.any]" in text


def test_a_level_above_leaves_lines_out(set_: Set, file: LogFile) -> None:
    set_.up(file, level="ERROR")
    ROOM.warning("no")
    ROOM.error("yes")
    assert [line[-3:] for line in file.path.read_text().splitlines()] == ["yes"]


def test_one_record_is_one_line_whatever_the_message_holds(set_: Set, file: LogFile) -> None:
    set_.up(file)
    ROOM.info("a\nb\r\nc\x1b[31m\x85\u2028\u2029%s\t中文", "\x00")
    (line,) = file.path.read_text(encoding="utf-8").splitlines()
    assert line.endswith(r"a\nb\r\nc\x1b[31m\x85\u2028\u2029\x00" + "\t中文")


def test_no_secret_gets_through_any_part_of_a_record(set_: Set, file: LogFile) -> None:
    secret = "very secret+value"
    register_secret(secret)
    stderr = io.StringIO()
    set_.up(file, stderr=stderr)
    ROOM.info("message %s", secret)
    ROOM.info("argument %r", {"nested": [secret]})
    logging.getLogger("engineio.client").warning('sent 0{"token":"abcdef"} and %s', secret)
    try:
        try:
            raise ValueError(secret)
        except ValueError as error:
            raise RuntimeError(f"https://ada:{secret.replace(' ', '')}@x") from error
    except RuntimeError:
        ROOM.exception("failed")
    ROOM.info("stack", stack_info=True)
    for text in (file.path.read_text(), stderr.getvalue()):
        assert "very secret+value" not in text
        assert "abcdef" not in text
        assert "RuntimeError: https://***@x" in text
        assert "ValueError: ***" in text
        assert "Traceback" in text


def test_the_log_rotates_and_its_size_is_bounded(set_: Set, tmp_path: Path) -> None:
    file = LogFile(tmp_path, max_bytes=2000, backup_count=2)
    set_.up(file)
    for number in range(100):
        ROOM.info("line %03d %s", number, "x" * 100)
    names = sorted(os.listdir(tmp_path))
    assert names == ["executor.log", "executor.log.1", "executor.log.2"]
    assert all((tmp_path / name).stat().st_size <= 2000 for name in names)
    assert all(stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600 for name in names)
    assert "line 099" in file.path.read_text()


def test_without_backups_the_one_file_is_begun_anew(set_: Set, tmp_path: Path) -> None:
    file = LogFile(tmp_path, max_bytes=2000, backup_count=0)
    set_.up(file)
    for number in range(100):
        ROOM.info("line %03d %s", number, "x" * 100)
    assert os.listdir(tmp_path) == ["executor.log"]
    assert file.path.stat().st_size <= 2000
    assert "line 099" in file.path.read_text()


def test_a_folder_that_cannot_be_written_is_said_once_and_work_goes_on(
    set_: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    logs = set_.up(LogFile(tmp_path / "file" / "logs"))
    assert not logs.is_writing_file
    ROOM.error("still working")
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if "Failed to setup file logging" in line]) == 1
    assert str(tmp_path / "file" / "logs") in said[0]


def test_headless_logs_to_stderr_where_there_is_no_file(set_: Set, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stderr = io.StringIO()
    set_.up(LogFile(tmp_path / "file"), stderr=stderr)
    ROOM.info("still working")
    first, second = stderr.getvalue().splitlines()
    assert first.startswith("Failed to setup file logging: ")
    assert second.endswith("still working")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to write to")
def test_a_disk_that_is_full_raises_nothing_and_is_said_once(
    set_: Set, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "executor.log").symlink_to("/dev/full")
    set_.up(LogFile(tmp_path, max_bytes=1 << 30))
    for _ in range(3):
        ROOM.info("hello")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].endswith("was not written: No space left on device")
    assert stat.S_IMODE(Path("/dev/full").stat().st_mode) != 0o600


def test_a_record_that_cannot_be_formatted_shows_no_argument(
    set_: Set, file: LogFile, capsys: pytest.CaptureFixture[str]
) -> None:
    set_.up(file)
    logging.getLogger().handlers[-1].handle(
        logging.LogRecord("executor.x", logging.INFO, "/x.py", 7, "%d", ("a prompt",), None)
    )
    assert capsys.readouterr().err == "A log record of /x.py:7 was not written: TypeError\n"


def test_closing_gives_the_root_logger_back(file: LogFile) -> None:
    before = list(logging.getLogger().handlers)
    logs = set_up_logging(file)
    logs.close()
    logs.close()
    assert logging.getLogger().handlers == before


def test_a_file_that_cannot_be_renamed_goes_on_growing(
    set_: Set, file: LogFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on Windows, while somebody reads it."""
    small = dataclasses.replace(file, max_bytes=200)
    set_.up(small)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "used by another process")

    monkeypatch.setattr(os, "rename", refuse)
    for number in range(5):
        ROOM.info("line %d", number)
    assert [line[-6:] for line in file.path.read_text().splitlines()] == [
        f"line {number}" for number in range(5)
    ]
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no open file can be removed there")
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_log_that_was_removed_comes_back_and_says_so(
    set_: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    monkeypatch.setattr(logs, "_LOOK_EVERY_S", 0.0)
    file = LogFile(tmp_path / "logs")
    set_.up(file)
    ROOM.info("before")
    shutil.rmtree(file.folder) if is_folder else file.path.unlink()
    ROOM.info("after")
    said, after = file.path.read_text().splitlines()
    assert f"{file.path} was removed and is written anew" in said
    assert after.endswith("after")
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="no open file can be removed there")
def test_where_it_cannot_come_back_work_goes_on(
    set_: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_LOOK_EVERY_S", 0.0)
    file = LogFile(tmp_path / "logs")
    set_.up(file)
    shutil.rmtree(file.folder)
    file.folder.write_text("a file stands where the folder should be")
    ROOM.info("lost")
    file.folder.unlink()
    ROOM.info("back")
    assert file.path.read_text().splitlines()[-1].endswith("back")
