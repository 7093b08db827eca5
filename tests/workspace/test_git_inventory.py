"""What the list of workspaces says, and what a clean-up may and may not delete."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from executor_core.agents import AgentHost
from executor_core.errors import ExecutorError
from executor_core.workspace import Inventory, WorkState
from executor_core.workspace.files import remove_tree
from executor_core.workspace.git import Git
from executor_core.workspace.inventory import Kept, KeptBecause, _Found, _scan, repository_state
from tests.support.git_server import GIT, git


@pytest.fixture
def inventory(root: Path, host: AgentHost) -> Inventory:
    return Inventory(root, host)


@pytest.fixture(scope="session")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository and a clone of it, which is made once and copied often."""
    place = tmp_path_factory.mktemp("cloned")
    (place / "first").mkdir()
    (place / "first" / "README.md").write_text("# Hello\n")
    for arguments in (
        ("init", "-q", "-b", "main", "first"),
        ("-C", "first", "add", "README.md"),
        ("-C", "first", "commit", "-q", "-m", "first"),
        ("clone", "-q", "--bare", "first", "origin.git"),
        ("clone", "-q", "origin.git", "app"),
        ("-C", "app", "remote", "set-url", "origin", "../../../origin.git"),
    ):
        subprocess.run([*GIT, *arguments], cwd=place, check=True)
    return place


@pytest.fixture
def folder(cloned: Path, root: Path) -> Path:
    """The repository that task 12 has just cloned."""
    shutil.copytree(cloned / "origin.git", root.parent / "origin.git")
    shutil.copytree(cloned / "app", root / "12" / "app")
    return root / "12" / "app"


async def nowhere() -> tuple[str, ...]:
    return ()


async def state(inventory: Inventory) -> WorkState:
    (info,) = await inventory.list_workspaces()
    return info.state


async def commit(folder: Path) -> None:
    await git(folder, "commit", "-q", "--allow-empty", "-m", "work")


# --- states ----------------------------------------------------------------------------------


async def test_a_fresh_clone_is_clean(inventory: Inventory, folder: Path, root: Path) -> None:
    (folder.parent / ".wegent" / "agent").mkdir(parents=True)
    (folder.parent / ".wegent" / "agent" / "session").write_text("ours")
    (info,) = await inventory.list_workspaces()
    assert (info.name, info.path, info.state) == ("12", str(root / "12"), WorkState.CLEAN)
    assert info.repositories == ("app",)
    assert info.size_bytes > 1_000
    assert info.used_at.timestamp() >= (folder / "README.md").stat().st_mtime


async def test_a_changed_file_is_uncommitted(inventory: Inventory, folder: Path) -> None:
    (folder / "README.md").write_text("changed")
    assert await state(inventory) == WorkState.UNCOMMITTED


async def test_a_new_file_is_uncommitted(inventory: Inventory, folder: Path) -> None:
    (folder / "new.txt").write_text("new")
    assert await state(inventory) == WorkState.UNCOMMITTED


async def test_a_change_that_the_index_hides_is_uncommitted(
    inventory: Inventory, folder: Path
) -> None:
    await git(folder, "update-index", "--assume-unchanged", "README.md")
    (folder / "README.md").write_text("changed")
    assert await state(inventory) == WorkState.UNCOMMITTED


async def test_an_unfinished_merge_is_uncommitted(inventory: Inventory, folder: Path) -> None:
    (folder / ".git" / "MERGE_HEAD").write_text("0" * 40)
    assert await state(inventory) == WorkState.UNCOMMITTED


async def test_a_commit_is_unpushed_until_it_is_pushed(inventory: Inventory, folder: Path) -> None:
    await commit(folder)
    assert await state(inventory) == WorkState.UNPUSHED
    await git(folder, "push", "-q", "origin", "main")
    assert await state(inventory) == WorkState.CLEAN


async def test_a_commit_on_another_branch_is_unpushed(inventory: Inventory, folder: Path) -> None:
    await git(folder, "checkout", "-q", "-b", "other")
    await commit(folder)
    await git(folder, "tag", "hides-nothing")
    await git(folder, "checkout", "-q", "main")
    assert await state(inventory) == WorkState.UNPUSHED


