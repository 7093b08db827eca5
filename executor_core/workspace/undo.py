"""Takes back what a run changed, or makes a commit of it, from the record of the run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from executor_core.errors import ExecutorError
from executor_core.workspace.git import GitHost
from executor_core.workspace.git_address import MAX_NAME, can_be_branch
from executor_core.workspace.patches import (
    STORE,
    ChangedFile,
    Record,
    RunChanges,
    read_changes,
    read_record,
    write_record,
)
from executor_core.workspace.repository import Deadline, Mirror, unquoted
from executor_core.workspace.repository_state import NotUnderstood
from executor_core.workspace.snapshots import MAX_FILES

LIMIT_S = 120.0
_SHOWN = 5
_NOBODY = {"user.name": "Wegent Executor", "user.email": "executor@localhost"}


async def undo(host: GitHost, run_folder: Path) -> RunChanges:
    """Put every file back that the run changed; commits stay as they are.

    Raises ExecutorError `no_changes`, `changes_undone`, `changes_folder_gone`, `changes_touched`
    where one of the files is not as the run left it, or `undo_failed`. No file is then changed.
    """
    record, mirror = await _found(host, run_folder)
    if record.is_undone:
        raise ExecutorError("changes_undone", run_id=run_folder.name)
    until = Deadline(host.clock, LIMIT_S)
    index = f"undo-{secrets.token_hex(8)}"
    try:
        await asyncio.to_thread(shutil.copy2, mirror.store / "index", mirror.store / index)
        if touched := await _touched(mirror, record.files, index, until):
            names = ", ".join(touched[:_SHOWN]) + (" …" if len(touched) > _SHOWN else "")
            raise ExecutorError("changes_touched", files=names)
        # Between two trees git changes only files that are as the first of them says.
        answer = await mirror.run(
            "read-tree", "-m", "-u", record.after, record.before, limit_s=until.left_s, index=index
        )
        if answer.exit_code != 0:
            raise NotUnderstood(answer.stderr)
        await asyncio.to_thread(write_record, run_folder, replace(record, is_undone=True))
    except (NotUnderstood, OSError) as error:
        raise ExecutorError("undo_failed", reason=_last_line(error)) from error
    finally:
        (mirror.store / index).unlink(missing_ok=True)
    return await asyncio.to_thread(read_changes, run_folder)


async def keep(host: GitHost, run_folder: Path, branch: str) -> str:
    """Make `branch` with one commit: all as the run left it, on what was checked out before it.

    Files, the branch that is checked out and what is staged stay as they are. Returns the commit.
    Raises ExecutorError `no_changes`, `changes_folder_gone`, `branch_name_refused`, `branch_exists`
    or `keep_failed`.
    """
    if not can_be_branch(branch):
        raise ExecutorError("branch_name_refused", branch=repr(branch[:MAX_NAME]))
    record, mirror = await _found(host, run_folder)
    until = Deadline(host.clock, LIMIT_S)
    try:
        commit = await _commit(mirror, record, f"Changes of {run_folder.name}", until)
        await asyncio.to_thread(_hand_over, mirror.store, mirror.repository.common_dir)
        answer = await mirror.point(branch, commit, until.left_s)
    except (NotUnderstood, OSError) as error:
        raise ExecutorError("keep_failed", reason=_last_line(error)) from error
    if "already exists" in answer.stderr:
        raise ExecutorError("branch_exists", branch=branch)
    if answer.exit_code != 0:
        raise ExecutorError("keep_failed", reason=_last_line(answer.stderr))
    return commit


async def _found(host: GitHost, run_folder: Path) -> tuple[Record, Mirror]:
    record = await asyncio.to_thread(read_record, run_folder)
    if record is None or not (run_folder / STORE).is_dir():
        raise ExecutorError("no_changes", run_id=run_folder.name)
    repository = record.repository
    if not repository.top.is_dir() or not repository.git_dir.is_dir():
        raise ExecutorError("changes_folder_gone", path=repository.top)
    return record, Mirror(host, repository, run_folder / STORE)


async def _touched(
    mirror: Mirror, files: Iterable[ChangedFile], index: str, until: Deadline
) -> list[str]:
    """Which of the files are not as the run left them."""
    await mirror.run("update-index", "-q", "--refresh", limit_s=until.left_s, index=index)
    answer = await mirror.run(
        "diff-files", "--name-only", limit_s=until.left_s, index=index, max_lines=MAX_FILES
    )
    if answer.exit_code != 0:
        raise NotUnderstood(answer.stderr)
    differing = {unquoted(line).decode(errors="replace") for line in answer.lines}
    touched = []
    for file in files:
        gone = file.old_path or (file.path if file.status == "deleted" else None)
        is_back = gone is not None and _is_file(mirror.repository.top / gone)
        if is_back or file.path in differing:
            touched.append(file.path)
    return touched


def _is_file(path: Path) -> bool:
    # A folder may be of the run's own making; git knows whether it may go.
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir())


async def _commit(mirror: Mirror, record: Record, words: str, until: Deadline) -> str:
    author = {**_NOBODY, **await mirror.author(until.left_s)}
    name, email = author["user.name"], author["user.email"]
    parent = ("-p", record.head) if record.head else ()
    answer = await mirror.run(
        *("commit-tree", *parent, "-m", words, record.after),
        limit_s=until.left_s,
        variables={
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
        },
    )
    if answer.exit_code != 0 or not answer.lines:
        raise NotUnderstood(answer.stderr)
    return answer.lines[0].decode()


def _hand_over(store: Path, common_dir: Path) -> None:
    """Copy our objects to those of the repository; their names are their contents."""
    for place in (store / "objects").glob("[0-9a-f][0-9a-f]/*"):
        target = common_dir / "objects" / place.parent.name / place.name
        if target.exists():
            continue
        target.parent.mkdir(exist_ok=True)
        made = target.with_name(f"tmp_obj_{secrets.token_hex(8)}")
        try:
            shutil.copyfile(place, made)
            made.chmod(0o444)
            made.replace(target)
        finally:
            with contextlib.suppress(FileNotFoundError):  # in place by now
                made.unlink()


def _last_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else ""
