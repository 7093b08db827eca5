"""Files that only their owner may read, replaced whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""A link in the place of one of our files was put there by somebody else."""
_HAS_MODES = os.name == "posix"


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, mode 0600, so that a crash leaves the old file or the new one.

    Raises:
        OSError: the file is as it was.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW | getattr(os, "O_BINARY", 0)
    descriptor = os.open(draft, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the failure above is the one to report
            draft.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable. Windows has no such call and needs none."""
    if not _HAS_MODES:
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot; the file is written
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class UnsafeFileError(Exception):
    """A secret file that somebody else could have written, or that is not a file."""


def read_private(path: Path) -> tuple[bytes, bool]:
    """The content of a file of secrets, and whether its mode had to be repaired to 0600.

    Raises:
        UnsafeFileError: it is a link, not a regular file, or belongs to another user.
        OSError: it cannot be read; FileNotFoundError if there is none.
    """
    if path.is_symlink():
        raise UnsafeFileError(path)
    descriptor = os.open(path, os.O_RDONLY | NOFOLLOW | getattr(os, "O_NONBLOCK", 0))
    try:
        repaired = _HAS_MODES and _secure(descriptor, path)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(), repaired
    finally:
        os.close(descriptor)


def _secure(descriptor: int, path: Path) -> bool:
    status = os.fstat(descriptor)
    # In a container, root stands for whoever has the folder that the host lends it.
    if not stat.S_ISREG(status.st_mode) or os.getuid() not in (0, status.st_uid):
        raise UnsafeFileError(path)
    if not status.st_mode & 0o077:
        return False
    os.fchmod(descriptor, 0o600)
    return True
