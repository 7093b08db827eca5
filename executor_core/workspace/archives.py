"""Unpacks archives of others: everything that is asked for is looked at before it is written."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from executor_core.texts import text
from executor_core.workspace.names import folded, is_safe_name
from executor_core.workspace.unusable import Unusable

MAX_ENTRIES = 2_000
MAX_ENTRY_BYTES = 20 * 2**20
MAX_TOTAL_BYTES = 64 * 2**20
MAX_RATIO = 200
"""Times its packed size; an archive below `SMALL_BYTES` when unpacked may have any ratio."""
SMALL_BYTES = 2**20
MAX_DEPTH = 16

MARK = ".gitignore"
"""A skill's own one is left out: there lies ours, which keeps the skill out of a repository."""
_PIECE_BYTES = 64 * 1024
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800
_UNICODE_PATH = 0x7075
_WINDOWS = (0, 10, 11, 14)
"""Systems whose programs may part names by backslashes, as Windows PowerShell 5 does."""
_KNOWN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError)


def unpack_skill(archive: Path, folder: Path) -> None:
    """Unpack a skill into the existing `folder`, without the one folder around it.

    Blocking. Raises Unusable with the reason: no skill, a name or a link that leads elsewhere, or
    more than the limits above. What was written until then stays; what is there is not replaced.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            for path, entry in _files(zipped).items():
                _write(zipped, entry, folder / path)
    except _DAMAGE as error:
        raise Unusable(text("archive.broken")) from error
    except OSError as error:
        raise Unusable(text("archive.not_written", reason=error.strerror)) from error


def _files(zipped: zipfile.ZipFile) -> Mapping[PurePosixPath, zipfile.ZipInfo]:
    """What to write and where, relative to the skill's folder."""
    entries = zipped.infolist()
    if len(entries) > MAX_ENTRIES:
        raise Unusable(text("archive.too_many", limit=MAX_ENTRIES))
    named = [(_name(entry), entry) for entry in entries]
    for name, entry in named:
        _check(name, entry)
    _check_sizes(entries)
    files = [(name, entry) for name, entry in named if not name.endswith("/")]
    paths = {PurePosixPath(name): entry for name, entry in files}
    paths = {path: e for path, e in paths.items() if not set(path.parts) & set(_IGNORED)}
    _check_collisions(paths, [name for name, _ in files])
    tops = {path.parts[0] for path in paths}
    if PurePosixPath("SKILL.md") not in paths and len(tops) == 1:
        [top] = tops
        paths = {path.relative_to(top): e for path, e in paths.items() if len(path.parts) > 1}
    if PurePosixPath("SKILL.md") not in paths:
        raise Unusable(text("archive.no_skill"))
    return {path: entry for path, entry in paths.items() if str(path) != MARK}


def _name(entry: zipfile.ZipInfo) -> str:
    """What its maker called it, with a slash between folders and behind one."""
    # `filename` ends at a NUL and has its separators changed; what was written counts.
    name = entry.orig_filename
    if not name.isascii() and not entry.flag_bits & _UTF8_NAME:
        name = _unicode_path(entry) or _decoded(name.encode("cp437"))
    return name.replace("\\", "/") if entry.create_system in _WINDOWS else name


def _unicode_path(entry: zipfile.ZipInfo) -> str:
    """The same name in a field of its own, as WinRAR and 7-Zip add it; empty without one.

    It counts only if it was made for this very name: a tool may have renamed the entry since.
    """
    extra, crc = entry.extra, zlib.crc32(entry.orig_filename.encode("cp437"))
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and field[:5] == struct.pack("<BL", 1, crc):
            return field[5:].decode()
    return ""


def _decoded(raw: bytes) -> str:
    """A name in the bytes of a system that says nothing about them: macOS, or a Chinese Windows."""
    for encoding in ("utf-8", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):  # the next one may fit
            return raw.decode(encoding)
    return raw.decode("cp437")


def _check(name: str, entry: zipfile.ZipInfo) -> None:
    parts = name.removesuffix("/").split("/")
    if len(parts) > MAX_DEPTH or not all(map(is_safe_name, parts)):
        raise Unusable(text("archive.name", name=_shown(name)))
    if entry.compress_type not in _KNOWN_METHODS:
        raise Unusable(text("archive.broken"))
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or entry.flag_bits & _ENCRYPTED:
        raise Unusable(text("archive.link", name=_shown(name)))


def _check_sizes(entries: Sequence[zipfile.ZipInfo]) -> None:
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    largest = max((entry.file_size for entry in entries), default=0)
    is_bomb = total > SMALL_BYTES and total > packed * MAX_RATIO
    if largest > MAX_ENTRY_BYTES or total > MAX_TOTAL_BYTES or is_bomb:
        raise Unusable(text("archive.too_big", limit=MAX_TOTAL_BYTES // 2**20))


def _check_collisions(paths: Mapping[PurePosixPath, object], names: Sequence[str]) -> None:
    """No two entries may be one file, and no file a folder, on any file system."""
    files = {folded(str(path)) for path in paths}
    folders = {folded(str(parent)) for path in paths for parent in path.parents}
    listed = [folded(name) for name in names if not set(name.split("/")) & set(_IGNORED)]
    if len(files) < len(listed) or files & folders:
        raise Unusable(text("archive.collision"))


def _write(zipped: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_program = (entry.external_attr >> 16) & stat.S_IXUSR
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(target, flags | getattr(os, "O_BINARY", 0), 0o700 if is_program else 0o600)
    with os.fdopen(descriptor, "wb") as file, zipped.open(entry) as packed:
        shutil.copyfileobj(packed, file, _PIECE_BYTES)  # never more than the entry's stated size


def _shown(name: str) -> str:
    return repr(name[:80])
