"""What a run changed in a repository: recorded as a list of files and a patch that git can apply.

The record lies in the run's own folder: `changes.json`, `changes.patch`, and in `snapshot/` what is
needed to take the changes back or to make a commit of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.model import Artifact
from executor_core.unicode import encodable
from executor_core.workspace.git import GitHost
from executor_core.workspace.repository import (
    Deadline,
    Mirror,
    Repository,
    find_repository,
    unquoted,
)
from executor_core.workspace.repository_state import NotUnderstood
from executor_core.workspace.snapshots import (
    MAX_FILES,
    HoldsSecret,
    LeftOut,
    Snapshot,
    first_snapshot,
    next_snapshot,
)

_log = logging.getLogger("executor.workspace")

LIMIT_S = 30.0
"""For one snapshot. A repository that takes longer has no record of changes."""
MAX_PATCH_BYTES = 20 * 2**20
"""A patch that would be longer is not kept; its files are listed all the same."""
SHOWN_BYTES = 2**20
"""How much of a patch is shown as text."""
PATCH, RECORD, STORE = "changes.patch", "changes.json", "snapshot"

_DIFF = (
    "diff-tree",
    "-r",
    "--find-renames",
    "--ignore-submodules=all",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
)
_PATCH_FORM = ("-p", "--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/")


class FileStatus(StrEnum):
    """What became of a file."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    RENAMED = "renamed"


_STATUS = {"A": FileStatus.ADDED, "D": FileStatus.DELETED, "R": FileStatus.RENAMED}


class ChangedFile(Struct, kw_only=True, frozen=True):
    """One file; the counts are lines, both 0 where it is binary. `old_path` if it was renamed."""

    path: str
    status: FileStatus
    additions: int = 0
    deletions: int = 0
    is_binary: bool = False
    old_path: str | None = None


class RunChanges(Struct, kw_only=True, frozen=True):
    """What a run changed below `folder`. `patch` is text to be read, cut if `is_cut`.

    `left_out` names files of which nothing is known. `is_undone`: the changes were taken back.
    """

    folder: str | None = None
    files: tuple[ChangedFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    patch: str = ""
    is_cut: bool = False
    is_undone: bool = False


class Record(Struct, kw_only=True, frozen=True):
    """`changes.json`. `before` and `after` are trees, `head` the commit that was checked out.

    The first three say where the repository lies, as in `Repository`.
    """

    top: str
    git_dir: str
    common_dir: str
    before: str
    after: str
    head: str | None
    files: tuple[ChangedFile, ...]
    left_out: tuple[LeftOut, ...]
    is_undone: bool = False

    @property
    def repository(self) -> Repository:
        """Where it lies."""
        return Repository(Path(self.top), Path(self.git_dir), Path(self.common_dir))


class Beginning(Struct, frozen=True):
    """A run that is being recorded."""

    mirror: Mirror
    snapshot: Snapshot


class Recorder:
    """Looks before and after a run. A record that cannot be made costs a line of the log, not the
    run.
    """

    def __init__(self, host: GitHost, holds_secret: HoldsSecret, not_in: Iterable[Path]) -> None:
        """No repository that begins at or above a folder of `not_in` is looked at."""
        self._host = host
        self._holds_secret = holds_secret
        self._not_in = tuple(not_in)

    async def begin(self, folder: Path, run_folder: Path) -> Beginning | None:
        """Look for the first time. None without a repository, or where it cannot be recorded."""
        repository = await asyncio.to_thread(find_repository, folder, self._not_in)
        if repository is None:
            return None
        mirror = Mirror(self._host, repository, run_folder / STORE)
        until = Deadline(self._host.clock, LIMIT_S)
        async with self._or_nothing(mirror):
            return Beginning(mirror, await first_snapshot(mirror, self._holds_secret, until))
        return None

    async def finish(self, begun: Beginning) -> tuple[Artifact, ...]:
        """Look again and record the difference; the patch, if there is one."""
        mirror = begun.mirror
        until = Deadline(self._host.clock, LIMIT_S)
        async with self._or_nothing(mirror):
            after = await next_snapshot(mirror, self._holds_secret, until, begun.snapshot)
            if after.tree == begun.snapshot.tree:
                await asyncio.to_thread(shutil.rmtree, mirror.store, ignore_errors=True)
                return ()
            record = await _compared(mirror, begun.snapshot, after, until)
            await asyncio.to_thread(write_record, mirror.store.parent, record)
            return await _patch(mirror, record, until)
        return ()

    @asynccontextmanager
    async def _or_nothing(self, mirror: Mirror) -> AsyncIterator[None]:
        """Where the block fails or is cancelled, nothing is left of the record."""
        try:
            yield
        except asyncio.CancelledError:
            await self._give_up(mirror, "the run was ended before they were")
            raise
        except (ExecutorError, NotUnderstood, OSError, ValueError) as error:
            await self._give_up(mirror, str(error))

    async def _give_up(self, mirror: Mirror, reason: str) -> None:
        _log.warning("the changes in %s are not recorded: %s", mirror.repository.top, reason)
        with contextlib.suppress(OSError):  # pruned with the run
            (mirror.store.parent / RECORD).unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, mirror.store, ignore_errors=True)


