"""What the files of a repository are at one moment, without a trace in the repository itself.

All that git would not ignore is in a snapshot, committed or not. What is too much to keep, or holds
a secret that we know, is left out by name.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from executor_core.workspace.repository import Deadline, Mirror, unquoted
from executor_core.workspace.repository_state import NotUnderstood, read_plain

MAX_FILES = 20_000
"""Of more files that are new or changed no snapshot is taken."""
MAX_FILE_BYTES = 10 * 2**20
MAX_BYTES = 100 * 2**20
"""New and changed files that one snapshot keeps, together."""

HoldsSecret = Callable[[bytes], bool]


class LeftOutBecause(StrEnum):
    """Why a new or changed file is not part of a snapshot."""

    TOO_BIG = "too_big"
    TOO_MUCH = "too_much"
    """The files before it have used up what may be kept."""
    SECRET = "secret"  # noqa: S105  not one
    UNREADABLE = "unreadable"


class LeftOut(Struct, frozen=True):
    """A file whose changes are not known."""

    path: str
    reason: LeftOutBecause


class Snapshot(Struct, kw_only=True, frozen=True):
    """`tree` is git's name of all that is in it; `ignored` are files and folders (with a slash)
    that git did not look at; `head` is the commit that was checked out.
    """

    tree: str
    head: str | None = None
    left_out: tuple[LeftOut, ...] = ()
    ignored: tuple[str, ...] = ()


async def first_snapshot(mirror: Mirror, holds_secret: HoldsSecret, until: Deadline) -> Snapshot:
    """How it is now. Raises ExecutorError, OSError, or NotUnderstood."""
    settings, head = await mirror.settings(until.left_s), await mirror.head(until.left_s)
    await asyncio.to_thread(mirror.make, settings, head)
    changed, ignored = await _looked(mirror, until, "--ignored=matching")
    tree, left_out = await _take(mirror, changed, holds_secret, until)
    return Snapshot(tree=tree, head=head, left_out=tuple(left_out), ignored=tuple(ignored))


async def next_snapshot(
    mirror: Mirror, holds_secret: HoldsSecret, until: Deadline, before: Snapshot
) -> Snapshot:
    """How it is later. What `before` did not look at stays unknown, also where git would look now:
    of a file that was there before nobody can say that it is new.
    """
    files = {one.path for one in before.left_out} | set(before.ignored)
    changed, _ = await _looked(mirror, until, "--ignored=no")
    known = [path for path in changed if path not in files and not files.intersection(_above(path))]
    tree, left_out = await _take(mirror, known, holds_secret, until)
    return Snapshot(tree=tree, left_out=(*before.left_out, *left_out))


async def _looked(mirror: Mirror, until: Deadline, ignored: str) -> tuple[list[str], list[str]]:
    """What differs from the index of the mirror, and what is ignored; sorted."""
    lines = await mirror.ask(
        "status",
        "--porcelain",
        "--untracked-files=all",
        "--no-renames",
        "--ignore-submodules=all",
        ignored,
        limit_s=until.left_s,
        is_wanted=lambda line: line[1:2] != b" ",
        max_lines=MAX_FILES + 1,
    )
    if len(lines) > MAX_FILES:
        raise NotUnderstood(f"more than {MAX_FILES} new, changed or ignored files")
    changed: list[str] = []
    left: list[str] = []
    for line in lines:
        name = os.fsdecode(unquoted(line[3:]))
        (left if line.startswith(b"!!") else changed).append(name)
    return sorted(changed), left


async def _take(
    mirror: Mirror, names: Sequence[str], holds_secret: HoldsSecret, until: Deadline
) -> tuple[str, list[LeftOut]]:
    left_out: list[LeftOut] = []
    if names:
        top = mirror.repository.top
        kept, left_out = await asyncio.to_thread(_sifted, top, names, holds_secret)
        data = b"".join(os.fsencode(name) + b"\0" for name in kept)
        arguments = ("update-index", "-z", "--add", "--remove", "--replace", "--stdin")
        await mirror.ask(*arguments, limit_s=until.left_s, data=data)
    (tree,) = await mirror.ask("write-tree", limit_s=until.left_s)
    return tree.decode(), left_out


def _sifted(
    top: Path, names: Iterable[str], holds_secret: HoldsSecret
) -> tuple[list[str], list[LeftOut]]:
    """Which of these files a snapshot keeps, and why not the others."""
    kept: list[str] = []
    left_out: list[LeftOut] = []
    room = MAX_BYTES
    for name in names:
        try:
            status = (top / name).lstat()
        except OSError:
            kept.append(name)  # that it is gone is kept as well
            continue
        if stat.S_ISDIR(status.st_mode):
            if not os.path.lexists(top / name / ".git"):
                kept.append(name)  # where a file was
            continue
        reason = _objection(top / name, status, room, holds_secret)
        if reason is None:
            kept.append(name)
            room -= status.st_size
        else:
            left_out.append(LeftOut(name, reason))
    return kept, left_out


def _objection(
    path: Path, status: os.stat_result, room: int, holds_secret: HoldsSecret
) -> LeftOutBecause | None:
    if status.st_size > MAX_FILE_BYTES:
        return LeftOutBecause.TOO_BIG
    if status.st_size > room:
        return LeftOutBecause.TOO_MUCH
    try:
        is_link = stat.S_ISLNK(status.st_mode)
        data = os.fsencode(os.readlink(path)) if is_link else read_plain(path, MAX_FILE_BYTES)
    except (NotUnderstood, OSError):
        return LeftOutBecause.UNREADABLE
    return LeftOutBecause.SECRET if holds_secret(data) else None


def _above(path: str) -> Iterable[str]:
    """The folders that `path` lies in, as git writes them."""
    parts = path.split("/")
    return ("/".join(parts[:count]) + "/" for count in range(1, len(parts)))
