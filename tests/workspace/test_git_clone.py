"""Clones from a real git server, and where the task's token goes: to that server, and nowhere."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from executor_core.agents import AgentHost
from executor_core.clock import SystemClock
from executor_core.errors import ExecutorError
from executor_core.model import Folder, GitAuthor, GitClone, GitCredential, Notice
from executor_core.process import Login
from executor_core.workspace import Cloner, GitAccess, Workspaces, clone
from tests.process.children import told_by
from tests.support.git_server import GitServer, git, git_server

CANARY = "canary-7f3a9c2e5b"
ENCODED = base64.b64encode(f"alice:{CANARY}".encode()).decode()


def credential(server: GitServer, token: str = CANARY) -> GitCredential:
    return GitCredential(host=server.host, token=token, login="alice")


async def private(server: GitServer, **changes: object) -> GitClone:
    """A private repository, and a task that brings what it wants."""
    url = await server.add("acme/app", token=CANARY)
    return replace(GitClone(task_folder="12", url=url, credential=credential(server)), **changes)


async def failure(workspaces: Workspaces, wanted: GitClone) -> ExecutorError:
    with pytest.raises(ExecutorError) as caught:
        await workspaces.prepare(wanted, run_id="r")
    return caught.value


def everything_in(folder: Path) -> Iterator[str]:
    """The paths and contents below a folder, as text."""
    for path in sorted(folder.rglob("*")):
        yield str(path)
        if path.is_file():
            yield path.read_bytes().decode("latin-1")


@asynccontextmanager
async def command_lines() -> AsyncIterator[set[str]]:
    """The arguments of all processes that a thread saw while the block ran."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(place.read_bytes().decode("latin-1"))

    watching = asyncio.Task(asyncio.to_thread(watch))
    try:
        yield seen
    finally:
        over.set()
        await watching


def left_in(task: Path) -> list[str]:
    return sorted(path.name for path in task.iterdir())


# --- what works --------------------------------------------------------------------------------


async def test_a_private_repository_is_cloned_changed_and_followed_up(
    server: GitServer, workspaces: Workspaces, root: Path
) -> None:
    wanted = await private(server, branch="side")
    folder = await workspaces.prepare(wanted, run_id="one")
    assert folder == root / "12" / "app"
    assert (folder / "README.md").read_text() == "# Hello\n"
    assert await git(folder, "branch", "--show-current") == "side"
    (folder / "new.txt").write_text("work")
    await git(folder, "checkout", "-q", "-b", "mine")
    asked = len(server.requests)

    again = await workspaces.prepare(wanted, run_id="two")

    assert again == folder
    assert (folder / "new.txt").read_text() == "work"
    assert await git(folder, "branch", "--show-current") == "mine"
    assert len(server.requests) == asked
    assert left_in(root / "12") == ["app"]


async def test_a_public_repository_is_cloned_without_a_login(
    server: GitServer, workspaces: Workspaces
) -> None:
    url = await server.add("open")
    folder = await workspaces.prepare(GitClone(task_folder="1", url=url))
    assert await git(folder, "branch", "--show-current") == "main"
    assert await git(folder, "remote", "get-url", "origin") == url
    assert {request.login for request in server.requests} == {None}


async def test_a_token_that_the_server_encrypted_is_decrypted(
    server: GitServer, workspaces: Workspaces
) -> None:
    sealed = "gZYZPvfTSIqVdVhYdshbu0OuD/iRvqPuiEP5wDUxEbo="
    wanted = await private(server, credential=credential(server, sealed))
    assert (await workspaces.prepare(wanted) / "README.md").exists()


async def test_a_token_inside_the_address_is_used_and_not_kept(
    server: GitServer, workspaces: Workspaces
) -> None:
    url = (await server.add("acme/app", token=CANARY)).replace("//", f"//alice:{CANARY}@")
    wanted = GitClone(task_folder="12", url=url)
    folder = await workspaces.prepare(wanted)
    assert await git(folder, "remote", "get-url", "origin") == f"{server.url}/acme/app.git"
    assert CANARY not in "".join(everything_in(folder)) + repr(wanted)


