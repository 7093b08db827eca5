"""What lies at a path of a repository: read and written without following a link."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

LINK, PROGRAM, PLAIN = "120000", "100755", "100644"
"""What git calls the kinds of files."""
_PIECE_BYTES = 2**20


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
