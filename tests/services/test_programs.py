"""Our own programs are found where an installation puts them."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from executor_core.services import programs


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The interpreter's folder, that of what was typed, those of two schemes, and one of PATH."""
    beside, typed, scheme, of_user, on_path = found = [
        tmp_path / name for name in ("bin", "typed", "prefix", "user", "path")
    ]
    for folder in found:
        folder.mkdir()
    schemes = {sysconfig.get_preferred_scheme("user"): of_user}
    monkeypatch.setattr(sys, "executable", str(beside / "python"))
    monkeypatch.setattr(sys, "argv", [str(typed / "wegent-executor")])
    monkeypatch.setattr(sysconfig, "get_path", lambda _, name: str(schemes.get(name, scheme)))
    monkeypatch.setenv("PATH", str(on_path))
    return found


def test_a_program_is_found_in_the_nearest_place_of_an_installation(places: list[Path]) -> None:
    found = [place / programs.sibling("tool").name for place in places]
    assert programs.sibling("tool") == found[0]
    for place in reversed(found):
        place.touch()
        assert programs.sibling("tool") == place


def test_a_relative_folder_of_the_path_is_passed_over(
    places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / programs.sibling("tool").name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ".")
    assert programs.sibling("tool").parent == places[0]


def test_a_frozen_program_has_its_siblings_beside_it(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    (places[3] / programs.sibling("tool").name).touch()
    assert programs.sibling("tool").parent == places[0]


def test_the_folder_that_we_stand_in_is_no_place_of_programs(
    places: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest = places[0] / programs.sibling("tool").name
    (tmp_path / nearest.name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["-c"])
    monkeypatch.setenv("PATH", ".")
    assert programs.sibling("tool") == nearest
