"""Windows, simulated: what a server says never reaches cmd.exe."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor_core.errors import ExecutorError
from executor_core.process._system import system
from executor_core.process.programs import unwrapped

PAYLOAD = 'x" & calc.exe & "%PATH%'

NPM_SCRIPT = r"""@ECHO off
GOTO start
:find_dp0
SET dp0=%~dp0
EXIT /b
:start
SETLOCAL
CALL :find_dp0

IF EXIST "%dp0%\node.exe" (
  SET "_prog=%dp0%\node.exe"
) ELSE (
  SET "_prog=node"
  SET PATHEXT=%PATHEXT:;.JS;=;%
)

endLocal & goto #_undefined_# 2>NUL || title %COMSPEC% & "%_prog%"  "%dp0%\lib\cli.js" %*
"""
NPM_PROGRAM = '@ECHO off\r\n"%dp0%\\lib\\agent.exe"   %*\r\n'
PNPM_SCRIPT = r"""@SETLOCAL
@IF EXIST "%~dp0\node.exe" (
  "%~dp0\node.exe"  "%~dp0\lib\cli.js" %*
) ELSE (
  @SET PATHEXT=%PATHEXT:;.JS;=;%
  node  "%~dp0\lib\cli.js" %*
)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a package manager puts its shims."""
    monkeypatch.setattr(system, "BATCH_SUFFIXES", (".cmd", ".bat"))
    for name in ("lib/cli.js", "lib/agent.exe", "nodejs/node.exe"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    return tmp_path


def shim(folder: Path, content: str, name: str = "agent.cmd") -> str:
    file = folder / name
    file.write_text(content)
    return str(file)


@pytest.mark.parametrize("content", [NPM_SCRIPT, PNPM_SCRIPT])
def test_the_script_behind_a_shim_is_run_by_node(folder: Path, content: str) -> None:
    argv = unwrapped([shim(folder, content), PAYLOAD], {"Path": str(folder / "nodejs")})
    assert argv == [str(folder / "nodejs/node.exe"), str(folder / "lib/cli.js"), PAYLOAD]


def test_the_program_behind_a_shim_is_run_itself(folder: Path) -> None:
    argv = unwrapped([shim(folder, NPM_PROGRAM, "Agent.CMD"), PAYLOAD], {})
    assert argv == [str(folder / "lib/agent.exe"), PAYLOAD]


def test_node_beside_the_shim_is_preferred(folder: Path) -> None:
    (folder / "node.exe").touch()
    argv = unwrapped([shim(folder, NPM_SCRIPT)], {"PATH": str(folder / "nodejs")})
    assert argv[0] == str(folder / "node.exe")


@pytest.mark.parametrize("content", ["@echo %*", NPM_SCRIPT.replace("cli.js", "gone.js"), ""])
@pytest.mark.parametrize("argument", [PAYLOAD, "a\nb", "100%", "a^b", "(a)", "!a!", "a|b", "<a>"])
def test_a_batch_file_that_hides_its_program_gets_no_words_of_a_task(
    folder: Path, content: str, argument: str
) -> None:
    with pytest.raises(ExecutorError, match="batch_file_refused"):
        unwrapped([shim(folder, content), argument], {})


def test_plain_arguments_are_given_to_any_batch_file(folder: Path) -> None:
    argv = [shim(folder, "@echo %*", "npm.bat"), "install", "-g", "@scope/package@1.2.3", "C:\\x y"]
    assert unwrapped(argv, {}) == argv


def test_a_shim_without_node_is_not_run_by_the_shell(folder: Path) -> None:
    with pytest.raises(ExecutorError, match="batch_file_refused"):
        unwrapped([shim(folder, NPM_SCRIPT), PAYLOAD], {"PATH": "/nowhere"})


def test_a_program_is_what_it_is() -> None:
    assert unwrapped(["/bin/agent", PAYLOAD], {}) == ["/bin/agent", PAYLOAD]
