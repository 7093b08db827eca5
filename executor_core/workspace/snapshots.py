"""What the files of a repository are at one moment, without a trace in the repository itself.

All that git would not ignore is in a snapshot, committed or not. What is too much to keep, or holds
a secret that we know, is left out by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from executor_core.texts import text
from executor_core.workspace.files import Entry, Files, NotUnderstood, above, read_plain
from executor_core.workspace.git import MAX_TRACKED
from executor_core.workspace.repository import (
    Mirror,
    laid_out,
    terminated,
    tree_of,
    unquoted,
)

MAX_FILES = 20_000
"""New and changed files that one snapshot keeps; of more, the fullest new folders stay out."""
MAX_SEEN = 100_000
"""New, changed and ignored files that are seen at one by one."""
MAX_FILE_BYTES = 10 * 2**20
MAX_BYTES = 100 * 2**20
"""New and changed files that one snapshot keeps, together."""

HoldsSecret = Callable[[bytes], bool]
Stamp = tuple[int, int, int]


class LeftOutBecause(StrEnum):
    """Why a new or changed file is not part of a snapshot."""

    TOO_BIG = "too_big"
    TOO_MUCH = "too_much"
    """The files before it have used up what may be kept."""
    SECRET = "secret"  # noqa: S105  not one
    UNREADABLE = "unreadable"
    TOO_MANY = "too_many"
    """There are more files than are kept; also of whole folders, whose names end in a slash."""
    CONVERTED = "converted"
    """A filter or mixed line ends stood between its bytes before the run and the repository's."""
    OTHER_RUN = "other_run"
    """Another run worked there at the same time."""


class LeftOut(Struct, frozen=True):
    """A file whose changes are not known."""

    path: str
    reason: LeftOutBecause


class Snapshot(Struct, kw_only=True, frozen=True):
    """`tree` is git's name of all that is in it as git would keep it, `raw` with the bytes of the
    disk; `ignored` are files and folders (with a slash) that git did not look at; `head` is the
    commit that was checked out.
    """

    tree: str
    raw: str
    head: str | None = None
    left_out: tuple[LeftOut, ...] = ()
    stamps: dict[str, Stamp] = field(default_factory=dict)
    """What tells whether a file that was left out is still the same."""
    ignored: tuple[str, ...] = ()
    keeps_modes: bool = True
    """Whether the file system tells programs from other files."""


async def first_snapshot(mirror: Mirror, holds_secret: HoldsSecret) -> Snapshot:
    """How it is now. Raises ExecutorError, OSError, or NotUnderstood."""
    settings, head = await mirror.settings(), await mirror.head()
    await asyncio.to_thread(mirror.make, settings, head)
    seen = await _differences(mirror, "--ignored=matching")
    anew = await filtered(mirror)
    tree, raw, rest = await _take(mirror, seen.changed, holds_secret, anew)
    left_out = (*seen.left_out, *rest)
    return Snapshot(
        tree=tree,
        raw=raw,
        head=head,
        left_out=left_out,
        stamps=await asyncio.to_thread(_stamps, mirror.repository.top, left_out),
        ignored=seen.ignored,
        keeps_modes=os.name != "nt" and settings.get("core.filemode") != "false",
    )


async def next_snapshot(
    mirror: Mirror,
    holds_secret: HoldsSecret,
    before: Snapshot,
    is_others: Callable[[str], bool] = lambda _: False,
) -> tuple[Snapshot, Snapshot]:
    """How it was, as far as that is better known now, and how it is.

    What `before` did not look at stays unknown, also where git would look now: of a file that was
    there before nobody can say that it is new. The same holds for what `is_others`.
    """
    files = {one.path for one in before.left_out} | set(before.ignored)
    seen = await _differences(mirror, "--ignored=no")
    known = [
        path
        for path in seen.changed
        if path not in files and not any(f"{folder}/" in files for folder in above(path))
    ]
    left_out = list(seen.left_out)
    left_out += [LeftOut(path, LeftOutBecause.OTHER_RUN) for path in known if is_others(path)]
    known = [path for path in known if not is_others(path)]
    raw, unsure = await mended(mirror, before.raw, known)
    left_out += [LeftOut(path, LeftOutBecause.CONVERTED) for path in unsure]
    known = [path for path in known if path not in unsure]
    tree_now, raw_now, rest = before.tree, before.raw, list[LeftOut]()
    if known:
        tree_now, raw_now, rest = await _take(mirror, known, holds_secret)
    stamps = await asyncio.to_thread(_stamps, mirror.repository.top, before.left_out)
    left_out += [one for one in before.left_out if _may_differ(one.path, before.stamps, stamps)]
    return replace(before, raw=raw), Snapshot(
        tree=tree_now, raw=raw_now, left_out=(*left_out, *rest)
    )


