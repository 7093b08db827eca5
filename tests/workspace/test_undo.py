"""What a run took is given back byte for byte, to whom it belongs, and can be had again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from executor_core.agents import AgentHost
from executor_core.errors import ExecutorError
from executor_core.workspace import Recorder, redo, undo
from executor_core.workspace.files import PLAIN, Files
from executor_core.workspace.snapshots import filtered
from tests.support.git_server import git
from tests.workspace.changes import FILES, Recorded, change_everything, tree_of, write

pytestmark = pytest.mark.slow

Touch = Callable[[Path], object]


async def given_back(recorded: Recorded, work: Callable[[], object]) -> None:
    """Assert that after the undo of a run that does `work` all is as before, and after the redo as
    the run left it.
    """
    host, app = recorded.recorder._host, recorded.folder
    before = tree_of(app)
    await recorded(work)
    after = tree_of(app)
    assert not recorded.changes.unrecorded
    await undo(host, recorded.run_folder)
    assert tree_of(app) == before
    await redo(host, recorded.run_folder)
    assert tree_of(app) == after
    await undo(host, recorded.run_folder)
    assert tree_of(app) == before


# --- byte for byte -------------------------------------------------------------------------------


async def test_everything_is_given_back_and_can_be_had_again(recorded: Recorded, app: Path) -> None:
    await given_back(recorded, lambda: change_everything(app))


@pytest.mark.parametrize("autocrlf", ["true", "input"])
async def test_line_ends_are_given_back_whatever_git_would_make_of_them(
    recorded: Recorded, app: Path, autocrlf: str
) -> None:
    await git(app, "config", "core.autocrlf", autocrlf)
    write(app, {"untracked.txt": b"one\ntwo\r\n"})

    def work() -> None:
        for name in ("README.md", "crlf.txt", "untracked.txt"):
            with (app / name).open("ab") as file:
                file.write(b"more\n")
        data = (app / "src/app.py").read_bytes()
        (app / "src/app.py").write_bytes(data.replace(b"\n", b"\r\n"))

    await given_back(recorded, work)


@pytest.mark.parametrize(
    "attributes", [b"* text=auto eol=crlf\n", b"*.md text eol=crlf ident\n*.txt -text\n"]
)
async def test_line_ends_that_a_checkout_made_are_given_back(
    recorded: Recorded, app: Path, attributes: bytes
) -> None:
    write(app, {".gitattributes": attributes, "README.md": b"# $Id$\none\n"})
    await git(app, "add", "-A")
    await git(app, "commit", "-q", "-m", "attributes")
    for name in ("README.md", "src/app.py", "src/gone.txt"):
        (app / name).unlink()
    await git(app, "checkout", "-q", "--", ".")
    assert b"\r\n" in (app / "README.md").read_bytes()
    await given_back(recorded, lambda: change_everything(app))


async def test_what_a_setting_of_earlier_made_is_given_back(recorded: Recorded, app: Path) -> None:
    await git(app, "config", "core.autocrlf", "true")
    for name in ("README.md", "src/app.py", "src/gone.txt"):
        (app / name).unlink()
    await git(app, "checkout", "-q", "--", ".")
    await git(app, "config", "core.autocrlf", "false")
    await given_back(recorded, lambda: change_everything(app))


async def test_what_a_filter_made_is_given_back_and_no_filter_runs(
    recorded: Recorded, app: Path, tmp_path: Path
) -> None:
    write(app, {".gitattributes": b"*.md filter=rot\n"})
    for kind in ("clean", "smudge"):
        await git(app, "config", f"filter.rot.{kind}", "tr a-z b-za")
    await git(app, "add", "--renormalize", "-A")
    await git(app, "commit", "-q", "-m", "filtered")
    await git(app, "config", "filter.rot.clean", f"touch {tmp_path}/sprung")
    await git(app, "config", "filter.rot.smudge", f"touch {tmp_path}/sprung")
    await given_back(recorded, lambda: (app / "README.md").write_bytes(b"changed\n"))
    assert not (tmp_path / "sprung").exists()


async def test_files_with_any_of_the_attributes_that_make_other_bytes_are_found(
    recorded: Recorded, app: Path
) -> None:
    attributes = b"*.a filter=x\n*.b ident\n*.c working-tree-encoding=UTF-16\n*.d text=auto\n"
    write(app, {".gitattributes": attributes, "1.a": b"1", "2.b": b"2", "4.d": b"4"})
    (app / "3.c").write_text("3", "utf-16")
    await git(app, "add", "-A")
    begun = await recorded.recorder.begin(app, recorded.run_folder)
    assert begun is not None
    assert await filtered(begun.mirror) == ["1.a", "2.b", "3.c"]
    await recorded.recorder.finish(begun)


async def test_keep_has_the_line_ends_of_the_repository(
    recorded: Recorded, app: Path, host: AgentHost
) -> None:
    from executor_core.workspace import keep

    await git(app, "config", "core.autocrlf", "true")
    await recorded(lambda: (app / "README.md").write_bytes(b"one\r\ntwo\r\n"))
    await keep(host, recorded.run_folder, "kept")
    assert await git(app, "cat-file", "-s", "kept:README.md") == str(len(b"one\ntwo\n"))


async def test_programs_links_and_odd_names_are_given_back(recorded: Recorded, app: Path) -> None:
    names = ["-n", "a\nb", 'q"uote', "tab\t", "sp ace ", os.fsdecode(b"bad\xe9"), "组/项目.txt"]
    write(app, dict.fromkeys(names, b"before\n"))
    (app / "run.sh").write_bytes(b"#!/bin/sh\n")
    (app / "run.sh").chmod(0o700)
    (app / "way").symlink_to("src")

    def work() -> None:
        for name in names:
            (app / name).unlink()
        write(app, {f"{name}.new": b"after\n" for name in names})
        (app / "run.sh").chmod(0o600)
        (app / "way").unlink()
        (app / "way").symlink_to("/etc")

    await given_back(recorded, work)
    assert (app / "run.sh").stat().st_mode & 0o777 == 0o700


async def test_where_git_does_not_tell_modes_they_stay(
    recorded: Recorded, app: Path, host: AgentHost
) -> None:
    await git(app, "config", "core.filemode", "false")
    write(app, {"old.sh": b"one\n"})
    (app / "old.sh").chmod(0o755)

    def work() -> None:
        write(app, {"old.sh": b"two\n", "new.sh": b"new\n"})
        (app / "new.sh").chmod(0o755)

    await given_back(recorded, work)
    (app / "old.sh").write_bytes(b"mine\n")
    await redo(host, recorded.run_folder)
    await undo(host, recorded.run_folder, is_forced=True)
    assert tree_of(app)["old.sh"] == (b"one\n", True)


async def test_what_a_person_had_staged_stays_staged(
    recorded: Recorded, app: Path, host: AgentHost
) -> None:
    (app / "README.md").write_text("staged\n")
    await git(app, "add", "README.md")
    (app / "README.md").write_text("staged and more\n")
    await given_back(recorded, lambda: (app / "README.md").write_text("of the run\n"))
    assert await git(app, "diff", "--cached", "--name-only") == "README.md"
    assert await git(app, "show", ":README.md") == "staged"


async def test_a_linked_worktree_is_given_back(
    recorder: Recorder, app: Path, tmp_path: Path, run_folder: Path
) -> None:
    tree = tmp_path / "tree"
    await git(app, "worktree", "add", "-q", str(tree))
    await given_back(Recorded(recorder, tree, run_folder), lambda: change_everything(tree))
    assert tree_of(app)["README.md"] == (FILES["README.md"], False)


# --- links ---------------------------------------------------------------------------------------


async def test_a_folder_that_became_a_link_is_a_folder_again(
    recorded: Recorded, app: Path, tmp_path: Path
) -> None:
    shutil.copytree(app / "src", tmp_path / "elsewhere")

    def work() -> None:
        shutil.rmtree(app / "src")
        (app / "src").symlink_to(tmp_path / "elsewhere")
        (app / "README.md").write_text("changed\n")

    elsewhere = tree_of(tmp_path / "elsewhere")
    await given_back(recorded, work)
    assert tree_of(tmp_path / "elsewhere") == elsewhere


async def test_nothing_is_written_or_deleted_through_a_link_that_came_later(
    recorded: Recorded, app: Path, host: AgentHost, tmp_path: Path
) -> None:
    def work() -> None:
        (app / "src/app.py").write_text("changed\n")
        write(app, {"src/new.txt": b"new\n"})
        (app / "README.md").write_text("changed\n")

    await recorded(work)
    (app / "src").rename(tmp_path / "elsewhere")
    (app / "src").symlink_to(tmp_path / "elsewhere")
    elsewhere = tree_of(tmp_path / "elsewhere")
    for is_forced in (False, True):
        done = await undo(host, recorded.run_folder, is_forced=is_forced)
        assert done.files == ("README.md",)
        assert done.touched == ("src/app.py",)  # where the other was, nothing is now
        assert tree_of(tmp_path / "elsewhere") == elsewhere
        await redo(host, recorded.run_folder)


def test_no_folder_is_made_through_a_link(app: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (app / "way").symlink_to(tmp_path / "outside")
    with pytest.raises(NotADirectoryError):
        Files(app).put("way/new/file", app / "README.md", PLAIN)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("name", [".gitignore", ".gitattributes"])
async def test_a_pipe_that_git_would_wait_for_costs_nothing_but_itself(
    recorded: Recorded, app: Path, name: str
) -> None:
    def work() -> None:
        (app / name).unlink(missing_ok=True)
        os.mkfifo(app / name)
        (app / "README.md").write_bytes(b"changed\n")

    await recorded(work)
    assert "README.md" in recorded.statuses
    done = await undo(recorded.recorder._host, recorded.run_folder)
    assert "README.md" in done.files
    assert (app / "README.md").read_bytes() == FILES["README.md"]


# --- whose work it is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("touch", "names"),
    [
        (lambda app: (app / "README.md").write_text("mine now\n"), ["README.md"]),
        (lambda app: (app / "empty.txt").unlink(), []),
        (lambda app: (app / "src/gone.txt").write_text("again"), ["src/gone.txt"]),
        (lambda app: (app / "src/main.py").write_text("mine"), ["src/main.py"]),
        (lambda app: (app / "run.sh").chmod(0o644), ["run.sh"]),
        (lambda app: write(app, {"src/gone.txt/mine": b""}), ["src/gone.txt"]),
    ],
)
async def test_files_that_were_touched_since_stay_and_are_named(
    recorded: Recorded, app: Path, host: AgentHost, touch: Touch, names: list[str]
) -> None:
    before = tree_of(app)
    await recorded(lambda: change_everything(app))
    touch(app)
    now = tree_of(app)
    planned = await undo(host, recorded.run_folder, is_trial=True)
    assert tree_of(app) == now
    done = await undo(host, recorded.run_folder)
    assert done == planned
    assert list(done.touched) == names
    left = tree_of(app)
    for name in names:
        assert {k: v for k, v in left.items() if k.startswith(name)} == {
            k: v for k, v in now.items() if k.startswith(name)
        }
    mine = {name for name in {*left, *before} if left.get(name) != before.get(name)}
    assert all(name.startswith(tuple(names)) for name in mine) if names else not mine
    await redo(host, recorded.run_folder)
    assert tree_of(app) == now


async def test_by_force_what_was_touched_is_put_back_and_can_be_had_again(
    recorded: Recorded, app: Path, host: AgentHost
) -> None:
    before = tree_of(app)
    await recorded(lambda: change_everything(app))
    (app / "README.md").write_text("an hour of work\n")
    (app / "link").unlink()
    (app / "link").symlink_to("/etc/passwd")
    now = tree_of(app)
    await undo(host, recorded.run_folder, is_forced=True)
    assert tree_of(app) == before
    await redo(host, recorded.run_folder)
    assert tree_of(app) == now


async def test_where_nothing_else_is_left_undo_refuses(
    recorded: Recorded, app: Path, host: AgentHost
) -> None:
    await recorded(lambda: (app / "README.md").write_text("changed\n"))
    (app / "README.md").write_text("mine\n")
    with pytest.raises(ExecutorError) as caught:
        await undo(host, recorded.run_folder)
    assert caught.value.code == "changes_touched"
    assert (app / "README.md").read_text() == "mine\n"
    with pytest.raises(ExecutorError) as caught:
        await redo(host, recorded.run_folder)
    assert caught.value.code == "changes_not_undone"


async def test_runs_at_the_same_time_have_each_what_is_nearest(
    recorder: Recorder, app: Path, run_folder: Path, tmp_path: Path, host: AgentHost
) -> None:
    other_folder = tmp_path / "runs" / "run_2"
    other_folder.mkdir()
    before = tree_of(app)
    outer = await recorder.begin(app, run_folder)
    inner = await recorder.begin(app / "src", other_folder)
    assert outer is not None
    assert inner is not None
    write(app, {"top.txt": b"outer\n", "src/app.py": b"inner\n", "src/new.txt": b"inner\n"})
    await recorder.finish(inner)
    await recorder.finish(outer)

    done = await undo(host, run_folder)
    assert done.files == ("top.txt",)
    assert {one.path: one.reason.value for one in done.left_out} == {
        "src/app.py": "other_run",
        "src/new.txt": "other_run",
    }
    assert (app / "src/new.txt").exists()
    assert (await undo(host, other_folder)).files == ("src/app.py", "src/new.txt")
    assert tree_of(app) == before
