"""Small files of the home that we alone write: each is kept twice, and mends itself."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from executor_core.aside import set_aside
from executor_core.config.files import UnsafeFileError, read_private, write_private

_log = logging.getLogger("executor.config")
_T = TypeVar("_T")

_UNUSABLE = (UnsafeFileError, PermissionError, IsADirectoryError, msgspec.MsgspecError, ValueError)
"""What does not pass by itself. Anything else, as too many open files, says nothing of the file."""


class Kept(Generic[_T]):
    """The file `path` and its copy `.NAME.copy`. Calls block shortly.

    A file that is damaged, or no plain file of this user, is set aside and comes back from the
    copy. One that is gone was taken away by somebody: then the copy does not count either.
    """

    def __init__(
        self,
        path: Path,
        decode: Callable[[bytes], _T],
        encode: Callable[[_T], bytes],
        *,
        is_copied: bool = True,
    ) -> None:
        """`decode` raises ValueError or a MsgspecError for what is not ours.

        What can be made anew, and is a secret, need not be copied.
        """
        self.path = path
        self._copy = path.with_name(f".{path.name}.copy")
        self._decode = decode
        self._encode = encode
        self._is_copied = is_copied
        self._known: tuple[tuple[int, int, int], _T] | None = None

    def read(self) -> _T | None:
        """What is kept; None where there is nothing, or nothing that can be used.

        Raises:
            OSError: it cannot be read now.
        """
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return None
        state = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._known is not None and self._known[0] == state:
            return self._known[1]
        try:
            raw, value = self._usable(self.path)
        except FileNotFoundError:
            return None
        except _UNUSABLE as error:
            return self._mended(error)
        self._known = state, value
        self._copy_out(raw)
        return value

    def write(self, value: _T) -> None:
        """Keep `value`. Raises OSError; nothing has changed then."""
        raw = self._encode(value)
        write_private(self.path, raw)
        self._copy_out(raw)

    def remove(self) -> None:
        """Keep nothing. Raises OSError."""
        self.path.unlink(missing_ok=True)
        self._copy.unlink(missing_ok=True)

    def problem(self) -> str | None:
        """Why the file cannot be used, in the words of its reader; None where it can or is not."""
        try:
            self._usable(self.path)
        except FileNotFoundError:
            return None
        except UnsafeFileError:
            return "not a plain file of this user"
        except (OSError, *_UNUSABLE) as error:
            return getattr(error, "strerror", None) or str(error)
        return None

    def _usable(self, path: Path) -> tuple[bytes, _T]:
        raw, _ = read_private(path)
        return raw, self._decode(raw)

    def _mended(self, error: Exception) -> _T | None:
        raw, value = None, None
        with contextlib.suppress(OSError, *_UNUSABLE):
            raw, value = self._usable(self._copy)
        what = "its copy is used" if raw is not None else "there is nothing to put in its place"
        try:
            aside = set_aside(self.path)
            if raw is not None:
                write_private(self.path, raw)
            _log.error("%s was damaged (%s) and is now %s; %s", self.path, error, aside, what)
        except OSError as trouble:
            _log.error("%s is damaged (%s) and stays (%s); %s", self.path, error, trouble, what)
        return value

    def _copy_out(self, raw: bytes) -> None:
        if not self._is_copied:
            return
        # A convenience: without it a damage costs what the file said, and nothing else.
        with contextlib.suppress(OSError, UnsafeFileError):
            with contextlib.suppress(FileNotFoundError):
                if read_private(self._copy)[0] == raw:
                    return
            write_private(self._copy, raw)


def kept_json(path: Path, kind: type[_T], *, is_copied: bool = True) -> Kept[_T]:
    """A `Kept` of JSON that has this shape; fields of a newer version are passed over."""

    def encode(value: Any) -> bytes:
        return msgspec.json.format(msgspec.json.encode(value), indent=2)

    return Kept(path, msgspec.json.Decoder(kind).decode, encode, is_copied=is_copied)