def _stamps(top: Path, left_out: Iterable[LeftOut]) -> dict[str, Stamp]:
    stamps: dict[str, Stamp] = {}
    for one in left_out:
        with contextlib.suppress(OSError):  # then it has none
            status = (top / one.path).lstat()
            stamps[one.path] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return stamps


def _may_differ(path: str, before: dict[str, Stamp], now: dict[str, Stamp]) -> bool:
    # Of a folder the stamp tells nothing about the files in its folders.
    return path.endswith("/") or before.get(path) != now.get(path)


# --- what differs --------------------------------------------------------------------------------


class _Differences(Struct, frozen=True):
    """What differs from the raw index and is not too much, what is too much, what is ignored."""

    changed: list[str]
    left_out: tuple[LeftOut, ...]
    ignored: tuple[str, ...]


async def _differences(mirror: Mirror, ignored: str) -> _Differences:
    lines = await _status(mirror, "--untracked-files=all", ignored)
    changed, new, left = _sorted(lines)
    if len(changed) + len(new) <= MAX_FILES and len(lines) <= MAX_SEEN:
        return _Differences(sorted([*changed, *new]), (), tuple(left))
    # New folders as a whole: the fullest of them are named instead of recorded.
    fewer = await _status(mirror, "--untracked-files=normal", ignored)
    if len(fewer) > MAX_SEEN:
        raise NotUnderstood(text("changes.endless", most=MAX_SEEN))
    changed, entries, left_now = _sorted(fewer)
    if len(lines) > MAX_SEEN:
        new = entries
    room = max(0, MAX_FILES - len(changed))
    crowded = crowded_folders(new, [name for name in entries if name.endswith("/")], room)
    rest = [name for name in new if not any(f"{folder}/" in crowded for folder in above(name))]
    rest = [name for name in rest if name not in crowded]
    over = [*sorted(crowded), *rest[room:], *changed[MAX_FILES:]]
    return _Differences(
        sorted([*changed[:MAX_FILES], *rest[:room]]),
        tuple(LeftOut(name, LeftOutBecause.TOO_MANY) for name in over),
        tuple(dict.fromkeys([*left, *left_now])),
    )


def crowded_folders(new: Sequence[str], folders: Iterable[str], room: int) -> set[str]:
    """The fullest of `folders`: so many that at most `room` of the `new` files lie outside."""
    names = sorted(new)

    def count(folder: str) -> int:
        # A zero is what follows a slash.
        return bisect_left(names, f"{folder[:-1]}0") - bisect_left(names, folder)

    rest, crowded = len(names), set[str]()
    for folder in sorted(folders, key=count, reverse=True):
        if rest <= room:
            break
        crowded.add(folder)
        rest -= count(folder)
    return crowded


async def _status(mirror: Mirror, *arguments: str) -> list[bytes]:
    return await mirror.ask(
        "status",
        "--porcelain",
        "--no-renames",
        "--ignore-submodules=all",
        *arguments,
        is_wanted=lambda line: line[1:2] != b" ",
        max_lines=MAX_SEEN + 1,
        is_raw=True,
    )


def _sorted(lines: Iterable[bytes]) -> tuple[list[str], list[str], list[str]]:
    """The changed, the new and the ignored ones."""
    changed: list[str] = []
    new: list[str] = []
    ignored: list[str] = []
    kinds = {b"!!": ignored, b"??": new}
    for line in lines:
        kinds.get(line[:2], changed).append(os.fsdecode(unquoted(line[3:])))
    return changed, new, ignored


# --- taking -------------------------------------------------------------------------------------


