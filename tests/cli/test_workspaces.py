"""The verbs about folders: what tasks left, and what runs changed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from executor_core.config.home import Home, InstanceLock
from executor_core.jobs import Jobs
from tests.cli.conftest import ZH, Cli
from tests.support.executor_process import ExecutorProcess
from tests.support.git_server import GIT
from tests.support.stub_claude import StubClaude, gate, say, turn, write

pytestmark = pytest.mark.slow

MONTHS_AGO = 1_700_000_000


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*GIT, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("one\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def grow_old(folder: Path) -> None:
    for place in (folder, *folder.rglob("*")):
        os.utime(place, (MONTHS_AGO, MONTHS_AGO), follow_symlinks=False)


@pytest.fixture
def root(home: Path, tmp_path: Path) -> Path:
    """Three workspaces: 1 an old pushed clone, 2 an old one with work in it, 3 a new empty one."""
    folder = home / "workspace"
    origin = repository(tmp_path / "origin")
    for name in ("1", "2"):
        (folder / name).mkdir(parents=True)
        git(folder / name, "clone", "-q", str(origin), "app")
    (folder / "2" / "app" / "mine.txt").write_text("nowhere else")
    (folder / "3").mkdir()
    grow_old(folder / "1")
    grow_old(folder / "2")
    return folder


def names_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


# --- workspaces ----------------------------------------------------------------------------------


def test_workspaces_are_listed_with_size_age_and_state(command: Cli, root: Path) -> None:
    result = command("workspaces")
    assert result.exit_code == 0
    first, second, third = (line.strip() for line in result.stdout.splitlines()[1:4])
    assert first.startswith("1 ")
    assert "kB" in first
    assert " d " in first
    assert "all pushed" in first
    assert first.endswith("app")
    assert "changes that are not committed" in second
    assert "empty" in third
    assert "Workspaces: 3," in result.stdout
    assert "有未提交的更改" in command("workspaces", env=ZH).stdout


def test_workspaces_as_json_name_size_state_and_use(command: Cli, root: Path) -> None:
    found = json.loads(command("workspaces", "--json").stdout)
    assert [(one["name"], one["state"], one["repositories"]) for one in found] == [
        ("1", "clean", ["app"]),
        ("2", "uncommitted", ["app"]),
        ("3", "empty", []),
    ]
    assert found[0]["size_bytes"] > 1000
    assert found[0]["used_at"].startswith("2023-11-14")
    assert not any(one["is_in_use"] for one in found)
    assert found[0]["path"] == str(root / "1")


def test_without_a_workspace_that_is_said(command: Cli) -> None:
    result = command("workspaces")
    assert result.exit_code == 0
    assert "No task has left a workspace" in result.stdout
    assert command("workspaces", "--json").stdout.strip() == "[]"


def test_trust_is_given_shown_and_taken_back(command: Cli, home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "inner").mkdir(parents=True)
    assert command("workspaces", "trust", str(mine)).exit_code == 0
    assert str(mine) in command("workspaces").stdout
    assert str(mine) in (home / "config.toml").read_text()
    above = command("workspaces", "untrust", str(mine / "inner"))
    assert (above.exit_code, str(mine) in above.stderr) == (1, True)
    assert command("workspaces", "untrust", str(mine)).exit_code == 0
    assert str(mine) not in command("workspaces").stdout
    assert command("workspaces", "untrust", str(mine)).exit_code == 1
    assert command("workspaces", "trust", str(tmp_path / "missing")).exit_code == 1


def test_clean_deletes_only_what_is_old_and_can_be_had_again(command: Cli, root: Path) -> None:
    result = command("workspaces", "clean")
    assert result.exit_code == 0
    assert names_in(root) == ["2", "3"]
    assert "1 deleted" in result.stdout
    assert "2 stays: it has changes that are not committed" in result.stdout
    assert "3 stays: it was used lately" in result.stdout


def test_clean_takes_another_age(command: Cli, root: Path) -> None:
    assert command("workspaces", "clean", "--older-than", "9999d").exit_code == 0
    assert names_in(root) == ["1", "2", "3"]
    grow_old(root / "3")
    assert command("workspaces", "clean", "--older-than", "1d").exit_code == 0
    assert names_in(root) == ["2"]


def test_clean_is_as_the_option_says(command: Cli, home: Path, root: Path) -> None:
    (home / "config.toml").write_text("[workspace]\nkeep_days = 3650\n")
    assert command("workspaces", "clean").exit_code == 0
    assert "1" in names_in(root)


def test_a_dry_run_says_the_same_and_deletes_nothing(command: Cli, root: Path) -> None:
    result = command("workspaces", "clean", "--dry-run")
    assert result.exit_code == 0
    assert "1 would be deleted" in result.stdout
    assert "2 stays" in result.stdout
    assert command("workspaces", "clean", "2", "--dry-run").exit_code == 0
    assert names_in(root) == ["1", "2", "3"]


def test_named_ones_go_whatever_is_in_them_after_a_question_that_says_so(
    command: Cli, root: Path
) -> None:
    refused = command("workspaces", "clean", "2", stdin="n\n")
    assert refused.exit_code == 1
    assert "changes that are not committed" in refused.stdout
    assert "Nothing was deleted" in refused.stdout
    assert command("workspaces", "clean", "2", stdin="").exit_code == 130
    assert names_in(root) == ["1", "2", "3"]
    assert command("workspaces", "clean", "2", stdin="y\n").exit_code == 0
    assert command("workspaces", "clean", "3", "--yes").exit_code == 0
    assert names_in(root) == ["1"]


def test_a_name_that_is_none_is_said_and_is_code_1(command: Cli, root: Path) -> None:
    for name in ("99", "..", "../workspace", "1/app"):
        result = command("workspaces", "clean", "--yes", name)
        assert result.exit_code == 1
        assert "there is no workspace of that name" in result.stdout
    assert names_in(root) == ["1", "2", "3"]


def test_names_and_an_age_do_not_go_together(command: Cli, root: Path) -> None:
    result = command("workspaces", "clean", "1", "--older-than", "1d")
    assert result.exit_code == 1
    assert "--older-than" in result.stderr
    assert "1" in names_in(root)


def test_an_executor_that_cannot_be_asked_keeps_everything(
    command: Cli, home: Path, root: Path
) -> None:
    with InstanceLock.acquire(Home(home)):
        for arguments in (("--older-than", "1d"), ("2", "--yes")):
            result = command("workspaces", "clean", *arguments)
            assert result.exit_code == 1
            assert f"process {os.getpid()}" in result.stderr
    assert names_in(root) == ["1", "2", "3"]


async def test_where_a_run_works_nothing_is_deleted_or_undone(
    running: ExecutorProcess, agent: StubClaude, tmp_path: Path
) -> None:
    app = repository(running.home / "workspace" / "app")
    edit = turn(write("a.txt", "two\n"), say("Done."))
    assert (await running.command("exec", "--cwd", str(app), edit)).code == 0
    run_id = (await running.runs())[0].run.run_id
    submission = ("exec", "--cwd", str(app), turn(gate("works"), say("Done.")))
    jobs = Jobs("test")
    other = jobs.spawn(running.command(*submission), "exec")
    await agent.reached("works")

    listed = await running.json("workspaces")
    cleaned = await running.command("workspaces", "clean", "app", "--yes")
    undone = await running.command("runs", "undo", run_id)
    kept = await running.command("runs", "keep", run_id, "--branch", "kept")

    agent.open("works")
    assert (await other).code == 0
    await jobs.close()
    assert [one["is_in_use"] for one in listed if one["name"] == "app"] == [True]
    assert cleaned.code == 1
    assert "a run works there" in cleaned.out
    for refused in (undone, kept):
        assert refused.code == 1
        assert "A run works" in refused.err
    assert (app / "a.txt").read_text() == "two\n"
    assert (await running.command("workspaces", "clean", "app", "--yes")).code == 0
    assert not await asyncio.to_thread(app.exists)


# --- undo and keep -------------------------------------------------------------------------------


@pytest.fixture
def changed(live: Cli, tmp_path: Path) -> tuple[Path, str]:
    """A repository that a run has changed, and the run."""
    app = repository(tmp_path / "app")
    steps = turn(write("a.txt", "two\n"), write("new.txt", "new\n"), say("Done."))
    assert live("exec", "--cwd", str(app), steps).exit_code == 0
    [run] = json.loads(live("runs", "--json", "--limit", "1").stdout)[:1]
    return app, run["run_id"]


def test_show_names_the_patch(live: Cli, changed: tuple[Path, str]) -> None:
    _, run_id = changed
    assert "changes.patch" in live("runs", "show", run_id).stdout


def test_show_has_the_changes_as_json(live: Cli, changed: tuple[Path, str]) -> None:
    shown = json.loads(live("runs", "show", changed[1], "--json").stdout)
    assert [file["path"] for file in shown["changes"]["files"]] == ["a.txt", "new.txt"]
    assert shown["run"]["run_id"] == changed[1]


def test_no_way_back_is_offered_where_nothing_was_to_undo(
    live: Cli, changed: tuple[Path, str]
) -> None:
    app, run_id = changed
    (app / "a.txt").write_text("one\n")
    (app / "new.txt").unlink()
    result = live("runs", "undo", run_id)
    assert result.exit_code == 0
    assert "redo" not in result.stdout


def test_undo_puts_the_files_back_and_names_them(live: Cli, changed: tuple[Path, str]) -> None:
    app, run_id = changed
    result = live("runs", "undo", run_id)
    assert result.exit_code == 0
    assert "files: 2" in result.stdout
    assert "a.txt" in result.stdout
    assert (app / "a.txt").read_text() == "one\n"
    assert not (app / "new.txt").exists()
    assert git(app, "status", "--porcelain") == ""
    again = live("runs", "undo", run_id)
    assert again.exit_code == 1
    assert "taken back before" in again.stderr


def test_undo_can_be_shown_first_and_taken_back(live: Cli, changed: tuple[Path, str]) -> None:
    app, run_id = changed
    shown = live("runs", "undo", run_id, "--dry-run")
    assert shown.exit_code == 0
    assert "To be put back" in shown.stdout
    assert (app / "a.txt").read_text() == "two\n"
    assert live("runs", "undo", run_id, "--yes").exit_code == 0
    assert "taken back" in live("runs", "show", run_id).stdout
    assert live("runs", "redo", run_id).exit_code == 0
    assert (app / "a.txt").read_text() == "two\n"
    assert (app / "new.txt").exists()


def test_undo_leaves_the_file_that_was_touched_since_and_names_it(
    live: Cli, changed: tuple[Path, str]
) -> None:
    app, run_id = changed
    (app / "a.txt").write_text("three\n")
    result = live("runs", "undo", run_id)
    assert result.exit_code == 0
    assert "--force" in result.stdout
    assert "As before" not in result.stdout
    assert (app / "a.txt").read_text() == "three\n"
    assert not (app / "new.txt").exists()
    assert live("runs", "redo", run_id).exit_code == 0
    assert live("runs", "undo", run_id, "--force").exit_code == 0
    assert (app / "a.txt").read_text() == "one\n"
    assert live("runs", "redo", run_id).exit_code == 0
    assert (app / "a.txt").read_text() == "three\n"


def test_keep_makes_the_branch_and_leaves_the_files(live: Cli, changed: tuple[Path, str]) -> None:
    app, run_id = changed
    result = live("runs", "keep", run_id, "--branch", "agent/work")
    assert result.exit_code == 0
    assert "agent/work" in result.stdout
    assert git(app, "show", "agent/work:a.txt") == "two"
    assert git(app, "branch", "--show-current") == "main"
    assert (app / "a.txt").read_text() == "two\n"
    taken = live("runs", "keep", run_id, "--branch", "agent/work")
    assert taken.exit_code == 1
    assert "agent/work" in taken.stderr


def test_a_run_of_which_only_the_patch_is_left_is_said_to_be_too_old(
    live: Cli, running: ExecutorProcess, changed: tuple[Path, str]
) -> None:
    app, run_id = changed
    shutil.rmtree(running.home / "runs" / run_id / "snapshot")
    for verb in (("undo",), ("keep", "--branch", "b")):
        result = live("runs", *verb, run_id)
        assert result.exit_code == 1
        assert "too old" in result.stderr
        assert "git apply -R" in result.stderr
    assert (app / "a.txt").read_text() == "two\n"


@pytest.mark.parametrize("run_id", ["run_0", "../../journal.db", "", "-x/.."])
def test_a_run_that_left_nothing_is_said(command: Cli, run_id: str) -> None:
    for verb in (("undo",), ("keep", "--branch", "b")):
        result = command("runs", *verb, "--", run_id)
        assert result.exit_code == 1
        assert result.stderr


def test_they_work_without_an_executor(
    live: Cli, running: ExecutorProcess, changed: tuple[Path, str], command: Cli, home: Path
) -> None:
    app, run_id = changed
    shutil.copytree(running.home / "runs" / run_id, home / "runs" / run_id)
    assert command("runs", "keep", run_id, "--branch", "kept").exit_code == 0
    assert command("runs", "undo", run_id).exit_code == 0
    assert (app / "a.txt").read_text() == "one\n"
    assert git(app, "show", "kept:a.txt") == "two"
