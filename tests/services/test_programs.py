"""Our own programs are found where an installation puts them."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from executor_core.services import programs


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folder of the interpreter, and that of the user's scripts."""
    beside, of_user = tmp_path / "bin", tmp_path / "user"
    beside.mkdir()
    of_user.mkdir()
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(of_user))
    return beside, of_user


def test_a_program_is_found_beside_the_interpreter_and_then_among_the_users(
    places: tuple[Path, Path],
) -> None:
    beside, of_user = (place / programs.sibling("tool").name for place in places)
    assert programs.sibling("tool") == beside
    of_user.touch()
    assert programs.sibling("tool") == of_user
    beside.touch()
    assert programs.sibling("tool") == beside