async def _take(
    mirror: Mirror,
    names: Sequence[str],
    holds_secret: HoldsSecret,
    anew: Sequence[str] = (),
) -> tuple[str, str, list[LeftOut]]:
    """Both trees. The files `anew` have their bytes read even where git takes them for known."""
    top = mirror.repository.top
    sifted = await asyncio.to_thread(_sifted, top, sorted({*names, *anew}), holds_secret)
    kept, gone, left_out = sifted
    trees = []
    for is_raw in (False, True):
        first = [*gone, *anew] if is_raw else gone
        for flags, paths in (
            (("--force-remove",), first),
            (("--add", "--replace"), kept),
        ):
            if paths:
                arguments = ("update-index", "-z", *flags, "--stdin")
                data = terminated(paths)
                await mirror.ask(*arguments, data=data, is_raw=is_raw)
        (tree,) = await mirror.ask("write-tree", is_raw=is_raw)
        trees.append(tree.decode())
    return trees[0], trees[1], left_out


def _sifted(
    top: Path, names: Iterable[str], holds_secret: HoldsSecret
) -> tuple[list[str], list[str], list[LeftOut]]:
    """Which of these files a snapshot keeps, which are gone, and why not the others."""
    kept: list[str] = []
    gone: list[str] = []
    left_out: list[LeftOut] = []
    room, files = MAX_BYTES, Files(top)
    for name in names:
        if name.endswith("/"):
            continue  # a repository inside
        try:
            status = None if files.is_beyond(name) else (top / name).lstat()
        except OSError:
            status = None
        if status is None or stat.S_ISDIR(status.st_mode):
            gone.append(name)
            continue
        reason = _objection(top / name, status, room, holds_secret)
        if reason is None:
            kept.append(name)
            room -= status.st_size
        else:
            left_out.append(LeftOut(name, reason))
    return kept, gone, left_out


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


# --- the bytes that tracked files had where those are not the repository's ------------------------

_MAX_ARGUMENTS = 20_000
"""Characters of paths on a command line; of more all files are asked for."""
_LINES_OF_A_FILE = 6


class _Tracked(Struct, frozen=True):
    """`size` is the one of the file on the disk when git saw it last."""

    entry: Entry
    size: int


async def filtered(mirror: Mirror) -> list[str]:
    """The tracked files that a filter makes of what the repository has. Raises NotUnderstood."""
    # All that have none of the attributes are excluded; git has no simpler question for it.
    lines = await mirror.ask(
        *("ls-files", "--", ":(exclude,attr:!filter !ident !working-tree-encoding)"),
        max_lines=MAX_TRACKED,
    )
    return [os.fsdecode(unquoted(line)) for line in lines]


async def mended(mirror: Mirror, tree: str, changed: Sequence[str]) -> tuple[str, set[str]]:
    """`tree` with the line ends that these files had on the disk, and those where nobody knows.

    To be asked before their new bytes are taken. Raises NotUnderstood or OSError.
    """
    tracked = await _tracked(mirror, changed)
    sizes = await _object_sizes(mirror, [one.entry.object for one in tracked.values()])
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
    async with laid_out(mirror, entries) as folder:
        made = await asyncio.to_thread(_as_on_disk, folder, converted)
        objects = await mirror.ask(
            *("hash-object", "-w", "--no-filters", "--stdin-paths"),
            data=b"".join(os.fsencode(file) + b"\n" for file in made.values()),
            max_lines=len(made),
            is_raw=True,
        )
    known = {
        path: Entry(entries[path].mode, name.decode())
        for path, name in zip(made, objects, strict=True)
    }
    return await tree_of(mirror, known, tree), converted.keys() - known.keys()


async def _tracked(mirror: Mirror, paths: Sequence[str]) -> dict[str, _Tracked]:
    is_short = sum(len(path) + 12 for path in paths) < _MAX_ARGUMENTS
    wanted = [f":(literal){path}" for path in paths] if is_short else []
    if not paths:
        return {}
    lines = await mirror.ask(
        *("ls-files", "--stage", "--debug", "--", *wanted),
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


async def _object_sizes(mirror: Mirror, names: Sequence[str]) -> dict[str, int]:
    if not names:
        return {}
    lines = await mirror.ask(
        *("cat-file", "--batch-check=%(objectname) %(objectsize)"),
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
