"""Room on the disk that is kept for the ends of accepted runs, in the shape of a file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SIZE_BYTES = 8 * 2**20
"""Some hundred results of the usual length; one that needs more waits for room in memory."""
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CHUNK = bytes(2**20)


class Reserve:
    """The file `path`, which is full of nothing. It is there from the first run that is accepted.

    It survives a crash, so that the next start has room for the ends of the runs that it cut off.
    """

    def __init__(self, path: Path, size: int = SIZE_BYTES) -> None:
        self._path = path
        self._size = size

    def hold(self) -> None:
        """Take the room where it is not held yet. Raises OSError where the disk has too little."""
        if self._is_held():
            return
        flags = os.O_WRONLY | os.O_CREAT | _NOFOLLOW | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                _fill(descriptor, self._size)
            finally:
                os.close(descriptor)
        except OSError:
            self.release()  # a part of it would be missing elsewhere
            raise

    def release(self) -> bool:
        """Give the room back; whether there was any."""
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False

    def _is_held(self) -> bool:
        with contextlib.suppress(OSError):
            return self._path.lstat().st_size >= self._size
        return False


def _fill(descriptor: int, size: int) -> None:
    """Have the system set real blocks apart: a file that only claims its length keeps no room."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    written = 0
    while written < size:
        written += os.write(descriptor, _CHUNK[: size - written])