async def test_a_commit_on_no_branch_is_unpushed(inventory: Inventory, folder: Path) -> None:
    await git(folder, "checkout", "-q", "--detach")
    await commit(folder)
    assert await state(inventory) == WorkState.UNPUSHED


async def test_a_stash_is_unpushed(inventory: Inventory, folder: Path) -> None:
    (folder / "README.md").write_text("changed")
    await git(folder, "stash", "-q")
    assert await state(inventory) == WorkState.UNPUSHED


async def test_references_that_git_packed_count_as_well(inventory: Inventory, folder: Path) -> None:
    await commit(folder)
    await git(folder, "pack-refs", "--all")
    assert await state(inventory) == WorkState.UNPUSHED


async def test_what_is_ignored_is_no_work(inventory: Inventory, folder: Path) -> None:
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "exclude").write_text("build/\n")
    (folder / "build").mkdir()
    (folder / "build" / "out.o").write_text("made")
    assert await state(inventory) == WorkState.CLEAN


async def test_files_without_a_repository_are_said_so(inventory: Inventory, root: Path) -> None:
    (root / "7" / "notes").mkdir(parents=True)
    assert await state(inventory) == WorkState.EMPTY
    (root / "7" / "notes" / "a.md").write_text("text")
    assert await state(inventory) == WorkState.NO_REPOSITORY


async def test_a_file_beside_a_clean_repository_is_not_lost(
    inventory: Inventory, folder: Path
) -> None:
    (folder.parent / "result.md").write_text("text")
    assert await state(inventory) == WorkState.NO_REPOSITORY


async def test_a_repository_inside_another_counts(inventory: Inventory, folder: Path) -> None:
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "exclude").write_text("inner/\n")
    await git(folder, "init", "-q", "inner")
    await commit(folder / "inner")
    assert await state(inventory) == WorkState.UNPUSHED


@pytest.mark.parametrize("kind", ["file", "link", "no_head", "link_in_refs", "pipe"])
async def test_what_is_not_understood_is_unknown(
    inventory: Inventory, folder: Path, tmp_path: Path, kind: str
) -> None:
    inside = folder / ".git"
    match kind:
        case "file":
            inside.rename(tmp_path / "moved")
            inside.write_text(f"gitdir: {tmp_path / 'moved'}\n")
        case "link":
            inside.rename(tmp_path / "moved")
            inside.symlink_to(tmp_path / "moved")
        case "no_head":
            (inside / "HEAD").unlink()
        case "link_in_refs":
            (inside / "refs" / "link").symlink_to(tmp_path)
        case "pipe":
            (inside / "packed-refs").unlink()
            os.mkfifo(inside / "packed-refs")
    assert await state(inventory) == WorkState.UNKNOWN


