"""What a run changed: recorded without a trace in the repository, taken back, made a commit."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from executor_core.agents import AgentHost
from executor_core.errors import ExecutorError
from executor_core.model import Notice
from executor_core.workspace import (
    FileStatus,
    Recorder,
    RunChanges,
    changes,
    keep,
    read_changes,
    snapshots,
    undo,
)
from tests.support.git_server import git
from tests.workspace.changes import (
    FILES,
    SECRET,
    Recorded,
    change_everything,
    inside,
    tree_of,
    write,
)

pytestmark = pytest.mark.slow

# --- the record ----------------------------------------------------------------------------------


async def test_the_patch_makes_of_a_fresh_checkout_what_the_run_made(
    recorded: Recorded, app: Path, tmp_path: Path
) -> None:
    shutil.copytree(app, tmp_path / "fresh", symlinks=True)
    (artifact,) = await recorded(lambda: change_everything(app))
    assert artifact.name == "changes.patch"
    assert artifact.size_bytes == Path(artifact.path).stat().st_size > 0
    await git(tmp_path / "fresh", "apply", "--check", artifact.path)
    await git(tmp_path / "fresh", "apply", artifact.path)
    assert tree_of(tmp_path / "fresh") == tree_of(app)


async def test_every_kind_of_change_is_listed(recorded: Recorded, app: Path) -> None:
    await recorded(lambda: change_everything(app))
    assert recorded.statuses == {
        "README.md": FileStatus.MODIFIED,
        "crlf.txt": FileStatus.MODIFIED,
        "tail.txt": FileStatus.MODIFIED,
        "logo.bin": FileStatus.MODIFIED,
        'new/ä é \t"q".txt': FileStatus.ADDED,
        "empty.txt": FileStatus.ADDED,
        "link": FileStatus.ADDED,
        "run.sh": FileStatus.ADDED,
        "src/gone.txt": FileStatus.DELETED,
        "src/main.py": FileStatus.RENAMED,
    }
    by_path = {file.path: file for file in recorded.changes.files}
    readme, logo, moved = by_path["README.md"], by_path["logo.bin"], by_path["src/main.py"]
    assert (readme.additions, readme.deletions, readme.is_binary) == (1, 1, False)
    assert (logo.additions, logo.deletions, logo.is_binary) == (0, 0, True)
    assert moved.old_path == "src/app.py"
    assert "+TWO\n" in recorded.changes.patch
    assert recorded.changes.folder == str(app)
    assert not recorded.changes.is_cut


async def test_the_repository_has_no_trace_of_a_record(recorded: Recorded, app: Path) -> None:
    (app / "mine.txt").write_text("not committed")
    before = inside(app / ".git")
    await recorded(lambda: change_everything(app))
    assert inside(app / ".git") == before


async def test_our_copy_of_the_index_is_as_old_as_the_index(
    recorder: Recorder, app: Path, run_folder: Path
) -> None:
    # A younger one would make git trust files that changed in the moment they were added.
    await recorder.begin(app, run_folder)
    indexes = [app / ".git" / "index", run_folder / "snapshot" / "index"]
    ages = [place.stat().st_mtime_ns for place in indexes]
    assert ages[0] == ages[1]


async def test_what_was_there_before_is_not_part_of_the_patch(
    recorded: Recorded, app: Path
) -> None:
    (app / "mine.txt").write_text("mine")
    (app / "README.md").write_text("# Hello\n\nmy own line\n")
    await git(app, "add", "README.md")
    await recorded(lambda: (app / "new.txt").write_text("new"))
    assert recorded.statuses == {"new.txt": FileStatus.ADDED}
    assert "my own line" not in recorded.changes.patch


async def test_what_the_agent_staged_or_committed_is_part_of_the_patch(
    recorded: Recorded, app: Path
) -> None:
    async def work() -> None:
        (app / "committed.txt").write_text("c")
        await git(app, "add", "-A")
        await git(app, "commit", "-q", "-m", "by the agent")
        (app / "staged.txt").write_text("s")
        await git(app, "add", "-A")

    await recorded(work)
    assert set(recorded.statuses) == {"committed.txt", "staged.txt"}


async def test_a_run_that_changes_nothing_leaves_nothing(
    recorded: Recorded, run_folder: Path
) -> None:
    assert await recorded(lambda: None) == ()
    assert recorded.changes == RunChanges()
    assert list(run_folder.iterdir()) == []


async def test_a_run_in_a_subfolder_sees_the_whole_repository(
    recorder: Recorder, app: Path, run_folder: Path
) -> None:
    recorded = Recorded(recorder, app / "src", run_folder)
    await recorded(lambda: (app / "top.txt").write_text("t"))
    assert set(recorded.statuses) == {"top.txt"}


async def test_without_a_repository_nothing_is_recorded(
    recorder: Recorder, home: Path, tmp_path: Path, run_folder: Path
) -> None:
    (tmp_path / "plain").mkdir()
    assert await recorder.begin(tmp_path / "plain", run_folder) is None
    await git(home, "init", "-q")
    (home / "stuff").mkdir()
    # A home folder that is a repository is not the project of everything in it.
    assert await recorder.begin(home / "stuff", run_folder) is None
    assert await recorder.begin(home, run_folder) is None
    assert list(run_folder.iterdir()) == []


async def test_a_repository_without_a_commit_is_recorded(
    recorder: Recorder, tmp_path: Path, run_folder: Path
) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    await git(folder, "init", "-q")
    recorded = Recorded(recorder, folder, run_folder)
    await recorded(lambda: (folder / "a.txt").write_text("a"))
    assert recorded.statuses == {"a.txt": FileStatus.ADDED}


async def test_a_linked_worktree_is_recorded(
    recorder: Recorder, app: Path, tmp_path: Path, run_folder: Path
) -> None:
    tree = tmp_path / "tree"
    await git(app, "worktree", "add", "-q", str(tree))
    recorded = Recorded(recorder, tree, run_folder)
    await recorded(lambda: (tree / "README.md").write_text("x"))
    assert recorded.statuses == {"README.md": FileStatus.MODIFIED}
    assert (app / "README.md").read_bytes() == FILES["README.md"]


async def test_a_file_in_place_of_a_folder_and_the_other_way_are_recorded(
    recorded: Recorded, app: Path
) -> None:
    before = tree_of(app)

    def swap() -> None:
        shutil.rmtree(app / "src")
        (app / "src").write_text("a file now")
        (app / "README.md").unlink()
        write(app, {"README.md/inside.txt": b"x"})

    await recorded(swap)
    assert recorded.statuses["src"] == FileStatus.ADDED
    assert recorded.statuses["README.md/inside.txt"] == FileStatus.ADDED
    assert recorded.statuses["README.md"] == FileStatus.DELETED
    await undo(recorded.recorder._host, recorded.run_folder)
    assert tree_of(app) == before


async def test_a_repository_inside_is_left_alone(recorded: Recorded, app: Path) -> None:
    async def work() -> None:
        (app / "inner").mkdir()
        await git(app / "inner", "init", "-q")
        (app / "inner" / "a.txt").write_text("a")
        (app / "outer.txt").write_text("o")

    await recorded(work)
    assert set(recorded.statuses) == {"outer.txt"}


# --- what stays out ------------------------------------------------------------------------------


async def test_ignored_files_stay_out_also_when_the_agent_stops_ignoring_them(
    recorded: Recorded, app: Path
) -> None:
    write(app, {".env": b"PASSWORD=hunter2\n", "build/out.bin": b"x", "lib/a.o": b"o"})

    def work() -> None:
        (app / ".gitignore").unlink()
        write(app, {"lib/new.c": b"int x;\n"})

    await recorded(work)
    assert recorded.statuses == {
        ".gitignore": FileStatus.DELETED,
        "lib/new.c": FileStatus.ADDED,
    }
    assert "hunter2" not in recorded.changes.patch
    await undo(recorded.recorder._host, recorded.run_folder)
    assert (app / ".env").read_bytes() == b"PASSWORD=hunter2\n"


async def test_a_file_with_a_known_secret_is_left_out_by_name(
    recorded: Recorded, app: Path, run_folder: Path
) -> None:
    def work() -> None:
        write(app, {"dump.txt": f"TOKEN={SECRET}\n".encode(), "ok.txt": b"ok\n"})
        (app / "README.md").write_text(f"# {SECRET}\n")

    await recorded(work)
    assert set(recorded.statuses) == {"ok.txt"}
    assert {(one.path, one.reason.value) for one in recorded.changes.left_out} == {
        ("dump.txt", "secret"),
        ("README.md", "secret"),
    }
    objects = [path for path in (run_folder / "snapshot").rglob("*") if path.is_file()]
    names = " ".join(path.parent.name + path.name for path in objects)
    secret_object = await git(app, "hash-object", "dump.txt")
    assert secret_object not in names
    assert SECRET not in recorded.changes.patch


async def test_big_files_are_left_out_by_name(
    recorded: Recorded, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(snapshots, "MAX_BYTES", 1500)
    (app / "old-and-big").write_bytes(bytes(2000))

    def work() -> None:
        (app / "old-and-big").write_bytes(b"small now")
        write(app, {"big": bytes(1001), "fits-1": bytes(1000), "fits-2": bytes(501)})

    await recorded(work)
    assert set(recorded.statuses) == {"fits-1"}
    assert {(one.path, one.reason.value) for one in recorded.changes.left_out} == {
        ("old-and-big", "too_big"),
        ("big", "too_big"),
        ("fits-2", "too_much"),
    }


async def test_of_too_many_files_the_fullest_new_folders_are_left_out_by_name(
    recorded: Recorded, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_FILES", 3)

    def work() -> None:
        write(app, {f"node_modules/{number}/a.js": b"" for number in range(9)})
        write(app, {"new/1.txt": b"1", "new/2.txt": b"2", "README.md": b"changed"})

    await recorded(work)
    assert set(recorded.statuses) == {"new/1.txt", "new/2.txt", "README.md"}
    assert recorded.left_out == {"node_modules/": "too_many"}
    assert [notice.code for notice in recorded.told] == ["changes_left_out"]
    assert "node_modules/ (too many new files)" in recorded.told[0].text


async def test_of_too_many_files_in_one_old_folder_the_last_are_left_out_by_name(
    recorded: Recorded, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_FILES", 3)

    def work() -> None:
        write(app, {f"src/{number}.txt": b"" for number in range(4)} | {"README.md": b"changed"})

    await recorded(work)
    assert set(recorded.statuses) == {"README.md", "src/0.txt", "src/1.txt"}
    assert recorded.left_out == {"src/2.txt": "too_many", "src/3.txt": "too_many"}


async def test_what_is_more_than_anybody_looks_at_is_left_out_in_whole_folders(
    recorded: Recorded, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_FILES", 3)
    monkeypatch.setattr(snapshots, "MAX_SEEN", 6)
    write(app, {f"a/{number}": b"" for number in range(9)} | {"z.txt": b""})

    def work() -> None:
        write(app, {"a/new": b"", "README.md": b"changed"})

    await recorded(work)
    assert set(recorded.statuses) == {"README.md"}


async def test_a_patch_over_the_bound_is_not_kept_but_its_files_are_listed(
    recorded: Recorded, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MAX_PATCH_BYTES", 100)
    assert await recorded(lambda: change_everything(app)) == ()
    assert len(recorded.changes.files) == 10
    assert recorded.changes.patch == ""
    assert recorded.changes.is_cut


async def test_a_long_patch_is_shown_up_to_a_whole_line(
    recorded: Recorded, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "SHOWN_BYTES", 300)
    await recorded(lambda: change_everything(app))
    assert recorded.changes.is_cut
    assert 0 < len(recorded.changes.patch) <= 300
    assert recorded.changes.patch.endswith("\n")


async def test_nothing_that_a_hostile_repository_names_is_run(
    recorded: Recorded, app: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    for name in (
        "core.fsmonitor", "core.pager", "core.sshCommand", "diff.external", "diff.x.command",
        "diff.x.textconv", "filter.x.clean", "filter.x.smudge", "filter.x.process",
        "gpg.program", "credential.helper", "core.editor", "core.askPass",
    ):  # fmt: skip
        await git(app, "config", name, str(trap))
    await git(app, "config", "core.hooksPath", str(tmp_path / "hooks"))
    await git(app, "config", "core.worktree", "/")
    await git(app, "config", "commit.gpgSign", "true")
    (tmp_path / "hooks").mkdir()
    for hook in ("reference-transaction", "post-index-change", "post-checkout"):
        shutil.copy(trap, tmp_path / "hooks" / hook)
        shutil.copy(trap, app / ".git" / "hooks" / hook)
    write(app, {".gitattributes": b"* filter=x diff=x\n"})

    await recorded(lambda: (app / "README.md").write_text("changed\n"))
    await keep(recorded.recorder._host, recorded.run_folder, "kept")
    await undo(recorded.recorder._host, recorded.run_folder)

    assert recorded.statuses == {"README.md": FileStatus.MODIFIED}
    assert (app / "README.md").read_bytes() == FILES["README.md"]
    assert not (tmp_path / "sprung").exists()


async def test_a_broken_repository_costs_the_record_and_a_notice(
    recorder: Recorder,
    app: Path,
    host: AgentHost,
    run_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (app / ".git" / "index").write_bytes(b"nonsense")
    told: list[Notice] = []
    begun = await recorder.begin(app, run_folder, told.append)
    assert begun is not None
    assert await recorder.finish(begun) == ()
    assert [notice.code for notice in told] == ["changes_unrecorded"]
    assert read_changes(run_folder).unrecorded in told[0].text
    assert "not recorded" in caplog.text
    for work in (undo(host, run_folder), keep(host, run_folder, "b")):
        with pytest.raises(ExecutorError) as caught:
            await work
        assert caught.value.code == "changes_unrecorded"


async def test_a_repository_that_disappears_costs_the_record_and_nothing_else(
    recorded: Recorded, app: Path, run_folder: Path
) -> None:
    assert await recorded(lambda: shutil.rmtree(app)) == ()
    assert [path.name for path in run_folder.iterdir()] == ["changes.unrecorded"]


@pytest.mark.parametrize("look", ["first_snapshot", "next_snapshot"])
async def test_a_record_that_is_cut_off_leaves_the_reason_alone(
    recorded: Recorded, run_folder: Path, monkeypatch: pytest.MonkeyPatch, look: str
) -> None:
    snapshot, looked = getattr(changes, look), asyncio.Event()

    async def endless(*arguments: object) -> object:
        await snapshot(*arguments)
        looked.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(changes, look, endless)
    recording = asyncio.Task(recorded(lambda: None))
    await looked.wait()
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    assert [path.name for path in run_folder.iterdir()] == ["changes.unrecorded"]
    assert "ended before" in recorded.changes.unrecorded


async def test_the_users_line_endings_and_ignored_files_count(
    recorded: Recorded, app: Path, home: Path
) -> None:
    (home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n\texcludesFile = ~/mine\n")
    (home / "mine").write_text("*.secret\n")

    def work() -> None:
        write(app, {"README.md": FILES["README.md"].replace(b"\n", b"\r\n"), "a.secret": b"x"})

    # To git a file whose line ends alone are different is the same file.
    assert await recorded(work) == ()


# --- undo ----------------------------------------------------------------------------------------


async def test_undo_puts_everything_back_and_leaves_the_rest(
    recorded: Recorded, app: Path, host: AgentHost
) -> None:
    (app / "mine.txt").write_text("mine")
    before = tree_of(app)
    await recorded(lambda: change_everything(app))
    (app / "later.txt").write_text("made by a person since")

    changes = await undo(host, recorded.run_folder)

    assert recorded.changes.is_undone
    assert len(changes.files) == 11  # the old and the new name of one
    (app / "later.txt").unlink()
    assert tree_of(app) == before


async def test_undo_works_once(recorded: Recorded, app: Path, host: AgentHost) -> None:
    await recorded(lambda: change_everything(app))
    await undo(host, recorded.run_folder)
    with pytest.raises(ExecutorError) as caught:
        await undo(host, recorded.run_folder)
    assert caught.value.code == "changes_undone"


async def test_undo_and_keep_say_what_is_missing(
    recorded: Recorded, app: Path, host: AgentHost, tmp_path: Path
) -> None:
    for work in (undo(host, tmp_path / "nothing"), keep(host, tmp_path / "nothing", "b")):
        with pytest.raises(ExecutorError) as caught:
            await work
        assert caught.value.code == "no_changes"
    await recorded(lambda: change_everything(app))
    shutil.rmtree(app)
    for work in (undo(host, recorded.run_folder), keep(host, recorded.run_folder, "b")):
        with pytest.raises(ExecutorError) as caught:
            await work
        assert caught.value.code == "changes_folder_gone"
        assert str(app) in caught.value.message.sentence


# --- keep ----------------------------------------------------------------------------------------


async def test_keep_makes_a_branch_and_touches_nothing_else(
    recorded: Recorded, app: Path, host: AgentHost, tmp_path: Path
) -> None:
    first = await git(app, "rev-parse", "HEAD")
    await recorded(lambda: change_everything(app))
    files, index = tree_of(app), (app / ".git" / "index").read_bytes()

    commit = await keep(host, recorded.run_folder, "runs/one")

    assert tree_of(app) == files
    assert (app / ".git" / "index").read_bytes() == index
    assert await git(app, "branch", "--show-current") == "main"
    assert await git(app, "rev-parse", "runs/one") == commit
    assert await git(app, "rev-parse", "runs/one^") == first
    await git(app, "fsck", "--strict")
    shutil.rmtree(recorded.run_folder)
    await git(app, "worktree", "add", "-q", str(tmp_path / "kept"), "runs/one")
    assert {n: v for n, v in tree_of(tmp_path / "kept").items() if n != ".git"} == files


async def test_keep_refuses_a_branch_that_is_there_and_one_that_cannot_be(
    recorded: Recorded, app: Path, host: AgentHost
) -> None:
    await recorded(lambda: change_everything(app))
    first = await git(app, "rev-parse", "main")
    for name, code in (
        ("main", "branch_exists"),
        ("main/below", "keep_failed"),
        ("-f", "branch_name_refused"),
        ("a..b", "branch_name_refused"),
    ):
        with pytest.raises(ExecutorError) as caught:
            await keep(host, recorded.run_folder, name)
        assert caught.value.code == code
    assert await git(app, "rev-parse", "main") == first


async def test_what_was_undone_can_still_be_kept(
    recorded: Recorded, app: Path, host: AgentHost
) -> None:
    await recorded(lambda: change_everything(app))
    await undo(host, recorded.run_folder)
    await keep(host, recorded.run_folder, "after-all")
    assert await git(app, "show", "after-all:README.md") == "# Hello\n\none\nTWO\nthree"


def test_changes_are_json(run_folder: Path) -> None:
    (run_folder / "changes.json").write_bytes(b"{torn")
    assert msgspec.json.encode(read_changes(run_folder)) == msgspec.json.encode(RunChanges())
