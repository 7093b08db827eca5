"""Takes back what a run changed, byte for byte, and that again; or makes a commit of it.

Only files that are as the run left them are touched, unless somebody says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from executor_core.errors import ExecutorError
from executor_core.workspace.changes import (
    STORE,
    Record,
    Undone,
    last_line,
    read_changes,
    read_record,
    write_record,
)
from executor_core.workspace.files import (
    PLAIN,
    PROGRAM,
    Entry,
    Files,
    Found,
    NotUnderstood,
    above,
    listed,
)
from executor_core.workspace.git import GitHost
from executor_core.workspace.remote import MAX_NAME, can_be_branch
from executor_core.workspace.repository import (
    Change,
    Mirror,
    changes_between,
    laid_out,
    stored,
    tree_of,
)
from executor_core.workspace.snapshots import LeftOut

_log = logging.getLogger("executor.workspace")

LIMIT_S = 120.0


class Failed(Struct, frozen=True):
    """A file that the system would not let us put back."""

    path: str
    reason: str


class Restoration(Struct, kw_only=True, frozen=True):
    """What is or would be put back in `folder`.

    `touched` names files that are not as they were left, or have others in their way: they stay.
    `left_out` names those of which the record knows nothing.
    """

    folder: str
    files: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    failed: tuple[Failed, ...] = ()


async def undo(
    host: GitHost, run_folder: Path, *, is_forced: bool = False, is_trial: bool = False
) -> Restoration:
    """Put back the files that the run changed; commits stay as they are.

    Files that were touched since stay, unless `is_forced`; `redo` knows what they were. Nothing is
    changed if `is_trial`. Raises ExecutorError `no_changes`, `changes_undone`,
    `changes_folder_gone`, `changes_touched` where nothing else is left, or `undo_failed`.
    """
    work = _Work(run_folder, *await _found(host, run_folder))
    record = work.record
    if record.undone is not None:
        raise ExecutorError("changes_undone", run_id=run_folder.name)
    before, after = record.raw_before or record.before, record.raw_after or record.after
    return await work.take_back(before, after, is_forced=is_forced, is_trial=is_trial)


async def redo(
    host: GitHost, run_folder: Path, *, is_forced: bool = False, is_trial: bool = False
) -> Restoration:
    """Take the undo back: every file that it touched is again as it was found.

    Raises as `undo`, and `changes_not_undone`.
    """
    work = _Work(run_folder, *await _found(host, run_folder))
    if (undone := work.record.undone) is None:
        raise ExecutorError("changes_not_undone", run_id=run_folder.name)
    return await work.take_back(undone.found, undone.put, is_forced=is_forced, is_trial=is_trial)


async def _found(host: GitHost, run_folder: Path) -> tuple[Record, Mirror]:
    """What was recorded, and the objects of it.

    Raises ExecutorError `no_changes`, `changes_unrecorded` or `changes_folder_gone`.
    """
    record = await asyncio.to_thread(read_record, run_folder)
    if record is None and (
        reason := (await asyncio.to_thread(read_changes, run_folder)).unrecorded
    ):
        raise ExecutorError("changes_unrecorded", run_id=run_folder.name, reason=reason)
    if record is None or not (run_folder / STORE).is_dir():
        raise ExecutorError("no_changes", run_id=run_folder.name)
    repository = record.repository
    if not repository.top.is_dir() or not repository.git_dir.is_dir():
        raise ExecutorError("changes_folder_gone", path=repository.top)
    return record, Mirror(host, repository, run_folder / STORE, LIMIT_S)


class _Work:
    """One undo or redo."""

    def __init__(self, run_folder: Path, record: Record, mirror: Mirror) -> None:
        self.record = record
        self._mirror = mirror
        self._run_folder = run_folder

    async def take_back(
        self, before: str, after: str, *, is_forced: bool, is_trial: bool
    ) -> Restoration:
        """Make of what is as in the tree `after` what is in the tree `before`."""
        try:
            changes = await changes_between(self._mirror, before, after)
            return await self._restored(changes, is_forced=is_forced, is_trial=is_trial)
        except (NotUnderstood, OSError) as error:
            raise ExecutorError("undo_failed", reason=last_line(error)) from error

    async def _restored(
        self, changes: tuple[Change, ...], *, is_forced: bool, is_trial: bool
    ) -> Restoration:
        record = self.record
        files = Files(self._mirror.repository.top, "sha256" if len(record.after) == 64 else "sha1")
        plan = await asyncio.to_thread(
            plan_of, files, changes, keeps_modes=record.keeps_modes, is_forced=is_forced
        )
        planned = Restoration(
            folder=record.top,
            files=tuple(one.path for one in plan.ready),
            touched=plan.touched,
            left_out=() if record.undone else record.left_out,
        )
        if plan.touched and not plan.ready:
            names = listed(plan.touched)
            raise ExecutorError("changes_touched", files=names, run_id=self._run_folder.name)
        if is_trial:
            return planned
        failed = await self._carry_out(plan)
        if failed and len(failed) == len(plan.ready):
            raise ExecutorError("undo_failed", reason=f"{failed[0].path}: {failed[0].reason}")
        names_failed = {one.path for one in failed}
        done = tuple(path for path in planned.files if path not in names_failed)
        return replace(planned, files=done, failed=failed)

    async def _carry_out(self, plan: Plan) -> tuple[Failed, ...]:
        mirror = self._mirror
        await stored(mirror, [one.path for one in plan.ready if one.path in plan.unknown])
        await self._write(plan.ready)
        wanted = {one.path: one.before for one in plan.ready if one.before is not None}
        async with laid_out(mirror, wanted) as folder:
            files = Files(mirror.repository.top)
            failed = await asyncio.to_thread(_put, files, plan.ready, folder)
        if failed:
            _log.warning("%d files could not be put back: %s", len(failed), failed[0])
            names = {one.path for one in failed}
            await self._write([one for one in plan.ready if one.path not in names])
        return failed

    async def _write(self, done: Sequence[Change]) -> None:
        """Before it is done, so that nothing is ever done that cannot be taken back."""
        undone = None
        if self.record.undone is None and done:
            undone = Undone(
                found=await self._tree({one.path: one.after for one in done}),
                put=await self._tree({one.path: one.before for one in done}),
            )
        record = replace(self.record, undone=undone)
        await asyncio.to_thread(write_record, self._run_folder, record)

    async def _tree(self, entries: Mapping[str, Entry | None]) -> str:
        known = {path: entry for path, entry in entries.items() if entry is not None}
        return await tree_of(self._mirror, known)


class Plan(Struct, frozen=True):
    """`ready` are changes whose `after` is what was found; `touched` stay. What lies at the paths
    `unknown` is not in our store yet.
    """

    ready: tuple[Change, ...]
    touched: tuple[str, ...]
    unknown: frozenset[str]


def plan_of(files: Files, changes: Iterable[Change], *, keeps_modes: bool, is_forced: bool) -> Plan:
    """What can be taken back. Blocks; raises OSError."""
    ready: dict[str, tuple[Change, Found]] = {}
    touched: list[str] = []
    unknown: set[str] = set()
    for change in changes:
        found = files.at(change.path)
        if _is_same(found.entry, change.after, keeps_modes):
            ready[change.path] = change, found
        elif not _is_same(found.entry, change.before, keeps_modes) or found.is_folder:
            if is_forced and (found.entry is None or found.entry.mode):
                ready[change.path] = replace(change, after=found.entry), found
                if found.entry is not None:
                    unknown.add(change.path)
            else:
                touched.append(change.path)
    if not keeps_modes:
        ready = {path: (_as_found(*one), one[1]) for path, one in ready.items()}
    going = {path for path, (change, _) in ready.items() if change.before is None}
    # What stays in the way of one may stand in the way of another.
    while stuck := [path for path, one in ready.items() if _is_stuck(files, *one, going)]:
        touched += stuck
        for path in stuck:
            del ready[path]
        going.difference_update(stuck)
    return Plan(
        ready=tuple(change for change, _ in ready.values()),
        touched=tuple(sorted(touched)),
        unknown=frozenset(unknown.intersection(ready)),
    )


def _as_found(change: Change, found: Found) -> Change:
    """Where git does not tell programs from other files, a file stays which of both it is."""
    before, after = change.before, found.entry
    if before and after and {before.mode, after.mode} <= {PLAIN, PROGRAM}:
        before = replace(before, mode=after.mode)
    return replace(change, before=before, after=after)


def _is_same(one: Entry | None, other: Entry | None, keeps_modes: bool) -> bool:
    if one is None or other is None or keeps_modes:
        return one == other
    return one.object == other.object


def _is_stuck(files: Files, change: Change, found: Found, going: set[str]) -> bool:
    """Whether something that does not go lies where the file belongs."""
    if change.before is None:
        return found.entry is None and (found.is_folder or found.is_beyond)
    if found.is_folder:
        return any(path not in going for path in files.below(change.path))
    return found.is_beyond and not going.intersection(above(change.path))


def _put(files: Files, changes: Iterable[Change], folder: Path) -> tuple[Failed, ...]:
    """First what goes, then what comes: one may be a folder where the other is a file."""
    failed: list[Failed] = []
    for change in sorted(changes, key=lambda one: one.before is not None):
        try:
            if change.before is None:
                files.remove(change.path)
            else:
                files.put(change.path, folder / change.path, change.before.mode)
        except OSError as error:
            failed.append(Failed(change.path, error.strerror or type(error).__name__))
    return tuple(failed)


# --- a commit -------------------------------------------------------------------------------------

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
    record, mirror = await _found(host, run_folder)
    try:
        commit = await _commit(mirror, record, f"Changes of {run_folder.name}")
        await asyncio.to_thread(_hand_over, mirror.store, mirror.repository.common_dir)
        answer = await mirror.point(branch, commit)
    except (NotUnderstood, OSError) as error:
        raise ExecutorError("keep_failed", reason=last_line(error)) from error
    if "already exists" in answer.stderr:
        raise ExecutorError("branch_exists", branch=branch)
    if answer.exit_code != 0:
        raise ExecutorError("keep_failed", reason=last_line(answer.stderr))
    return commit


async def _commit(mirror: Mirror, record: Record, words: str) -> str:
    author = {**_NOBODY, **await mirror.author()}
    name, email = author["user.name"], author["user.email"]
    parent = ("-p", record.head) if record.head else ()
    (commit,) = await mirror.ask(
        *("commit-tree", *parent, "-m", words, record.after),
        variables={
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
        },
    )
    return commit.decode()


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
