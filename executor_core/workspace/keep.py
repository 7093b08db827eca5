"""Makes a commit of what a run changed, from the record of the run."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from pathlib import Path

from executor_core.errors import ExecutorError
from executor_core.workspace.git import GitHost
from executor_core.workspace.git_address import MAX_NAME, can_be_branch
from executor_core.workspace.records import Record, found_record, last_line
from executor_core.workspace.repository import Deadline, Mirror
from executor_core.workspace.repository_state import NotUnderstood

LIMIT_S = 120.0
_NOBODY = {"user.name": "Wegent Executor", "user.email": "executor@localhost"}


async def keep(host: GitHost, run_folder: Path, branch: str) -> str:
    """Make `branch` with one commit: all as the run left it, on what was checked out before it.

    Files, the branch that is checked out and what is staged stay as they are. Returns the commit.
    Raises ExecutorError `no_changes`, `changes_folder_gone`, `branch_name_refused`, `branch_exists`
    or `keep_failed`.
    """
    if not can_be_branch(branch):
        raise ExecutorError("branch_name_refused", branch=repr(branch[:MAX_NAME]))
    record, mirror = await found_record(host, run_folder)
    until = Deadline(host.clock, LIMIT_S)
    try:
        commit = await _commit(mirror, record, f"Changes of {run_folder.name}", until)
        await asyncio.to_thread(_hand_over, mirror.store, mirror.repository.common_dir)
        answer = await mirror.point(branch, commit, until.left_s)
    except (NotUnderstood, OSError) as error:
        raise ExecutorError("keep_failed", reason=last_line(error)) from error
    if "already exists" in answer.stderr:
        raise ExecutorError("branch_exists", branch=branch)
    if answer.exit_code != 0:
        raise ExecutorError("keep_failed", reason=last_line(answer.stderr))
    return commit


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