async def test_nothing_that_a_hostile_repository_names_is_run(
    inventory: Inventory, folder: Path, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n")
    program.chmod(0o700)
    for name in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "diff.external",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "remote.origin.uploadpack",
        "credential.helper",
    ):
        await git(folder, "config", name, str(program))
    await git(folder, "config", "remote.origin.promisor", "true")
    await git(folder, "config", "remote.origin.url", f"ext::{program}")
    await git(folder, "config", "protocol.ext.allow", "always")
    await git(folder, "config", "core.hooksPath", str(tmp_path / "hooks"))
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "post-index-change").symlink_to(program)
    (folder / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (folder / "README.md").write_text("# Jello\n")  # as long as before: git has to read it
    assert await state(inventory) == WorkState.UNCOMMITTED
    (folder / ".gitattributes").unlink()
    shutil.rmtree(folder / ".git" / "objects")  # what is missing, git would fetch from origin
    (folder / ".git" / "objects").mkdir()
    assert await state(inventory) in (WorkState.UNCOMMITTED, WorkState.UNKNOWN)
    assert not proof.exists()


async def test_the_same_repository_does_run_a_program_when_git_believes_it(
    folder: Path, tmp_path: Path
) -> None:
    # Shows that the test above can fail.
    proof = tmp_path / "proof"
    await git(folder, "config", "core.fsmonitor", f"touch {proof} #")
    await git(folder, "status")
    assert proof.exists()


# --- clean-up -----------------------------------------------------------------------------------


async def test_a_clean_up_deletes_only_what_can_be_had_again(
    inventory: Inventory, folder: Path, root: Path
) -> None:
    (root / "2").mkdir()
    (root / "3").mkdir()
    (root / "3" / "notes.md").write_text("text")
    (root / ".removing-0011").mkdir()
    report = await inventory.clean(unused_for_s=0, in_use=nowhere)
    assert [info.name for info in report.removed] == ["12", "2"]
    assert [(kept.name, kept.reason) for kept in report.kept] == [("3", KeptBecause.NO_REPOSITORY)]
    assert report.freed_bytes > 1_000
    assert [path.name for path in root.iterdir()] == ["3"]


@pytest.mark.parametrize("work", ["uncommitted", "unpushed"])
async def test_a_clean_up_keeps_work_and_naming_it_deletes_it(
    inventory: Inventory, folder: Path, work: str
) -> None:
    if work == "uncommitted":
        (folder / "new.txt").write_text("new")
    else:
        await commit(folder)
    report = await inventory.clean(unused_for_s=0, in_use=nowhere)
    assert (report.removed, [kept.reason for kept in report.kept]) == ([], [KeptBecause(work)])
    assert folder.exists()

    report = await inventory.remove(["12"], in_use=nowhere)
    assert [info.name for info in report.removed] == ["12"]
    assert not folder.parent.exists()


async def test_what_was_used_lately_stays(inventory: Inventory, folder: Path) -> None:
    report = await inventory.clean(unused_for_s=3600, in_use=nowhere)
    assert [kept.reason for kept in report.kept] == [KeptBecause.RECENT]
    assert folder.exists()


async def test_work_of_a_run_that_came_and_went_while_another_workspace_was_deleted_stays(
    inventory: Inventory, folder: Path, root: Path
) -> None:
    shutil.copytree(root / "12", root / "11")

    async def in_use() -> tuple[str, ...]:
        (folder / "new.txt").write_text("work")
        return ()

    report = await inventory.clean(unused_for_s=0, in_use=in_use)
    assert [info.name for info in report.removed] == ["11"]
    assert report.kept == [Kept("12", KeptBecause.UNCOMMITTED)]
    assert (folder / "new.txt").exists()


async def test_work_of_a_run_that_came_and_went_while_git_looked_stays(
    inventory: Inventory, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def state(git: Git, place: Path) -> WorkState:
        found = await repository_state(git, place)
        (folder / "new.txt").write_text("work")
        return found

    monkeypatch.setattr("executor_core.workspace.inventory.repository_state", state)
    report = await inventory.clean(unused_for_s=0, in_use=nowhere)
    assert report.kept == [Kept("12", KeptBecause.RECENT)]
    assert (folder / "new.txt").exists()


async def test_where_a_run_works_nothing_is_deleted(inventory: Inventory, folder: Path) -> None:
    for place in (folder, folder.parent, folder / "src"):

        async def in_use(used: str = str(place)) -> tuple[str, ...]:
            return ("/elsewhere", used)

        by_name = await inventory.remove(["12"], in_use=in_use)
        by_age = await inventory.clean(unused_for_s=0, in_use=in_use)
        for report in (by_name, by_age):
            assert [kept.reason for kept in report.kept] == [KeptBecause.IN_USE]
    assert folder.exists()


async def test_when_nobody_can_say_where_runs_work_nothing_is_deleted(
    inventory: Inventory, folder: Path
) -> None:
    async def in_use() -> tuple[str, ...]:
        raise ExecutorError("executor_lost")

    with pytest.raises(ExecutorError):
        await inventory.clean(unused_for_s=0, in_use=in_use)
    with pytest.raises(ExecutorError):
        await inventory.remove(["12"], in_use=in_use)
    assert folder.exists()


@pytest.mark.parametrize("name", ["..", ".", "/", "../server", "link", "file", ".hidden", "none"])
async def test_only_a_workspace_can_be_named(
    inventory: Inventory, root: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "server").mkdir()
    (root / "link").symlink_to(tmp_path / "precious")
    (root / "file").write_text("x")
    (root / ".hidden").mkdir()
    report = await inventory.remove([name], in_use=nowhere)
    assert [kept.reason for kept in report.kept] == [KeptBecause.MISSING]
    assert await inventory.list_workspaces() == ()
    left = {"precious", "server", "workspace"}
    assert left <= {path.name for path in tmp_path.iterdir()}
    assert {path.name for path in root.iterdir()} == {"link", "file", ".hidden"}


async def test_a_link_inside_is_deleted_and_what_it_leads_to_is_not(
    inventory: Inventory, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    (root / "1").mkdir()
    (root / "1" / "link").symlink_to(tmp_path / "precious")
    await inventory.remove(["1"], in_use=nowhere)
    assert not (root / "1").exists()
    assert (tmp_path / "precious" / "file").read_text() == "x"


def test_write_protected_folders_are_deleted_and_links_keep_their_rights(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    inside = tmp_path / "doomed" / "a" / "b"
    inside.mkdir(parents=True)
    (inside / "file").write_text("x")
    (inside / "link").symlink_to(outside)
    for place in (inside, inside.parent, inside.parent.parent):
        place.chmod(0o500)
    remove_tree(tmp_path / "doomed")
    assert not (tmp_path / "doomed").exists()
    assert stat.S_IMODE(outside.stat().st_mode) == 0o500


@pytest.mark.parametrize("moment", [1e17, -1e17, 99_999_999_999])
async def test_a_time_that_no_calendar_has_stops_no_clean_up(
    inventory: Inventory, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: float
) -> None:
    def scan(place: Path) -> _Found | None:
        found = _scan(place)
        # Few file systems keep such times; tmpfs does.
        if found is not None and place.name == "11":
            found.changed_at = moment
        return found

    (folder.parents[1] / "11").mkdir()
    monkeypatch.setattr("executor_core.workspace.inventory._scan", scan)
    odd, info = await inventory.list_workspaces()
    assert datetime(1970, 1, 1, tzinfo=UTC) <= odd.used_at <= datetime.now(UTC)
    report = await inventory.clean(unused_for_s=0, in_use=nowhere)
    assert info in report.removed


async def test_a_workspace_that_cannot_be_read_is_unknown_and_the_others_are_cleaned_up(
    inventory: Inventory, folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lstat(place: Path) -> os.stat_result:
        if place == root / "11":
            raise OSError(errno.EIO, "Input/output error")
        return os.lstat(place)

    (root / "11").mkdir()
    monkeypatch.setattr(Path, "lstat", lstat)
    report = await inventory.clean(unused_for_s=0, in_use=nowhere)
    assert report.kept == [Kept("11", KeptBecause.UNKNOWN)]
    assert [info.name for info in report.removed] == ["12"]


async def test_names_that_are_no_text_leave_the_list_readable(
    inventory: Inventory, folder: Path, root: Path
) -> None:
    folder.rename(os.fsdecode(os.fsencode(folder) + b"\xff"))
    os.mkdir(os.fsencode(root) + b"/\xff")
    (root / "new\nline").mkdir()
    (info,) = await inventory.list_workspaces()
    assert (info.name, info.repositories) == ("12", ("app\N{REPLACEMENT CHARACTER}",))
    assert msgspec.json.encode(info)


async def test_a_root_that_is_not_there_is_empty(host: AgentHost, tmp_path: Path) -> None:
    assert await Inventory(tmp_path / "none", host).list_workspaces() == ()


async def test_a_root_that_is_no_folder_is_named_with_the_reason(
    host: AgentHost, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExecutorError, match=r"folder_failed") as refused:
        await Inventory(tmp_path / "file", host).list_workspaces()
    assert str(tmp_path / "file") in refused.value.message.detail


async def test_a_workspace_that_goes_while_the_list_is_made_is_not_in_it(
    inventory: Inventory, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("12", "13"):
        (root / name).mkdir(parents=True)
    monkeypatch.setattr(
        "executor_core.workspace.inventory._folders", lambda _: ["11", "12", "13", "14"]
    )
    assert [info.name for info in await inventory.list_workspaces()] == ["12", "13"]
    report = await inventory.remove(["11"], in_use=nowhere)
    assert [(kept.name, kept.reason) for kept in report.kept] == [("11", KeptBecause.MISSING)]
