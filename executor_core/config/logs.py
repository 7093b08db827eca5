"""The log: one line shape, one rotating file that only its owner reads, no secrets in it.

What rooms say is up to them; here is decided how it is written and what happens if it cannot be.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import time
from dataclasses import dataclass
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from textwrap import indent
from typing import Any, TextIO

from executor_core.config.errors import reason_of
from executor_core.config.files import NOFOLLOW
from executor_core.config.redaction import redact
from executor_core.unicode import visible

_SHAPE = "%(asctime)s - [%(room)s] - [in %(pathname)s:%(lineno)d] - %(levelname)s - %(message)s"
_TIME = "%Y-%m-%d %H:%M:%S"
_OURS = "executor"
_LOOK_EVERY_S = 5.0
_log = logging.getLogger(f"{_OURS}.config")
MAX_ENTRY = 16_000
"""Characters of one entry, traceback and all; of a longer one the middle is left out."""


class LineFormatter(logging.Formatter):
    """One record, one line, in local time; a traceback follows on its own lines. Redacted last, so
    that nothing gets past it: not an argument, not an exception, not a library's record."""

    def __init__(self) -> None:
        super().__init__(_SHAPE, _TIME)

    def formatMessage(self, record: logging.LogRecord) -> str:
        shown = logging.makeLogRecord(record.__dict__)
        shown.room = record.name.removeprefix(f"{_OURS}.")
        shown.message = visible(record.message.replace("\r", "\\r").replace("\n", "\\n"))
        return super().formatMessage(shown)

    def formatException(self, ei: Any) -> str:
        # Indented: what an error says must not look like an entry of its own.
        return indent(visible(super().formatException(ei)), "  ")

    def format(self, record: logging.LogRecord) -> str:
        return _shortened(redact(super().format(record)))


def _shortened(entry: str) -> str:
    if len(entry) <= MAX_ENTRY:
        return entry
    left_out = f" … {len(entry) - MAX_ENTRY} characters … "
    return entry[: MAX_ENTRY // 2] + left_out + entry[-MAX_ENTRY // 2 :]


class _Quiet:
    """A handler's manners when a record cannot be written: one line on stderr, then silence."""

    _complained = False

    def handleError(self, record: logging.LogRecord) -> None:
        if self._complained:
            return
        self._complained = True
        error = sys.exc_info()[1]
        reason = reason_of(error) if isinstance(error, OSError) else type(error).__name__
        _say(f"A log record of {record.pathname}:{record.lineno} was not written: {reason}")


class _StreamHandler(_Quiet, logging.StreamHandler[TextIO]):
    pass


class _FileHandler(_Quiet, RotatingFileHandler):
    """Rotates by size; the file is born 0600, and one from before is made so."""

    def _open(self) -> TextIOWrapper:
        name, mode = self.baseFilename, self.mode
        stream = open(name, mode, encoding="utf-8", errors="replace", opener=_own)  # noqa: SIM115
        assert isinstance(stream, TextIOWrapper)
        return stream

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            self._come_back()
        super().emit(record)

    _look_at = 0.0

    def _come_back(self) -> None:
        """Write where people look: a folder or a file that somebody removed is made again."""
        if self.stream is None or os.path.lexists(self.baseFilename):
            return
        try:
            Path(self.baseFilename).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stream = self._open()
        except OSError:
            return  # what is written meanwhile goes with the old file
        self.stream.close()
        self.stream = stream
        words = "%s was removed and is written anew; what stood in it is gone"
        _log.warning(words, self.baseFilename)

    def doRollover(self) -> None:
        try:
            super().doRollover()
        except OSError:
            # Windows renames no file that somebody reads: it grows until nobody does.
            if self.stream is None:
                self.stream = self._open()
        if self.backupCount == 0 and self.stream is not None:
            self.stream.truncate(0)  # the library would let the one file grow


def _own(path: str, flags: int) -> int:
    if not stat.S_ISCHR(os.stat(path).st_mode if os.path.exists(path) else 0):
        flags |= NOFOLLOW  # a link may lead to /dev/null, and to no file
    descriptor = os.open(path, flags, 0o600)
    if os.name == "posix":
        status = os.fstat(descriptor)
        # A log that is linked to a device (/dev/null) must not change the device.
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid():
            os.fchmod(descriptor, 0o600)
    return descriptor


@dataclass(frozen=True)
class LogFile:
    """Where and how much to log; at most `max_bytes` × (`backup_count` + 1) on disk."""

    folder: Path
    name: str = "executor.log"
    max_bytes: int = 10 * 1024 * 1024
    backup_count: int = 5

    @property
    def path(self) -> Path:
        """The file that is being written."""
        return self.folder / self.name


class Logs:
    """The handlers that `set_up_logging` added. `close` takes them away again."""

    def __init__(self, handlers: tuple[logging.Handler, ...], is_writing_file: bool) -> None:
        self._handlers = handlers
        self.is_writing_file = is_writing_file

    def close(self) -> None:
        """Flush and remove them. Repeating is harmless."""
        for handler in self._handlers:
            logging.getLogger().removeHandler(handler)
            with contextlib.suppress(OSError):  # a full disk: the file is closed all the same
                handler.close()
        self._handlers = ()
        logging.getLogger(_OURS).setLevel(logging.NOTSET)


def set_up_logging(file: LogFile, level: str = "INFO", stderr: TextIO | None = None) -> Logs:
    """Start logging to `file`, and to `stderr` where one is given (headless).

    Our rooms log from `level`, libraries from WARNING. If the file cannot be opened that is said
    once on stderr, and work goes on without it.
    """
    handlers: list[logging.Handler] = []
    if stderr is not None:
        handlers.append(_StreamHandler(stderr))
    try:
        file.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handlers.append(
            _FileHandler(file.path, maxBytes=file.max_bytes, backupCount=file.backup_count)
        )
        is_writing_file = True
    except OSError as error:
        _say(f"Failed to setup file logging: {file.path}: {reason_of(error)}", stderr)
        is_writing_file = False
    formatter = LineFormatter()
    for handler in handlers:
        handler.setFormatter(formatter)
        logging.getLogger().addHandler(handler)
    for library in ("", "socketio", "engineio", "aiohttp"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level)
    return Logs(tuple(handlers), is_writing_file)


def _say(sentence: str, stream: TextIO | None = None) -> None:
    out = stream or sys.stderr
    if out is None:  # a program without a console has none
        return
    try:
        out.write(redact(sentence) + "\n")
        out.flush()
    except (OSError, ValueError):
        return  # nobody is left to tell
