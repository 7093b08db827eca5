"""Which folder a task works in, and which it never gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from executor_core.errors import ExecutorError
from executor_core.model import Folder, GitClone, TaskFolder, Workspace
from executor_core.unicode import shown
from executor_core.workspace import Workspaces


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    folder = tmp_path / "trusted"
    folder.mkdir()
    return folder


@pytest.fixture
def workspaces(root: Path, trusted: Path) -> Workspaces:
    return Workspaces(root, [trusted])


async def refused(workspaces: Workspaces, workspace: Workspace) -> str:
    with pytest.raises(ExecutorError) as error:
        await workspaces.prepare(workspace)
    return error.value.code


# --- folders of tasks ----------------------------------------------------------------------------


async def test_a_task_gets_a_private_folder_of_its_own_again_and_again(
    workspaces: Workspaces, root: Path
) -> None:
    folder = await workspaces.prepare(TaskFolder(name="12"))
    assert folder == root / "12"
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "file").touch()
    assert await workspaces.prepare(TaskFolder(name="12")) == folder
    assert (folder / "file").exists()


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/etc", "~", ".hidden", "-rf", "a\0", "a\n", "é", "x" * 101],
)
async def test_names_that_lead_elsewhere_are_refused(workspaces: Workspaces, name: str) -> None:
    assert await refused(workspaces, TaskFolder(name=name)) == "folder_name_refused"


@pytest.mark.parametrize("target", ["..", "../outside", "../not-there", "13", "12"])
async def test_a_link_in_place_of_a_task_folder_is_refused(
    workspaces: Workspaces, root: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / "outside").mkdir()
    root.mkdir()
    (root / "12").symlink_to(target)
    assert await refused(workspaces, TaskFolder(name="12")) == "folder_is_link"
    assert not (tmp_path / "not-there").exists()


async def test_a_workspace_root_that_is_a_link_is_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    folder = await Workspaces(tmp_path / "link", ()).prepare(TaskFolder(name="12"))
    assert (tmp_path / "real" / "12").samefile(folder)


async def test_a_file_in_place_of_a_folder_is_said_in_words(
    workspaces: Workspaces, root: Path
) -> None:
    root.mkdir()
    (root / "12").touch()
    assert await refused(workspaces, TaskFolder(name="12")) == "folder_failed"


async def test_git_is_refused_in_words_where_there_is_none(workspaces: Workspaces) -> None:
    wanted = GitClone(task_folder="12", url="https://git.example.com/x.git")
    assert await refused(workspaces, wanted) == "git_missing"


def test_a_private_home_lies_in_the_task_folder(workspaces: Workspaces, root: Path) -> None:
    home = workspaces.private_home("12", "claude_code")
    assert home == root / "12" / ".wegent" / "claude_code"
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("make", ["link", "file"])
def test_a_private_home_is_not_led_astray(
    workspaces: Workspaces, root: Path, trusted: Path, make: str
) -> None:
    (root / "12").mkdir(parents=True)
    place = root / "12" / ".wegent"
    if make == "link":
        place.symlink_to(trusted)
    else:
        place.touch()
    with pytest.raises(ExecutorError, match=r"folder_is_link|folder_failed"):
        workspaces.private_home("12", "claude_code")
    assert list(trusted.iterdir()) == []


# --- folders of the user -------------------------------------------------------------------------


async def test_a_folder_below_a_trusted_root_is_taken(
    workspaces: Workspaces, root: Path, trusted: Path
) -> None:
    (trusted / "project").mkdir()
    assert await workspaces.prepare(Folder(path=f"{trusted}/project")) == trusted / "project"
    assert await workspaces.prepare(Folder(path=f"{trusted}/x/../project/")) == trusted / "project"
    (root / "12").mkdir(parents=True)
    assert await workspaces.prepare(Folder(path="12")) == root / "12"


async def test_a_folder_beyond_the_trusted_roots_is_refused_unless_the_owner_chose_it(
    workspaces: Workspaces, tmp_path: Path, trusted: Path
) -> None:
    beside = tmp_path / "trusted-not"
    beside.mkdir()
    (trusted / "link").symlink_to(beside)
    for path in (beside, f"{trusted}/../trusted-not", trusted / "link"):
        assert await refused(workspaces, Folder(path=str(path))) == "folder_not_trusted"
        chosen = Folder(path=str(path), is_owners_choice=True)
        assert await workspaces.prepare(chosen) == beside


async def test_home_is_the_users(
    workspaces: Workspaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "project").mkdir()
    chosen = Folder(path="~/project", is_owners_choice=True)
    assert await workspaces.prepare(chosen) == tmp_path / "project"


@pytest.mark.parametrize(
    "path", ["/a\0b", "~nobody-of-that-name/x", "missing", "\ud83d", "loop/x", "file", "long" * 99]
)
@pytest.mark.parametrize("owner", [True, False])
async def test_what_is_no_folder_is_missing_and_has_a_key_all_the_same(
    workspaces: Workspaces, root: Path, path: str, owner: bool
) -> None:
    root.mkdir()
    (root / "loop").symlink_to("loop")
    (root / "file").touch()
    wanted = Folder(path=path, is_owners_choice=owner)
    assert await refused(workspaces, wanted) == "folder_missing"
    assert workspaces.directory_key(wanted)


async def test_a_name_that_is_no_text_is_said_to_be_none(
    workspaces: Workspaces, root: Path
) -> None:
    folder = root / os.fsdecode(b"bad\xe9dir")
    folder.mkdir(parents=True)
    wanted = Folder(path=shown(str(folder)), is_owners_choice=True)
    assert await refused(workspaces, wanted) == "folder_not_text"


# --- one run per folder --------------------------------------------------------------------------


def test_the_same_real_folder_has_one_key_however_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "real" / "12").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "short").symlink_to("real/12")
    workspaces = Workspaces(tmp_path / "link", ())
    names: list[Workspace] = [
        TaskFolder(name="12"),
        GitClone(task_folder="12", url="u"),
        Folder(path="12"),
        Folder(path=f"{tmp_path}/real/12"),
        Folder(path=f"{tmp_path}/link/x/../12/"),
        Folder(path=f"{tmp_path}/short", is_owners_choice=True),
    ]
    assert {workspaces.directory_key(name) for name in names} == {f"{tmp_path}/real/12"}
    assert workspaces.directory_key(TaskFolder(name="13")) != f"{tmp_path}/real/12"
