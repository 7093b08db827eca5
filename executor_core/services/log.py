"""The log as entries: the last ones across rotations, and new ones as they are written.

Secrets were taken out when the log was written; nothing is taken out here.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.services.interface import LogLine

LOOK_EVERY_S = 0.3
MAX_TEXT = 64 * 1024
"""Characters of an entry, and bytes of a line; the rest of it is left out."""
MAX_READ_BYTES = 32 * 2**20
"""So much of a file is looked at for the last entries, however many were asked for."""
_CHUNK_BYTES = 256 * 1024
_FIRST_SPAN_BYTES = 64 * 1024

_ENTRY = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) - \[([^\]]*)\] - \[in (.*?:\d+)\] - ([A-Z]+) - (.*)",
    re.DOTALL,
)
_BEGINNING = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - \[", re.MULTILINE)


def written(line: LogLine) -> str:
    """The entry as it stands in the file; it may have several lines."""
    if not line.at:
        return line.text
    return f"{line.at} - [{line.logger}] - [in {line.place}] - {line.level} - {line.text}"


class LogFiles:
    """Implements LogService for `path` and its rotations `path.1`, `path.2`, …

    A line that belongs to no entry, as at the top of a foreign file, is one by itself, without time
    and level.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    @property
    def path(self) -> Path:
        return self._path

    async def lines(self, last: int, *, follow: bool = False) -> AsyncGenerator[LogLine, None]:
        """See LogService. Raises ExecutorError("no_log") where there is none.

        With `follow` an entry comes when the next one begins, or nothing was added for a while.
        """
        # Opened here, so that a reader who leaves while a thread looks back still closes it.
        try:
            file = self._path.open("rb")
        except OSError as error:
            raise ExecutorError("no_log", path=self._path) from error
        entries = _Entries()
        growing = _Growing(self._path, file)
        try:
            found = await asyncio.to_thread(_look_back, file, self._path, last)
            ended = _last(entries, found, last, is_end=not follow)
            for line in await asyncio.to_thread(list, ended):
                yield line
            while follow:
                if data := await asyncio.to_thread(growing.read):
                    for line in entries.of(data):
                        yield line
                    continue
                for line in entries.pending():
                    yield line
                await self._clock.sleep(LOOK_EVERY_S)
        finally:
            growing.close()


def _last(
    entries: _Entries, found: Iterable[bytes], last: int, *, is_end: bool
) -> Iterator[LogLine]:
    kept: deque[LogLine] = deque(maxlen=last)
    for part in found:
        kept.extend(entries.of(part))
    if is_end and entries.is_within_line:
        kept.extend(entries.of(b"\n"))
    kept.extend(entries.pending())
    yield from kept


class _Entries:
    """Bytes to entries. Holds back a line that is not finished, and an entry that may go on."""

    def __init__(self) -> None:
        self._rest = b""
        self._entry: LogLine | None = None
        self._more: list[str] = []
        self._length = 0

    @property
    def is_within_line(self) -> bool:
        """Whether a line was begun that is not finished."""
        return bool(self._rest)

    def of(self, data: bytes) -> Iterator[LogLine]:
        """The entries that `data` completes."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:MAX_TEXT]
        for line in lines:
            yield from self._add(line[:MAX_TEXT].decode("utf-8", "replace").rstrip("\r"))

    def pending(self) -> Iterator[LogLine]:
        """What was held back, once nothing more is expected of it."""
        if self._entry is not None:
            yield self._finished(self._entry)
            self._entry = None

    def _add(self, line: str) -> Iterator[LogLine]:
        match = _ENTRY.fullmatch(line)
        if match is not None:
            yield from self.pending()
            at, logger, place, level, words = match.groups()
            self._entry = LogLine(at=at, level=level, logger=logger, text=words, place=place)
            self._more, self._length = [], len(words)
        elif self._entry is None:
            yield LogLine(at="", level="", logger="", text=line)
        elif self._length < MAX_TEXT:
            self._more.append(line[: MAX_TEXT - self._length])
            self._length += len(line) + 1

    def _finished(self, entry: LogLine) -> LogLine:
        text = "\n".join((entry.text, *self._more))
        return LogLine(
            at=entry.at, level=entry.level, logger=entry.logger, text=text, place=entry.place
        )


class _Growing:
    """The newest file, over rotations and truncations. Blocks for the length of a read."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file

    def read(self) -> bytes:
        """What was added, a chunk at a time; nothing if nothing was."""
        # Asked for before reading: what was written up to a rotation is in the old file.
        is_rotated = self._is_rotated()
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
        data = self._file.read(_CHUNK_BYTES)
        if data or not is_rotated:
            return data
        try:
            fresh = self._path.open("rb")
        except OSError:  # between the two steps of a rotation
            return b""
        self._file.close()
        self._file = fresh
        return self._file.read(_CHUNK_BYTES)

    def close(self) -> None:
        self._file.close()

    def _is_rotated(self) -> bool:
        try:
            return not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except OSError:
            return True


def _look_back(file: BinaryIO, path: Path, last: int) -> list[bytes]:
    """What holds the last entries, oldest first; the newest file is then read to its end."""
    data, beginnings = _end_of(file, last)
    parts, seen = [data], {os.fstat(file.fileno()).st_ino}
    for number in count(1):
        if beginnings >= last:
            break
        try:
            with path.with_name(f"{path.name}.{number}").open("rb") as older:
                if os.fstat(older.fileno()).st_ino in seen:
                    continue  # rotated while we looked
                data, more = _end_of(older, last - beginnings)
        except OSError:
            break
        parts.insert(0, data)
        beginnings += more
    return parts


def _end_of(file: BinaryIO, wanted: int) -> tuple[bytes, int]:
    """The end of a file that holds `wanted` entries, or all that may be read; how many it holds."""
    size = os.fstat(file.fileno()).st_size
    span = _FIRST_SPAN_BYTES
    while True:
        start = max(0, size - span)
        file.seek(start)
        data = file.read(size - start)
        if start:
            data = data.partition(b"\n")[2]
        found = len(_BEGINNING.findall(data))
        if found >= wanted or start == 0 or span >= MAX_READ_BYTES:
            return data, found
        span = min(4 * span, MAX_READ_BYTES)
