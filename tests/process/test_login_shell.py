"""What the user's terminal knows is known: its variables, and where it finds programs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from executor_core.process import Login, ask_login_shell, find_program
from executor_core.process.login_shell import merge_paths
from tests.process.children import HurriedClock


def fake_shell(folder: Path, script: str) -> str:
    shell = folder / "shell"
    shell.write_text(f"#!/bin/sh\n{script}\n")
    shell.chmod(0o755)
    return str(shell)


def base(home: Path, shell: str) -> dict[str, str]:
    return {"HOME": str(home), "SHELL": shell, "PATH": "/usr/bin:/bin"}


async def asked(home: Path, shell: str, **more: str) -> Login:
    return await ask_login_shell(base(home, shell) | more, HurriedClock())


async def test_the_login_shells_path_comes_first_then_usual_places_then_ours(
    tmp_path: Path,
) -> None:
    places = [".local/bin", ".nvm/versions/node/v9.1.0/bin", ".nvm/versions/node/v22.4.1/bin"]
    for place in places:
        (tmp_path / place).mkdir(parents=True)
    script = 'echo "Welcome!"; PATH="/shell/bin:$PATH"; [ "$1" = -ilc ] && eval "$2"; echo bye'

    path = (await asked(tmp_path, fake_shell(tmp_path, script))).path

    folders = path.split(os.pathsep)
    assert folders[:3] == ["/shell/bin", "/usr/bin", "/bin"]
    usual = [str(tmp_path / places[0]), str(tmp_path / places[2]), str(tmp_path / places[1])]
    assert [folder for folder in folders if folder.startswith(str(tmp_path))] == usual
    assert len(folders) == len(set(folders))


@pytest.mark.parametrize("terminal", ["", "dumb", "xterm"])
async def test_a_real_shell_tells_all_that_it_exports_whatever_it_prints(
    tmp_path: Path, terminal: str
) -> None:
    (tmp_path / ".bash_profile").write_text(
        """printf 'noise without an end'
        [ "$TERM" = dumb ] && return
        export PATH=/from/profile:$PATH KEY='sk a=b' LINES_OF='one
two' EMPTY= ; NOT_EXPORTED=1; tool() { :; }; export -f tool; env"""
    )
    login = await asked(tmp_path, "/bin/bash", STARTED="1", WEGENT_TOKEN="ours", TERM=terminal)
    told = login.variables
    assert login.path.split(os.pathsep)[0] == "/from/profile"
    assert (told["KEY"], told["LINES_OF"], told["EMPTY"]) == ("sk a=b", "one\ntwo", "")
    assert told["STARTED"] == "1"
    assert "BASH_FUNC_tool%%" in told
    assert not {"NOT_EXPORTED", "WEGENT_TOKEN"} & told.keys()
    assert login.silent is None


async def test_a_shell_that_would_start_another_one_is_told_why_it_runs(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text(
        '[ -z "$VSCODE_RESOLVING_ENVIRONMENT" ] && exec cat\nexport KEY=1\n'
    )
    assert (await asked(tmp_path, "/bin/bash")).variables["KEY"] == "1"


async def test_csh_knows_no_login_shell_with_a_command(tmp_path: Path) -> None:
    shell = Path(fake_shell(tmp_path, '[ "$1" = -ic ] && KEY=1 exec sh -c "$2"'))
    assert (await asked(tmp_path, str(shell.rename(tmp_path / "tcsh")))).variables["KEY"] == "1"


@pytest.mark.parametrize(
    "script",
    [
        "exec sleep 1000",
        "exit 1",
        "cat; exit 0",
        "sleep 1000 & ",
        'eval "${2%%;*}"; env -0; exit',  # the end is missing
    ],
)
async def test_a_shell_without_an_answer_is_logged_and_told_and_ours_is_used(
    tmp_path: Path, script: str, caplog: pytest.LogCaptureFixture
) -> None:
    shell = fake_shell(tmp_path, script)
    with caplog.at_level(logging.WARNING, "executor.process"):
        login = await asked(tmp_path, shell)
    assert login.path.endswith("/usr/bin:/bin")
    assert (login.variables, login.silent) == ({}, shell)
    assert "shell" in caplog.text


async def test_a_shell_that_is_not_there_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    login = await asked(tmp_path, "/no/such/shell")
    assert login.path.endswith("/usr/bin:/bin")
    assert "/no/such/shell" in caplog.text


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
async def test_an_account_that_nobody_signs_in_to_is_not_asked(
    tmp_path: Path, shell: str, caplog: pytest.LogCaptureFixture
) -> None:
    login = await asked(tmp_path, shell)
    assert (login.variables, login.silent, caplog.text) == ({}, None, "")


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
