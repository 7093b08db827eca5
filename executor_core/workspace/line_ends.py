"""The bytes that tracked files had where those are not the repository's.

Git takes a tracked file for unchanged while its index knows the same size and times, and that
file may have other line ends than the repository, or be made by a filter.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from executor_core.workspace.files import Entry
from executor_core.workspace.repository import Deadline, Mirror, unquoted
from executor_core.workspace.trees import laid_out, tree_of

MAX_TRACKED = 1_000_000
_MAX_ARGUMENTS = 20_000
"""Characters of paths on a command line; of more all files are asked for."""
_LINES_OF_A_FILE = 6


class _Tracked(Struct, frozen=True):
    """`size` is the one of the file on the disk when git saw it last."""

    entry: Entry
    size: int


async def filtered(mirror: Mirror, until: Deadline) -> list[str]:
    """The tracked files that a filter makes of what the repository has. Raises NotUnderstood."""
    # All that have none of the attributes are excluded; git has no simpler question for it.
    lines = await mirror.ask(
        *("ls-files", "--", ":(exclude,attr:!filter !ident !working-tree-encoding)"),
        limit_s=until.left_s,
        max_lines=MAX_TRACKED,
    )
    return [os.fsdecode(unquoted(line)) for line in lines]


async def mended(
    mirror: Mirror, tree: str, changed: Sequence[str], until: Deadline
) -> tuple[str, set[str]]:
    """`tree` with the line ends that these files had on the disk, and those where nobody knows.

    To be asked before their new bytes are taken. Raises NotUnderstood or OSError.
    """
    tracked = await _tracked(mirror, changed, until)
    sizes = await _object_sizes(mirror, [one.entry.object for one in tracked.values()], until)
    converted = {
        path: one
        for path, one in tracked.items()
        # Nothing as a size is how git marks a file whose bytes it has compared.
        # Of a partial clone some objects are not here; then the file is taken for what it was.
        if one.size not in (0, sizes.get(one.entry.object, one.size))
    }
    if not converted:
        return tree, set()
    entries = {path: one.entry for path, one in converted.items()}
    async with laid_out(mirror, entries, until) as folder:
        made = await asyncio.to_thread(_as_on_disk, folder, converted)
        objects = await mirror.ask(
            *("hash-object", "-w", "--no-filters", "--stdin-paths"),
            limit_s=until.left_s,
            data=b"".join(os.fsencode(file) + b"\n" for file in made.values()),
            max_lines=len(made),
            is_raw=True,
        )
    known = {
        path: Entry(entries[path].mode, name.decode())
        for path, name in zip(made, objects, strict=True)
    }
    return await tree_of(mirror, known, until, tree), converted.keys() - known.keys()


async def _tracked(mirror: Mirror, paths: Sequence[str], until: Deadline) -> dict[str, _Tracked]:
    is_short = sum(len(path) + 12 for path in paths) < _MAX_ARGUMENTS
    wanted = [f":(literal){path}" for path in paths] if is_short else []
    if not paths:
        return {}
    lines = await mirror.ask(
        *("ls-files", "--stage", "--debug", "--", *wanted),
        limit_s=until.left_s,
        max_lines=_LINES_OF_A_FILE * MAX_TRACKED,
        is_raw=True,
    )
    found: dict[str, _Tracked] = {}
    for first, last in zip(
        lines[::_LINES_OF_A_FILE], lines[_LINES_OF_A_FILE - 1 :: _LINES_OF_A_FILE], strict=True
    ):
        facts, _, name = first.partition(b"\t")
        mode, made, _ = facts.decode().split()
        size = int(last.split()[1])
        if mode.startswith("100"):
            found[os.fsdecode(unquoted(name))] = _Tracked(Entry(mode, made), size)
    return {path: found[path] for path in paths if path in found}


async def _object_sizes(mirror: Mirror, names: Sequence[str], until: Deadline) -> dict[str, int]:
    if not names:
        return {}
    lines = await mirror.ask(
        *("cat-file", "--batch-check=%(objectname) %(objectsize)"),
        limit_s=until.left_s,
        data="".join(f"{name}\n" for name in names).encode(),
        max_lines=len(names),
        is_raw=True,
    )
    pairs = (line.decode().split() for line in lines)
    return {name: int(size) for name, size in pairs if size.isdecimal()}


def _as_on_disk(folder: Path, converted: Mapping[str, _Tracked]) -> dict[str, Path]:
    """Write what has the size of the file with other line ends, all of them; by path."""
    place, made = folder / ".git", dict[str, Path]()  # no file of a repository can be there
    place.mkdir()
    for number, (path, one) in enumerate(converted.items()):
        data = (folder / path).read_bytes()
        lf = data.replace(b"\r\n", b"\n")
        for candidate in (lf, lf.replace(b"\n", b"\r\n")):
            if len(candidate) == one.size:
                made[path] = place / str(number)
                made[path].write_bytes(candidate)
    return made