async def _compared(mirror: Mirror, before: Snapshot, after: Snapshot, until: Deadline) -> Record:
    lines = await mirror.ask(
        *_DIFF,
        "--raw",
        "--numstat",
        before.tree,
        after.tree,
        limit_s=until.left_s,
        max_lines=4 * MAX_FILES,
    )
    repository = mirror.repository
    return Record(
        top=str(repository.top),
        git_dir=str(repository.git_dir),
        common_dir=str(repository.common_dir),
        before=before.tree,
        after=after.tree,
        head=before.head,
        files=tuple(_files(lines)),
        left_out=after.left_out,
    )


def _files(lines: Iterable[bytes]) -> Iterator[ChangedFile]:
    """Of git's two lists, one after the other and in the same order: what, and how much."""
    lines = tuple(lines)
    kinds = [line for line in lines if line.startswith(b":")]
    counts = [line for line in lines if not line.startswith(b":")]
    for kind, count in zip(kinds, counts, strict=True):
        head, *paths = kind.split(b"\t")
        old, path = (os.fsdecode(unquoted(name)) for name in (paths[0], paths[-1]))
        added, deleted, _ = count.split(b"\t", 2)
        is_binary = added == b"-"
        yield ChangedFile(
            path=path,
            status=_STATUS.get(head.split()[-1][:1].decode(), FileStatus.MODIFIED),
            additions=0 if is_binary else int(added),
            deletions=0 if is_binary else int(deleted),
            is_binary=is_binary,
            old_path=old if len(paths) > 1 else None,
        )


async def _patch(mirror: Mirror, record: Record, until: Deadline) -> tuple[Artifact, ...]:
    target = mirror.store.parent / PATCH
    await asyncio.to_thread(target.touch, 0o600)
    output = f"--output={target}"
    await mirror.ask(
        *_DIFF, *_PATCH_FORM, output, record.before, record.after, limit_s=until.left_s
    )
    size = await asyncio.to_thread(lambda: target.stat().st_size)
    if size > MAX_PATCH_BYTES:
        _log.warning("a patch of %d bytes is not kept", size)
        target.unlink()
    if not 0 < size <= MAX_PATCH_BYTES:
        return ()
    return (Artifact(name=PATCH, path=str(target), size_bytes=size),)


# --- what is on disk ---------------------------------------------------------------------------


def write_record(run_folder: Path, record: Record) -> None:
    """Replace `changes.json`. Blocks; raises OSError."""
    made = run_folder / f"{RECORD}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    with open(os.open(made, flags, 0o600), "wb") as file:
        file.write(msgspec.json.encode(encodable(record)))
    made.replace(run_folder / RECORD)


def read_record(run_folder: Path) -> Record | None:
    """What was recorded; None for a run that changed nothing, or whose record is gone. Blocks."""
    try:
        return msgspec.json.decode((run_folder / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


def read_changes(run_folder: Path) -> RunChanges:
    """What was recorded, for people; empty where nothing is. Blocks."""
    if (record := read_record(run_folder)) is None:
        return RunChanges()
    try:
        with (run_folder / PATCH).open("rb") as file:
            data = file.read(SHOWN_BYTES + 1)
        is_cut = len(data) > SHOWN_BYTES
    except OSError:
        data, is_cut = b"", True
    if is_cut:
        data = data[: data[:SHOWN_BYTES].rfind(b"\n") + 1]
    return RunChanges(
        folder=record.top,
        files=record.files,
        left_out=record.left_out,
        patch=data.decode("utf-8", "replace"),
        is_cut=is_cut,
        is_undone=record.is_undone,
    )