async def test_commits_are_made_in_the_name_of_the_tasks_user(
    server: GitServer, workspaces: Workspaces
) -> None:
    author = GitAuthor(name="Alice <A>\n", email="alice@example.com")
    url = await server.add("open")
    folder = await workspaces.prepare(GitClone(task_folder="1", url=url, author=author))
    assert await git(folder, "config", "--local", "user.name") == "Alice A"
    assert await git(folder, "config", "--local", "user.email") == "alice@example.com"


async def test_a_repository_name_of_the_task_names_the_folder(
    server: GitServer, workspaces: Workspaces, root: Path
) -> None:
    url = await server.add("open")
    wanted = GitClone(task_folder="1", url=url, repo_name="acme/../../.Über app")
    assert await workspaces.prepare(wanted) == root / "1" / "ber-app"


async def test_the_chat_hears_that_a_clone_begins_and_how_far_it_is(
    server: GitServer, workspaces: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor_core.workspace.git.LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(clone, "TOLD_EVERY_S", 0.0)
    url = await server.add("big", files={f"{n}.bin": os.urandom(2_000) for n in range(100)})
    go_on = server.halve("big")
    told: list[Notice] = []

    def hear(notice: Notice) -> None:
        told.append(notice)
        if notice.code == "git_progress":
            go_on.set()

    folder = await workspaces.prepare(GitClone(task_folder="1", url=url), emit=hear)
    assert len(list(folder.glob("*.bin"))) == 100
    assert told[0].text == "Cloning big …"
    percent = int(told[1].text.removeprefix("Cloning big: ").removesuffix(" %"))
    assert 10 <= percent < 100


def test_progress_is_told_every_ten_percent_and_not_too_often() -> None:
    told: list[Notice] = []
    now = [0.0]

    class Clock(SystemClock):
        def monotonic(self) -> float:
            return now[0]

    telling = clone._Telling("big", told.append, Clock())
    for percent in (3, 9, 12, 15, 30, 31, 100):
        now[0] += 1.0
        telling.look(f"Receiving objects:   1% (1/99)\nReceiving objects:  {percent}% (")
    assert [notice.text for notice in told] == [
        "Cloning big: 12 %", "Cloning big: 30 %", "Cloning big: 100 %",
    ]  # fmt: skip


# --- what does not -----------------------------------------------------------------------------


async def test_a_wrong_token_is_refused_in_words(
    server: GitServer, workspaces: Workspaces, root: Path
) -> None:
    error = await failure(workspaces, await private(server, credential=credential(server, "wrong")))
    assert error.code == "git_login_refused"
    assert left_in(root / "12") == []


async def test_a_token_of_several_lines_is_refused_before_git_sees_it(
    server: GitServer, workspaces: Workspaces
) -> None:
    wanted = await private(server, credential=credential(server, "one\nhost=other.example"))
    assert (await failure(workspaces, wanted)).code == "git_login_refused"
    assert server.requests == []


@pytest.mark.parametrize("token", [None, "", "***"])
async def test_a_private_repository_without_a_token_asks_for_one(
    server: GitServer, workspaces: Workspaces, token: str | None
) -> None:
    given = None if token is None else credential(server, token)
    error = await failure(workspaces, await private(server, credential=given))
    assert error.code == "git_login_missing"


async def test_a_missing_branch_is_named(server: GitServer, workspaces: Workspaces) -> None:
    error = await failure(workspaces, await private(server, branch="gone"))
    assert error.code == "git_branch_missing"
    assert "“gone”" in error.info.detail


async def test_a_missing_repository_is_named(server: GitServer, workspaces: Workspaces) -> None:
    error = await failure(workspaces, GitClone(task_folder="1", url=f"{server.url}/no/such.git"))
    assert error.code == "git_repository_missing"
    assert "no/such.git" in error.info.detail


async def test_a_server_that_is_not_there_is_named(workspaces: Workspaces) -> None:
    error = await failure(workspaces, GitClone(task_folder="1", url="http://127.0.0.1:1/a/b.git"))
    assert error.code == "git_unreachable"
    assert "127.0.0.1:1" in error.info.detail


async def test_a_folder_with_other_files_is_left_alone(
    server: GitServer, workspaces: Workspaces, root: Path
) -> None:
    wanted = GitClone(task_folder="1", url=await server.add("open"))
    (root / "1" / "open").mkdir(parents=True)
    (root / "1" / "open" / "mine.txt").write_text("mine")
    error = await failure(workspaces, wanted)
    assert error.code == "git_folder_taken"
    assert (root / "1" / "open" / "mine.txt").read_text() == "mine"


async def test_an_empty_folder_is_cloned_into(
    server: GitServer, workspaces: Workspaces, root: Path
) -> None:
    (root / "1" / "open").mkdir(parents=True)
    folder = await workspaces.prepare(GitClone(task_folder="1", url=await server.add("open")))
    assert (folder / "README.md").exists()


async def test_a_link_in_place_of_the_repository_is_not_followed(
    server: GitServer, workspaces: Workspaces, root: Path, tmp_path: Path
) -> None:
    (root / "1").mkdir()
    (root / "1" / "open").symlink_to(tmp_path)
    error = await failure(workspaces, GitClone(task_folder="1", url=await server.add("open")))
    assert error.code == "folder_is_link"


async def test_without_git_the_user_is_told(host: AgentHost, root: Path, access: GitAccess) -> None:
    host.use_login(Login(""))
    workspaces = Workspaces(root, (), Cloner(host, access))
    error = await failure(workspaces, GitClone(task_folder="1", url="https://example.com/a.git"))
    assert error.code == "git_missing"
    assert left_in(root / "1") == []


async def test_a_repository_of_this_computer_must_be_trusted(
    server: GitServer, host: AgentHost, root: Path, access: GitAccess
) -> None:
    await server.add("open")
    wanted = GitClone(task_folder="1", url=f"file://{server.folder}/open.git")
    without = Workspaces(root, (), Cloner(host, access))
    assert (await failure(without, wanted)).code == "git_not_trusted"
    trusting = Workspaces(root, (server.folder,), Cloner(host, access))
    assert (await trusting.prepare(wanted) / "README.md").exists()


async def test_a_plain_http_server_elsewhere_gets_no_token(workspaces: Workspaces) -> None:
    given = GitCredential(host="git.example.com", token=CANARY)
    wanted = GitClone(task_folder="1", url="http://git.example.com/a.git", credential=given)
    assert (await failure(workspaces, wanted)).code == "git_plain_http"


# --- ends ----------------------------------------------------------------------------------------


async def test_a_stalled_clone_is_stopped_and_leaves_nothing(
    server: GitServer, workspaces: Workspaces, root: Path
) -> None:
    wanted = await private(server)
    server.stall("acme/app")
    stop = asyncio.Event()
    cloning = asyncio.Task(workspaces.prepare(wanted, run_id="r", stop=stop))
    await asyncio.wait_for(server.stalled.wait(), 10)
    assert len(left_in(root / "12")) == 1
    stop.set()
    with pytest.raises(ExecutorError) as caught:
        await asyncio.wait_for(cloning, 10)
    assert caught.value.code == "git_stopped"
    assert left_in(root / "12") == []


async def test_a_cancelled_clone_leaves_nothing(
    server: GitServer, workspaces: Workspaces, root: Path
) -> None:
    wanted = await private(server)
    server.stall("acme/app")
    cloning = asyncio.Task(workspaces.prepare(wanted, run_id="r"))
    await asyncio.wait_for(server.stalled.wait(), 10)
    cloning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(cloning, 10)
    assert left_in(root / "12") == []
    assert not psutil.Process().children(recursive=True)


async def test_a_clone_has_a_time_limit(
    server: GitServer, workspaces: Workspaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clone, "CLONE_LIMIT_S", 0.2)
    wanted = await private(server)
    server.stall("acme/app")
    assert (await failure(workspaces, wanted)).code == "git_time_limit"


async def test_what_a_crashed_clone_left_is_removed(
    server: GitServer, workspaces: Workspaces, root: Path, tmp_path: Path
) -> None:
    left = root / "1" / ".clone-0011223344556677"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    left.with_name(".clone-8899aabbccddeeff").symlink_to(tmp_path)
    await workspaces.prepare(GitClone(task_folder="1", url=await server.add("open")))
    assert left_in(root / "1") == ["open"]
    assert tmp_path.exists()


async def test_a_repository_is_cloned_into_the_folder_that_the_task_names(
    server: GitServer, host: AgentHost, access: GitAccess, root: Path, tmp_path: Path
) -> None:
    trusted = tmp_path / "my work"
    trusted.mkdir()
    workspaces = Workspaces(root, (trusted,), Cloner(host, access))
    place = trusted / "项目" / "app"
    wanted = GitClone(task_folder="1", url=await server.add("open"), place=str(place))
    assert await workspaces.prepare(wanted) == place
    (place / "mine").write_text("x")
    assert await workspaces.prepare(wanted) == place
    assert (place / "mine").exists()
    assert left_in(place.parent) == ["app"]
    assert workspaces.directory_key(wanted) == workspaces.directory_key(Folder(path=str(place)))


async def test_a_folder_that_the_task_names_keeps_its_files_and_must_be_trusted(
    server: GitServer, host: AgentHost, access: GitAccess, root: Path, tmp_path: Path
) -> None:
    url = await server.add("open")
    taken, beyond = root / "taken", tmp_path / "beyond"
    taken.mkdir()
    (taken / "mine").write_text("x")
    workspaces = Workspaces(root, (), Cloner(host, access))
    for place, code in ((taken, "git_folder_taken"), (beyond, "folder_not_trusted")):
        wanted = GitClone(task_folder="1", url=url, place=str(place))
        assert (await failure(workspaces, wanted)).code == code
    assert not beyond.exists()
    assert "config.toml" in (await failure(workspaces, wanted)).info.hint


async def test_tasks_of_a_project_share_its_folder(
    server: GitServer, workspaces: Workspaces, root: Path
) -> None:
    wanted = GitClone(task_folder="projects/12", url=await server.add("open"))
    assert await workspaces.prepare(wanted) == root / "projects" / "12" / "open"


# --- the token -------------------------------------------------------------------------------


async def test_a_token_goes_only_to_the_server_it_belongs_to(
    server: GitServer, workspaces: Workspaces
) -> None:
    url = await server.add("acme/app", token=CANARY)
    given = GitCredential(host="github.com", token=CANARY, login="alice")
    error = await failure(workspaces, GitClone(task_folder="1", url=url, credential=given))
    assert error.code == "git_login_elsewhere"
    assert "github.com" in error.info.detail
    assert {request.login for request in server.requests} == {None}


@pytest.mark.parametrize("is_private", [False, True])
async def test_a_server_that_redirects_elsewhere_cannot_pass_the_token_on(
    server: GitServer, workspaces: Workspaces, tmp_path: Path, is_private: bool
) -> None:
    async with git_server(tmp_path / "other") as other:
        target = await other.add("stolen", token=CANARY if is_private else "")
        url = server.redirect("acme/app", target)
        wanted = GitClone(task_folder="1", url=url, credential=credential(server))
        if is_private:
            assert (await failure(workspaces, wanted)).code == "git_login_missing"
        else:
            await workspaces.prepare(wanted)
        assert other.requests
        assert {request.login for request in other.requests} == {None}


async def test_a_redirect_after_the_login_takes_no_token_along(
    server: GitServer, workspaces: Workspaces, tmp_path: Path
) -> None:
    async with git_server(tmp_path / "other") as other:
        url = await server.add("acme/app", token=CANARY)
        server.redirect_after_login("acme/app", await other.add("stolen", token=CANARY))
        wanted = GitClone(task_folder="1", url=url, credential=credential(server))
        await failure(workspaces, wanted)
        assert ("alice", CANARY) in {request.login for request in server.requests}
        assert other.requests
        assert {request.login for request in other.requests} == {None}


async def test_the_token_is_in_no_file_argument_log_or_error(
    server: GitServer,
    workspaces: Workspaces,
    root: Path,
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    wanted = await private(server)
    server.stall("acme/app")
    stop = asyncio.Event()
    cloning = asyncio.Task(workspaces.prepare(wanted, run_id="r", stop=stop))
    await asyncio.wait_for(server.stalled.wait(), 10)
    children = psutil.Process().children(recursive=True)
    arguments = " ".join(" ".join(line) for line in told_by(children, psutil.Process.cmdline))
    assert "git-remote-http" in arguments or "remote-http" in arguments
    files_meanwhile = "".join(everything_in(root))
    stop.set()
    with pytest.raises(ExecutorError):
        await cloning
    server.unstall()
    async with command_lines() as more:
        await workspaces.prepare(wanted)
    assert any("clone" in line for line in more)
    assert ("alice", CANARY) in {request.login for request in server.requests}
    refused = await failure(
        workspaces, replace(wanted, task_folder="13", credential=credential(server, f"{CANARY}x"))
    )
    seen = [
        arguments,
        *more,
        files_meanwhile,
        *everything_in(root),
        *everything_in(home),
        caplog.text,
        str(refused),
        refused.info.sentence,
        repr(wanted),
        repr(wanted.credential),
    ]
    for secret in (CANARY, ENCODED, ENCODED[:20]):
        assert [place[:200] for place in seen if secret in place] == []


async def test_a_server_that_says_the_token_back_is_not_quoted(
    server: GitServer, workspaces: Workspaces
) -> None:
    url = await server.add("acme/app", token=CANARY)
    wanted = GitClone(task_folder="1", url=url, credential=credential(server, "not-the-token"))
    error = await failure(workspaces, wanted)
    assert "not-the-token" not in str(error) + error.info.sentence


# --- hostile surroundings --------------------------------------------------------------------


async def test_nothing_that_an_earlier_agent_left_around_a_clone_is_run(
    server: GitServer, workspaces: Workspaces, root: Path, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    await git(root, "init", "-q", "1")
    for name in ("core.fsmonitor", "core.sshCommand", "core.pager", "credential.helper"):
        await git(root / "1", "config", name, f"!touch {proof} #")
    await git(root / "1", "config", "core.askPass", f"touch {proof}")
    error = await failure(
        workspaces, GitClone(task_folder="1", url=await server.add("acme/app", token=CANARY))
    )
    assert error.code == "git_login_missing"
    assert not proof.exists()


async def test_hooks_and_filters_of_the_users_settings_are_not_run(
    server: GitServer, workspaces: Workspaces, home: Path, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    hook = home / "hooks" / "post-checkout"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {proof}\n")
    hook.chmod(0o700)
    for name, value in {
        "core.hooksPath": str(hook.parent),
        "core.askPass": str(hook),
        "filter.lfs.smudge": f"touch {proof}; cat",
        "filter.lfs.required": "true",
    }.items():
        await git(tmp_path, "config", "--file", str(home / ".gitconfig"), name, value)
    files = {".gitattributes": b"*.bin filter=lfs\n", "a.bin": b"pointer"}
    folder = await workspaces.prepare(
        GitClone(task_folder="1", url=await server.add("open", files=files))
    )
    assert (folder / "a.bin").read_bytes() == b"pointer"
    await failure(workspaces, GitClone(task_folder="2", url=await server.add("shut", token=CANARY)))
    assert not proof.exists()
