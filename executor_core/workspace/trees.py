"""Trees of raw bytes: compared, made of entries, and laid out as files in a folder of ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from executor_core.workspace.files import Entry
from executor_core.workspace.removal import remove_tree
from executor_core.workspace.repository import RAW, Deadline, Mirror, unquoted

MAX_CHANGES = 100_000
_NOTHING = "000000"


class Change(Struct, frozen=True):
    """What was at a path and what is there then; None where nothing is."""

    path: str
    before: Entry | None
    after: Entry | None


def terminated(names: Iterable[str]) -> bytes:
    """As git takes paths with `-z`."""
    return b"".join(os.fsencode(name) + b"\0" for name in names)


async def changes_between(
    mirror: Mirror, before: str, after: str, until: Deadline
) -> tuple[Change, ...]:
    """How the two trees differ, by path. Raises NotUnderstood."""
    lines = await mirror.ask(
        *("diff-tree", "-r", "--raw", "--no-renames", "--ignore-submodules=all", before, after),
        limit_s=until.left_s,
        max_lines=MAX_CHANGES,
        is_raw=True,
    )
    return tuple(_change(line) for line in lines)


def _change(line: bytes) -> Change:
    """Of `:MODE MODE OBJECT OBJECT LETTER<tab>PATH`."""
    facts, _, name = line.partition(b"\t")
    mode, mode_then, made, made_then, _ = facts.removeprefix(b":").decode().split()
    return Change(os.fsdecode(unquoted(name)), _entry(mode, made), _entry(mode_then, made_then))


def _entry(mode: str, made: str) -> Entry | None:
    return None if mode == _NOTHING else Entry(mode, made)


async def tree_of(
    mirror: Mirror, entries: Mapping[str, Entry], until: Deadline, base: str | None = None
) -> str:
    """The tree with these entries, and else what is in `base`. Raises NotUnderstood."""
    async with _index(mirror, entries, until, base) as index:
        (tree,) = await mirror.ask("write-tree", limit_s=until.left_s, index=index, is_raw=True)
        return tree.decode()


async def stored(mirror: Mirror, paths: Iterable[str], until: Deadline) -> None:
    """Keep the bytes of these files, as they are now, among our objects. Raises NotUnderstood."""
    if data := terminated(paths):
        async with _index(mirror, {}, until) as index:
            await mirror.ask(
                *("update-index", "-z", "--add", "--remove", "--replace", "--stdin"),
                limit_s=until.left_s,
                data=data,
                index=index,
                is_raw=True,
            )


@asynccontextmanager
async def laid_out(
    mirror: Mirror, entries: Mapping[str, Entry], until: Deadline
) -> AsyncIterator[Path]:
    """A folder of ours that has these files, byte for byte, inside the block."""
    folder = mirror.store / f"out-{secrets.token_hex(8)}"
    await asyncio.to_thread(folder.mkdir, 0o700)
    try:
        async with _index(mirror, entries, until) as index:
            await mirror.ask(
                *("checkout-index", "-f", "-z", "--stdin", f"--prefix={folder}/"),
                limit_s=until.left_s,
                data=terminated(entries),
                index=index,
                is_raw=True,
            )
        yield folder
    finally:
        await asyncio.to_thread(remove_tree, folder)


@asynccontextmanager
async def _index(
    mirror: Mirror, entries: Mapping[str, Entry], until: Deadline, base: str | None = None
) -> AsyncIterator[str]:
    index = f"index-{secrets.token_hex(8)}"
    lines = (
        f"{entry.mode} {entry.object} 0\t".encode() + terminated([path])
        for path, entry in entries.items()
    )
    try:
        start = ("read-tree", base) if base else ("read-tree", "--empty")
        await mirror.ask(*start, limit_s=until.left_s, index=index, is_raw=True)
        if entries:
            await mirror.ask(
                *("update-index", "-z", "--replace", "--index-info"),
                limit_s=until.left_s,
                data=b"".join(lines),
                index=index,
                is_raw=True,
            )
        yield index
    finally:
        with contextlib.suppress(FileNotFoundError):  # git did not come to it
            (mirror.store / RAW / index).unlink()
