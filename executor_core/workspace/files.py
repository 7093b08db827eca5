"""Names, files and folders of others: read, written and deleted without following a link."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from msgspec import Struct

LINK, PROGRAM, PLAIN = "120000", "100755", "100644"
"""What git calls the kinds of files."""
_PIECE_BYTES = 2**20
MAX_READ_BYTES = 64 * 2**20


class NotUnderstood(Exception):
    """Something is not as git makes it, or more than we look at."""


class Entry(Struct, frozen=True):
    """A file as git names it: its kind, and the name of its bytes as they are on the disk."""

    mode: str
    object: str


class Found(Struct, frozen=True):
    """`entry` is None where no file is: `is_folder`, or `is_beyond` a link or another file."""

    entry: Entry | None = None
    is_folder: bool = False
    is_beyond: bool = False


def above(path: str) -> Iterator[str]:
    """The folders that `path` lies in, from the top, as git writes them but for the last slash."""
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


class Files:
    """The files below `top`. Every path is relative, with slashes. All of it blocks."""

    def __init__(self, top: Path, algorithm: str = "sha1") -> None:
        """`algorithm` is the one of the repository's names: `sha1` or `sha256`."""
        self._top = top
        self._algorithm = algorithm
        self._folders: dict[str, bool] = {"": True}

    def is_beyond(self, path: str) -> bool:
        """Whether a folder on the way to `path` is a link, or none. Believes what it saw before."""
        for folder in above(path):
            if folder not in self._folders:
                try:
                    status = (self._top / folder).lstat()
                except FileNotFoundError:
                    return False  # nor is anything else there
                except OSError:
                    return True
                # Windows has a second kind of link, which is a folder to everybody else.
                is_folder = stat.S_ISDIR(status.st_mode) and not _is_junction(status)
                self._folders[folder] = is_folder
            if not self._folders[folder]:
                return True
        return False

    def at(self, path: str) -> Found:
        """What is there now. Raises OSError for what cannot be read."""
        place = self._top / path
        if self.is_beyond(path):
            return Found(is_beyond=True)
        try:
            status = place.lstat()
        except FileNotFoundError:
            return Found()
        if stat.S_ISDIR(status.st_mode):
            return Found(is_folder=True)
        if stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(place))
            return Found(Entry(LINK, self._name(len(target), iter((target,)))))
        if not stat.S_ISREG(status.st_mode):
            return Found(Entry("", ""))  # a pipe or the like: equal to nothing
        mode = PROGRAM if status.st_mode & 0o100 else PLAIN
        with place.open("rb") as file:
            pieces = iter(lambda: file.read(_PIECE_BYTES), b"")
            return Found(Entry(mode, self._name(status.st_size, pieces)))

    def _name(self, size: int, pieces: Iterator[bytes]) -> str:
        digest = hashlib.new(self._algorithm, b"blob %d\0" % size, usedforsecurity=False)
        for piece in pieces:
            digest.update(piece)
        return digest.hexdigest()

    def below(self, path: str) -> Iterator[str]:
        """Every file in a folder, also links."""
        for place, folders, names in os.walk(self._top / path):
            links = [name for name in folders if os.path.islink(os.path.join(place, name))]
            for name in (*names, *links):
                yield os.path.relpath(os.path.join(place, name), self._top).replace(os.sep, "/")

    def remove(self, path: str) -> None:
        """Delete a file, and the folders that it leaves empty. Raises OSError."""
        if Files(self._top).is_beyond(path):
            return
        with contextlib.suppress(FileNotFoundError):
            (self._top / path).unlink()
        for folder in reversed(list(above(path))):
            try:
                (self._top / folder).rmdir()
            except OSError:
                return  # something else is in it

    def put(self, path: str, source: Path, mode: str) -> None:
        """Make the file at `path` one like `source`, in one step. Raises OSError."""
        place = self._top / path
        if Files(self._top).is_beyond(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place.parent))
        place.parent.mkdir(parents=True, exist_ok=True)
        made = place.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            if source.is_symlink():
                made.symlink_to(os.readlink(source))
            else:
                made.write_bytes(source.read_bytes())
                made.chmod(_permissions(place, source, mode))
            made.replace(place)
        finally:
            with contextlib.suppress(FileNotFoundError):  # in place by now
                made.unlink()


