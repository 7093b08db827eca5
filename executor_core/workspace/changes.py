"""What a run changed in a repository: a list of files, and a patch that git can apply.

The record lies in the run's own folder: `changes.json`, `changes.patch`, and in `snapshot/` what is
needed to take the changes back or to make a commit of them. Runs that work in one repository at the
same time have each the files that are nearest to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.model import Artifact, Notice
from executor_core.texts import text
from executor_core.unicode import encodable
from executor_core.workspace.files import NotUnderstood, listed, new_file
from executor_core.workspace.git import GitHost
from executor_core.workspace.repository import (
    Mirror,
    Repository,
    changes_between,
    find_repository,
    unquoted,
)
from executor_core.workspace.snapshots import (
    MAX_FILES,
    HoldsSecret,
    LeftOut,
    Snapshot,
    first_snapshot,
    next_snapshot,
)

SHOWN_BYTES = 2**20
"""How much of a patch is shown as text."""
PATCH, RECORD, STORE = "changes.patch", "changes.json", "snapshot"
UNRECORDED = "changes.unrecorded"
"""Has the reason where there is no record."""


class FileStatus(StrEnum):
    """What became of a file."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    RENAMED = "renamed"


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
    unrecorded: str = ""
    """Why it is not known what the run changed; empty where it is."""


class Undone(Struct, frozen=True):
    """Two trees of raw bytes: what an undo found, and what it put there."""

    found: str
    put: str


