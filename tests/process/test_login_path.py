"""Programs are found as in the user's terminal."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from executor_core.process import find_program, login_shell_path
from executor_core.process.login_path import merge_paths
from tests.process.children import HurriedClock


def fake_shell(folder: Path, script: str) -> str:
    shell = folder / "shell"
    shell.write_text(f"#!/bin/sh\n{script}\n")
    shell.chmod(0o755)
    return str(shell)


def base(home: Path, shell: str) -> dict[str, str]:
    return {"HOME": str(home), "SHELL": shell, "PATH": "/usr/bin:/bin"}


async def test_the_login_shells_path_comes_first_then_usual_places_then_ours(
    tmp_path: Path,
) -> None:
    places = [".local/bin", ".nvm/versions/node/v9.1.0/bin", ".nvm/versions/node/v22.4.1/bin"]
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    script = 'echo "Welcome!"; PATH="/shell/bin:$PATH"; [ "$1" = -ilc ] && eval "$2"; echo bye'

    path = await login_shell_path(base(tmp_path, fake_shell(tmp_path, script)), HurriedClock())

    folders = path.split(os.pathsep)
    assert folders[:3] == ["/shell/bin", "/usr/bin", "/bin"]
    usual = [str(tmp_path / places[0]), str(tmp_path / places[2]), str(tmp_path / places[1])]
    assert [folder for folder in folders if folder.startswith(str(tmp_path))] == usual
    assert len(folders) == len(set(folders))


async def test_a_real_shell_answers(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text("echo noise; export PATH=/from/profile:$PATH\n")
    path = await login_shell_path(base(tmp_path, "/bin/bash"), HurriedClock())
    assert path.split(os.pathsep)[0] == "/from/profile"


@pytest.mark.parametrize("script", ["exec sleep 1000", "exit 1", "cat; exit 0", "sleep 1000 & "])
async def test_a_shell_without_an_answer_is_logged_and_ours_is_used(
    tmp_path: Path, script: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "executor.process"):
        path = await login_shell_path(base(tmp_path, fake_shell(tmp_path, script)), HurriedClock())
    assert path.endswith("/usr/bin:/bin")
    assert "shell" in caplog.text


async def test_a_shell_that_is_not_there_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = await login_shell_path(base(tmp_path, "/no/such/shell"), HurriedClock())
    assert path.endswith("/usr/bin:/bin")
    assert "/no/such/shell" in caplog.text


def test_merged_paths_have_no_duplicates_and_no_relative_folders() -> None:
    assert merge_paths("/a:/b", "", ".:bin:/b:/c") == "/a:/b:/c"


def test_a_program_is_found_where_it_may_be_executed(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second, first / "folder"):
        folder.mkdir()
    (first / "tool").write_text("not executable")
    tool = second / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    path = f"relative:{first}:{second}"

    assert find_program("tool", path) == tool
    assert find_program(str(tool), "") == tool
    assert find_program("folder", path) is None
    assert find_program("2/tool", str(tmp_path)) is None
    assert find_program("other", path) is None