def _permissions(place: Path, source: Path, mode: str) -> int:
    """Those of the file that is there, or what the system gives to new ones; git knows one bit."""
    try:
        status = place.lstat()
        is_file = stat.S_ISREG(status.st_mode)
    except OSError:
        is_file = False
    bits = stat.S_IMODE(status.st_mode if is_file else source.stat().st_mode) & ~0o111
    return bits | ((bits & 0o444) >> 2 if mode == PROGRAM else 0)


def _is_junction(status: os.stat_result) -> bool:
    point = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0)
    return bool(getattr(status, "st_file_attributes", 0) & point)


def read_plain(path: Path, most: int = MAX_READ_BYTES) -> bytes:
    """The bytes of an ordinary file; nothing is waited for, no link is followed.

    Raises OSError, and NotUnderstood for anything else and for more than `most` bytes.
    """
    # O_NONBLOCK: opening a pipe would otherwise wait for its writer. Windows has neither.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink():
        raise NotUnderstood
    with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotUnderstood
        data = file.read(most + 1)
    if len(data) > most:
        raise NotUnderstood
    return data


def new_file(path: Path, mode: int = 0o600) -> BinaryIO:
    """A file that was not there, for its owner alone. Blocks; raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags | getattr(os, "O_BINARY", 0), mode), "wb")


# --- deleting -------------------------------------------------------------------------------------


def remove_tree(folder: Path) -> None:
    """Delete `folder` with all in it, also what is write-protected. Links are not followed.

    Raises OSError when something cannot be deleted, or if `folder` is itself a link.
    """
    if folder.is_symlink():
        raise NotADirectoryError(f"{folder} is a link")
    _unprotect(str(folder))
    for place, folders, files in os.walk(folder):
        # Folders keep what is in them when they are read-only; on Windows files do so themselves.
        for name in (*folders, *(files if os.name == "nt" else ())):
            _unprotect(os.path.join(place, name))
    try:
        shutil.rmtree(folder)
    except RecursionError as error:
        raise OSError(f"{folder} is nested too deeply") from error


def _unprotect(path: str) -> None:
    if not os.path.islink(path):
        os.chmod(path, stat.S_IRWXU)


# --- names ----------------------------------------------------------------------------------------

MAX_NAME = 120
"""Characters; every one of them may be four bytes, and file systems take 255 or 510."""
_MAX_BYTES = 240

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]')
DEVICE_NAME = re.compile(
    r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)\s*(\..*)?", re.I
)
"""What Windows takes for a device, whatever follows the dot."""


def is_safe_name(name: str) -> bool:
    """Whether a file or folder may be called so on every system."""
    return (
        unicodedata.normalize("NFC", name) == _tidy(name)
        and name.lower() not in ("", ".", "..", ".git")
        and not DEVICE_NAME.fullmatch(name)
        and len(name) <= MAX_NAME
        and len(name.encode()) <= _MAX_BYTES
        and name.isprintable()
    )


def safe_file_name(raw: str, fallback: str) -> str:
    """The last part of `raw` as a name that is safe; `fallback` where nothing of it is left."""
    name = _tidy(re.split(r"[/\\]", raw)[-1]).lstrip(".")
    name = "".join(character if character.isprintable() else "_" for character in name)
    suffix = PurePosixPath(name).suffix
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    stem = name.removesuffix(suffix)[: MAX_NAME - len(suffix)]
    while len((stem + suffix).encode()) > _MAX_BYTES:
        stem = stem[:-1]
    name = _tidy(stem + suffix)
    if DEVICE_NAME.fullmatch(name):
        name = f"_{name}"
    return name if is_safe_name(name) else fallback


def listed(names: Sequence[str]) -> str:
    """The first five of them, for a sentence."""
    more = [" …"] if len(names) > 5 else []
    return ", ".join([*names[:5], *more])


def folded(name: str) -> str:
    """Equal for two names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _tidy(name: str) -> str:
    written = name.encode("utf-8", "replace").decode()
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", written))
    return name.strip(" ").rstrip(". ")
