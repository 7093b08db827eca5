"""The user's own settings of git reach a clone as in the terminal, and no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor_core.errors import ExecutorError
from executor_core.model import GitClone, GitCredential
from executor_core.workspace import Workspaces
from executor_core.workspace.remote import parse_remote, transports
from tests.support.git_server import GitServer, git

CANARY = "canary-5d1c88e0aa"


async def configure(home: Path, **settings: str) -> None:
    for name, value in settings.items():
        key = name.replace("__", ".")
        await git(home, "config", "--file", str(home / ".gitconfig"), key, value)


async def test_a_helper_of_the_user_logs_in_where_the_task_brings_nothing(
    server: GitServer, workspaces: Workspaces, home: Path
) -> None:
    answer = f"echo username=me; echo password={CANARY}"
    await configure(home, credential__helper=f"!f() {{ test $1 = get && {{ {answer}; }}; }}; f")
    url = await server.add("mine", token=CANARY)
    elsewhere = GitCredential(host="git.example.com", token="of-the-task", login="t")
    folder = await workspaces.prepare(GitClone(task_folder="1", url=url, credential=elsewhere))
    assert (folder / "README.md").exists()
    assert {request.login for request in server.requests} == {None, ("me", CANARY)}


@pytest.mark.parametrize("token", [CANARY, "wrong"])
async def test_a_helper_of_the_user_never_hears_of_the_tasks_login(
    server: GitServer, workspaces: Workspaces, home: Path, tmp_path: Path, token: str
) -> None:
    heard = tmp_path / "heard"
    await configure(home, credential__helper=f"!f() {{ cat >> {heard}; }}; f")
    url = await server.add("mine", token=CANARY)
    given = GitCredential(host=server.host, token=token, login="t")
    wanted = GitClone(task_folder="1", url=url, credential=given)
    if token == CANARY:
        await workspaces.prepare(wanted)
    else:
        with pytest.raises(ExecutorError) as caught:
            await workspaces.prepare(wanted)
        assert caught.value.code == "git_login_refused"
    assert not heard.exists()


async def test_an_address_that_the_user_turns_into_another_is_tried_there(
    server: GitServer, workspaces: Workspaces, home: Path
) -> None:
    await server.add("mine")
    with (home / ".gitconfig").open("a") as file:
        file.write(f'[url "{server.url}/"]\n\tinsteadOf = https://git.example.com/\n')
    wanted = GitClone(task_folder="1", url="https://git.example.com/mine.git")
    assert (await workspaces.prepare(wanted) / "README.md").exists()


async def test_the_users_own_ssh_is_used(
    workspaces: Workspaces, home: Path, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    await configure(home, core__sshCommand=f"echo >{asked}; false")
    with pytest.raises(ExecutorError):
        await workspaces.prepare(GitClone(task_folder="1", url="git@git.example.com:a/b.git"))
    assert asked.exists()


async def test_no_settings_of_the_user_open_a_transport_that_starts_programs(
    workspaces: Workspaces, home: Path, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    with (home / ".gitconfig").open("a") as file:
        file.write(
            f'[url "ext::sh -c touch% {proof}% #"]\n\tinsteadOf = https://git.example.com/\n'
            "[protocol]\n\tallow = always\n"
        )
    with pytest.raises(ExecutorError):
        await workspaces.prepare(GitClone(task_folder="1", url="https://git.example.com/a.git"))
    assert not proof.exists()


@pytest.mark.parametrize(
    ("rewritten", "allowed"),
    [
        ("https://h.example/a", "https"),
        ("git@h.example:a", "https:ssh"),
        ("ssh://h.example/a", "https:ssh"),
        ("HTTP://h.example/a", "http:https"),
        ("/srv/mirror/a", "file:https"),
        ("file:///srv/mirror/a", "file:https"),
        ("git://h.example/a", "git:https"),
        ("ext::sh -c x", "https"),
        ("ext::ssh://x", "https"),
        ("fd::7", "https"),
        ("hg://h.example/a", "https"),
    ],
)
def test_only_what_the_address_comes_to_is_allowed(rewritten: str, allowed: str) -> None:
    assert transports(parse_remote("https://h.example/a"), rewritten) == allowed
