"""The event stream of one run as a file, `<home>/runs/<run_id>/events.jsonl`.

Written line by line as events happen, so that a kill -9 of the executor loses none; read again by
everyone who follows the run, so that no reader needs a queue in memory and a slow one holds up
nobody. The file is bounded: past the bound only short events are kept, and the run goes on.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec
from msgspec.structs import replace

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Notice,
    RunEnded,
    RunStarted,
    SessionStarted,
)
from executor_core.unicode import encodable

_log = logging.getLogger("executor.journal")
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AgentEvent)

MAX_FILE_BYTES = 64 * 2**20
"""Past this only the events below are written: they decide how the run ends."""
_ALWAYS_KEPT = (AgentResult, RunEnded, SessionStarted, Notice)
_LAST_WORDS = (b'{"kind":"result"', b'{"kind":"run_ended"')
"""How the lines begin that say that the agent was done."""
_READ_BYTES = 64 * 1024
_BEFORE_THE_START = 1000
"""A run's first event is its start, but for what was said about its folder."""


class EventLog:
    """The writing end: numbers, stamps and appends the events of one run."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seq = 0
        self._size = 0
        self._file: int | None = None
        self._grown = asyncio.Event()
        self.is_closed = False

    def open(self) -> None:
        """Create the file, readable by its owner alone. Where that fails there is no history."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            self._file = os.open(self._path, flags, 0o600)
        except OSError as error:
            _log.error("a run has no event file: %s", error)

    def append(self, event: AgentEvent) -> AgentEvent:
        """Number and stamp `event`, write it, wake the readers; returns it as written."""
        self._seq += 1
        event = replace(event, seq=self._seq, at=self._clock.now())
        if self._size < MAX_FILE_BYTES or isinstance(event, _ALWAYS_KEPT):
            try:
                line = _encoder.encode(event)
            except UnicodeEncodeError:  # only from who does not mend what comes in
                event = encodable(event)
                line = _encoder.encode(event)
            self._write(line + b"\n")
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
        return event

    def _write(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            written = os.write(self._file, line)
            self._size += written
            if written < len(line):
                # The next line would stand behind this torn one, and both would be lost.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            # The run matters more than its history: it goes on, and its outcome is still recorded.
            _log.error("the event file of a run cannot be written any more: %s", error)
            self._release()

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def close(self) -> None:
        """No more events; readers end after the last one."""
        self.is_closed = True
        self._release()
        self._grown.set()

    def growth(self) -> asyncio.Event:
        """An event that is set by the next append, or by the close. Take it before reading."""
        return self._grown


async def follow(path: Path, after: int, log: EventLog | None) -> AsyncIterator[AgentEvent]:
    """The events with `seq > after`: those on file, then, while `log` is open, those to come."""
    reader = _Reader(path)
    while True:
        # Both are asked before the reading: what comes meanwhile is seen in the next round.
        grown = None if log is None or log.is_closed else log.growth()
        while lines := reader.read():
            for event in _decode(lines):
                if event.seq > after:
                    yield event
            await asyncio.sleep(0)  # a long history must not keep the loop from others
        if grown is None:
            return
        await grown.wait()


class _Reader:
    """Whole lines of a file that grows, and that may not exist yet.

    It is open only while it is read: hundreds may follow a run, and files are few.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[bytes]:
        """The next lines, some 64 KiB of them; none at the end of what there is."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                lines = file.readlines(_READ_BYTES)
        except OSError:
            return []
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()  # still being written
        self._offset += sum(map(len, lines))
        return lines


def read_events(path: Path) -> list[AgentEvent]:
    """All events of a run that is over; a torn last line and a lost file count as nothing."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    return list(_decode(lines))


def started_in(path: Path) -> str | None:
    """The folder that the agent was started in; None where the file does not tell."""
    try:
        with path.open("rb") as file:
            events = _decode(islice(file, _BEFORE_THE_START))
            return next((e.folder for e in events if isinstance(e, RunStarted)), None)
    except OSError:
        return None


def _decode(lines: Iterable[bytes]) -> Iterator[AgentEvent]:
    for line in lines:
        try:
            yield _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # Torn by a crash or a full disk; what is whole still counts.
            _log.warning("an event on file could not be read and was left out")
            if line.startswith(_LAST_WORDS):
                # How the run ended is lost, but not that it did. Without a number it is for the
                # recovery alone: followers are told the outcome that was recorded.
                yield AgentResult(error=ExecutorError("record_unreadable").message)