class Record(Struct, kw_only=True, frozen=True):
    """`changes.json`. `before` and `after` are trees as git would keep them, the raw ones have the
    bytes of the disk; `head` is the commit that was checked out.

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
    raw_before: str = ""
    """Of records that are older than raw trees these are empty."""
    raw_after: str = ""
    keeps_modes: bool = True
    """Whether the file system tells programs from other files."""
    undone: Undone | None = None

    @property
    def repository(self) -> Repository:
        """Where it lies."""
        return Repository(Path(self.top), Path(self.git_dir), Path(self.common_dir))


def write_record(run_folder: Path, record: Record) -> None:
    """Replace `changes.json`. Blocks; raises OSError."""
    made = run_folder / f"{RECORD}.new"
    made.unlink(missing_ok=True)  # of a crash
    with new_file(made) as file:
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
        try:
            return RunChanges(unrecorded=(run_folder / UNRECORDED).read_text("utf-8", "replace"))
        except OSError:
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
        is_undone=record.undone is not None,
    )


def last_line(error: object) -> str:
    """The last of what git or the system said."""
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else ""


# --- recording ------------------------------------------------------------------------------------

Emit = Callable[[Notice], None]

_log = logging.getLogger("executor.workspace")

LIMIT_S = 30.0
"""For one snapshot. A repository that takes longer has no record of changes."""
MAX_PATCH_BYTES = 20 * 2**20
"""A patch that would be longer is not kept; its files are listed all the same."""

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


_STATUS = {"A": FileStatus.ADDED, "D": FileStatus.DELETED, "R": FileStatus.RENAMED}


class Beginning(Struct, eq=False):
    """A run that is being recorded, or is not: then `snapshot` is missing.

    It works at `place`, `others` at theirs in the same repository; `.` is all of it.
    """

    mirror: Mirror
    place: PurePosixPath
    emit: Emit
    others: set[PurePosixPath]
    snapshot: Snapshot | None = None

    def is_others(self, path: str) -> bool:
        """Whether a file is more likely the work of another run: one that works nearer to it."""
        near = [
            place
            for place in (self.place, *self.others)
            if PurePosixPath(path).is_relative_to(place)
        ]
        return bool(near) and max(near, key=lambda one: len(one.parts)) != self.place


class Recorder:
    """Looks before and after a run. A record that cannot be made costs a notice, not the run."""

    def __init__(self, host: GitHost, holds_secret: HoldsSecret, not_in: Iterable[Path]) -> None:
        """No repository that begins at or above a folder of `not_in` is looked at."""
        self._host = host
        self._holds_secret = holds_secret
        self._not_in = tuple(not_in)
        self._open: set[Beginning] = set()

    async def begin(
        self, folder: Path, run_folder: Path, emit: Emit = lambda _: None
    ) -> Beginning | None:
        """Look for the first time. None without a repository.

        `emit` hears what could not be recorded, then and at the end. What is returned, or was begun
        when this is cancelled, is over with `finish` or `forget`.
        """
        repository = await asyncio.to_thread(find_repository, folder, self._not_in)
        if repository is None:
            return None
        mirror = Mirror(self._host, repository, run_folder / STORE, LIMIT_S)
        place = PurePosixPath(folder.relative_to(repository.top).as_posix())
        begun = Beginning(mirror, place, emit, set())
        for other in self._open:
            if other.mirror.repository.git_dir == repository.git_dir:
                other.others.add(begun.place)
                begun.others.add(other.place)
        self._open.add(begun)
        async with self._or_nothing(begun):
            begun.snapshot = await first_snapshot(mirror, self._holds_secret)
        return begun

    async def finish(self, begun: Beginning) -> tuple[Artifact, ...]:
        """Look again and record the difference; the patch, if there is one."""
        mirror, before = begun.mirror.anew(), begun.snapshot
        if before is None:
            self._open.discard(begun)
            return ()
        try:
            async with self._or_nothing(begun):
                before, after = await next_snapshot(
                    mirror, self._holds_secret, before, begun.is_others
                )
                _say_left_out(begun, after)
                if (after.tree, after.raw) == (before.tree, before.raw):
                    await asyncio.to_thread(shutil.rmtree, mirror.store, ignore_errors=True)
                    return ()
                record = await _compared(mirror, before, after)
                await asyncio.to_thread(write_record, mirror.store.parent, record)
                return await _patch(mirror, record)
        finally:
            self._open.discard(begun)
        return ()

    @asynccontextmanager
    async def _or_nothing(self, begun: Beginning) -> AsyncIterator[None]:
        """Where the block fails or is cancelled, nothing is left of the record but the reason."""
        try:
            yield
        except asyncio.CancelledError:
            self._open.discard(begun)
            await self._give_up(begun, text("changes.cut_off"))
            raise
        except (ExecutorError, NotUnderstood, OSError, ValueError) as error:
            await self._give_up(begun, _reason(error))

    async def _give_up(self, begun: Beginning, reason: str) -> None:
        mirror = begun.mirror
        _log.warning("the changes in %s are not recorded: %s", mirror.repository.top, reason)
        words = text("notice.changes_unrecorded", folder=mirror.repository.top, reason=reason)
        begun.emit(Notice(code="changes_unrecorded", text=words))
        run_folder = mirror.store.parent
        with contextlib.suppress(OSError):  # pruned with the run
            (run_folder / RECORD).unlink(missing_ok=True)
            (run_folder / UNRECORDED).write_text(reason, "utf-8", "replace")
        await asyncio.to_thread(shutil.rmtree, mirror.store, ignore_errors=True)


def _reason(error: Exception) -> str:
    if isinstance(error, ExecutorError):
        return error.message.title
    return last_line(error) or text("changes.odd_repository")


def _say_left_out(begun: Beginning, after: Snapshot) -> None:
    """One notice for all the files of which the record will know nothing."""
    if not after.left_out:
        return
    names = [f"{one.path} ({text(f'changes.{one.reason}')})" for one in after.left_out]
    words = text("notice.changes_left_out", count=len(names), names=listed(names))
    begun.emit(Notice(code="changes_left_out", text=words))


async def _compared(mirror: Mirror, before: Snapshot, after: Snapshot) -> Record:
    lines = await mirror.ask(
        *_DIFF,
        "--raw",
        "--numstat",
        before.tree,
        after.tree,
        max_lines=4 * MAX_FILES,
    )
    repository = mirror.repository
    files = list(_files(lines))
    shown = {path for file in files for path in (file.path, file.old_path)}
    files += [
        # To git it is the same file: only its line ends are others.
        ChangedFile(path=change.path, status=FileStatus.MODIFIED)
        for change in await changes_between(mirror, before.raw, after.raw)
        if change.path not in shown
    ]
    return Record(
        top=str(repository.top),
        git_dir=str(repository.git_dir),
        common_dir=str(repository.common_dir),
        before=before.tree,
        after=after.tree,
        head=before.head,
        files=tuple(files),
        left_out=after.left_out,
        raw_before=before.raw,
        raw_after=after.raw,
        keeps_modes=before.keeps_modes,
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


async def _patch(mirror: Mirror, record: Record) -> tuple[Artifact, ...]:
    target = mirror.store.parent / PATCH
    await asyncio.to_thread(target.touch, 0o600)
    output = f"--output={target}"
    await mirror.ask(*_DIFF, *_PATCH_FORM, output, record.before, record.after)
    size = await asyncio.to_thread(lambda: target.stat().st_size)
    if size > MAX_PATCH_BYTES:
        _log.warning("a patch of %d bytes is not kept", size)
        target.unlink()
    if not 0 < size <= MAX_PATCH_BYTES:
        return ()
    return (Artifact(name=PATCH, path=str(target), size_bytes=size),)
