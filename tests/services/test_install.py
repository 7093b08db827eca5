"""Agents are installed from the services: what is said before, meanwhile and afterwards."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from executor_core.agents.install import Installer
from executor_core.errors import ExecutorError
from executor_core.process import Login
from executor_core.services.install import LocalInstall
from executor_core.services.interface import Installed, InstallService
from tests.agents.test_install import Computer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in of npm is a script")


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    computer = Computer(tmp_path)
    computer.npm()
    return computer


def room_of(computer: Computer) -> InstallService:
    return LocalInstall(lambda: Installer.find(computer.host(computer.local / "bin")))


async def test_a_plan_says_what_will_be_done_and_does_nothing(computer: Computer) -> None:
    room = room_of(computer)
    assert room.installable() == ("claude_code", "codex", "opencode")
    plan = await room.plan("codex")
    assert (plan.name, plan.title, plan.folder) == ("codex", "Codex", str(computer.local))
    assert plan.command.startswith("npm install --global --prefix ")
    assert computer.content() == {}


async def test_what_was_planned_is_done_and_each_step_is_said(computer: Computer) -> None:
    room, said = room_of(computer), list[str]()
    await room.plan("codex")
    program = str(computer.local / "bin" / "codex")
    done = await room.install("codex", said.append)
    assert done == Installed(name="codex", version="9.8.7", path=program)
    assert len(said) >= 3


async def test_another_copy_that_is_found_first_is_named(computer: Computer) -> None:
    computer.program("codex", "echo 0.1.0")
    room = LocalInstall(lambda: Installer.find(computer.host()))
    done = await room.install("codex", lambda _: None)
    assert done.shadowed_by == str(computer.bin / "codex")


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("echo 'npm error code E403' >&2; exit 1", "refused access"),
        ("echo 'npm error code ENOSPC' >&2; exit 1", "The disk is full"),
        ("echo 'npm error code ECONNREFUSED' >&2; exit 1", "cannot reach its package server"),
    ],
)
async def test_when_it_fails_the_reason_is_said_and_everything_is_as_before(
    computer: Computer, end: str, words: str
) -> None:
    computer.npm(end=end)
    with pytest.raises(ExecutorError) as caught:
        await room_of(computer).install("codex", lambda _: None)
    info = caught.value.message
    assert (info.code, info.hint) == ("install_failed", "Everything is as it was before.")
    assert words in info.detail
    assert computer.content() == {}


@pytest.mark.parametrize("name", ["goose", ""])
async def test_what_npm_does_not_have_is_refused_before_anything_is_looked_for(
    computer: Computer, name: str
) -> None:
    room = room_of(computer)
    for asked in (room.plan(name), room.install(name, lambda _: None)):
        with pytest.raises(ExecutorError, match="agent_not_installable"):
            await asked


async def test_without_npm_a_plan_says_how_to_get_it(computer: Computer) -> None:
    (computer.bin / "npm").unlink()
    host = computer.host()
    host.use_login(Login(str(computer.bin)))
    with pytest.raises(ExecutorError) as caught:
        await LocalInstall(lambda: Installer.find(host)).plan("codex")
    assert caught.value.code == "npm_missing"
    assert caught.value.message.hint


async def test_two_at_once_are_done_one_after_the_other(computer: Computer) -> None:
    mark = computer.home.parent / "at-work"
    computer.npm(end=f"test -e {mark} && exit 9; touch {mark}; sleep 0.2; rm {mark}; exit 0")
    room = room_of(computer)
    done = await asyncio.gather(*(room.install("codex", lambda _: None) for _ in range(2)))
    assert [one.version for one in done] == ["9.8.7", "9.8.7"]
