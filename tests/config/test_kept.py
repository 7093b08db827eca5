"""What we alone write is kept twice, and mends itself."""

from __future__ import annotations

import errno
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from executor_core.config import kept
from executor_core.config.kept import Kept, kept_json

VALUE = {"https://wegent.example.com": "ada"}
Damage = Callable[[Path], object]


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def of_another_kind(file: Path) -> None:
    file.write_bytes(b"[1]")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGES: tuple[Damage, ...] = (emptied, of_another_kind, cut, a_folder, a_link, a_pipe)


@pytest.fixture
def file(tmp_path: Path) -> Kept[dict[str, str]]:
    file = fresh(tmp_path)
    file.write(VALUE)
    return file


def fresh(folder: Path) -> Kept[dict[str, str]]:
    return kept_json(folder / "accounts.json", dict[str, str])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_and_comes_back_from_its_copy(
    file: Kept[dict[str, str]], tmp_path: Path, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    damage(file.path)
    assert file.problem() is not None
    assert file.read() == VALUE
    assert fresh(tmp_path).problem() is None
    assert os.path.lexists(tmp_path / "accounts.json.damaged-1")
    assert str(file.path) in caplog.text
    assert "its copy is used" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_copy_it_is_set_aside_and_nothing_is_known(
    file: Kept[dict[str, str]], tmp_path: Path, damage: Damage
) -> None:
    (tmp_path / ".accounts.json.copy").write_bytes(b"\0")
    damage(file.path)
    assert file.read() is None
    assert not file.path.exists()
    file.write(VALUE)
    assert fresh(tmp_path).read() == VALUE


def test_what_somebody_took_away_does_not_come_back(file: Kept[dict[str, str]]) -> None:
    file.path.unlink()
    assert file.read() is None
    assert file.problem() is None


def test_what_somebody_wrote_by_hand_counts_and_is_copied(
    file: Kept[dict[str, str]], tmp_path: Path
) -> None:
    file.path.write_text('{"by": "hand"}')
    assert file.read() == {"by": "hand"}
    file.path.write_bytes(b"")
    assert fresh(tmp_path).read() == {"by": "hand"}


def test_a_file_of_a_user_who_may_only_read_is_used_and_replaced(
    file: Kept[dict[str, str]],
) -> None:
    file.path.chmod(0o400)
    assert file.read() == VALUE
    file.write({"more": "1"})
    assert file.read() == {"more": "1"}


def test_what_passes_by_itself_sets_nothing_aside(
    file: Kept[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(kept, "read_private", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        file.read()
    assert file.path.exists()


def test_where_nothing_can_be_renamed_the_copy_serves(
    file: Kept[dict[str, str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    file.path.write_bytes(b"")
    monkeypatch.setattr(kept, "set_aside", refuse)
    with caplog.at_level(logging.ERROR):
        assert file.read() == VALUE
    assert "Read-only file system" in caplog.text


def test_no_random_damage_stops_the_reader(tmp_path: Path) -> None:
    chance = random.Random(20_260_129)
    for number in range(300):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = fresh(folder)
        file.write(VALUE)
        raw = bytearray(file.path.read_bytes())
        for _ in range(chance.randint(1, 6)):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        file.path.write_bytes(raw[: chance.randint(0, len(raw))])
        found = fresh(folder).read()
        assert isinstance(found, dict)
        assert fresh(folder).problem() is None
