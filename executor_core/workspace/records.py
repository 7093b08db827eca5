"""What was recorded of a run's changes, and what people are shown of it.

The record lies in the run's own folder: `changes.json`, `changes.patch`, and in `snapshot/` what is
needed to take the changes back or to make a commit of them.
"""

from __future__ import annotations

import asyncio
import os
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.unicode import encodable
from executor_core.workspace.git import GitHost
from executor_core.workspace.repository import Mirror, Repository
from executor_core.workspace.snapshots import LeftOut

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


async def found_record(host: GitHost, run_folder: Path) -> tuple[Record, Mirror]:
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
    return record, Mirror(host, repository, run_folder / STORE)


def last_line(error: object) -> str:
    """The last of what git or the system said."""
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else ""
