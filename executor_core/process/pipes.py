"""Drains both output pipes of a child at once; holds a bounded part of stdout for one reader."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import cast

MAX_LINE = 16 * 1024 * 1024
_MAX_STDERR_LINE = 64 * 1024
_BUFFER = 1024 * 1024
_PIPE_CAPACITY = 1024 * 1024  # the most that a pipe holds on any of our systems
_BATCH_LINES, _BATCH_WEIGHT = 200, 64 * 1024
_LINE_OVERHEAD = 64  # so that a million empty lines also weigh something
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class Pipes(asyncio.SubprocessProtocol):
    """The three pipes of one process.

    At the bound of the stdout buffer the pipe is no longer read, which makes the child wait.
    stderr is always read; its tail is kept, and `on_stderr` is called with each of its lines.
    """

    def __init__(self, on_stderr: Callable[[bytes], None] | None = None) -> None:
        self.exited = asyncio.Event()
        self.drained = asyncio.Event()
        self.closed = asyncio.Event()
        self.tail = Tail()
        self._assembler = LineAssembler(MAX_LINE)
        self._on_stderr = on_stderr
        self._stderr_assembler = LineAssembler(_MAX_STDERR_LINE)
        self._lines: deque[bytes] = deque()
        self._weight = 0
        self._limit = _BUFFER
        self._is_reading = True
        self._open = {_STDIN, _STDOUT, _STDERR}
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.SubprocessTransport | None = None

    # --- what the reader and writer use ---

    @property
    def skipped_lines(self) -> int:
        """How many lines of stdout were too long to keep."""
        return self._assembler.skipped

    async def batches(self, most: int = _BATCH_LINES) -> AsyncIterator[list[bytes]]:
        """The lines of stdout, as many as are there up to `most` or some 64 KiB. For one reader.

        Ends when stdout is closed and all of them were taken.
        """
        while True:
            while self._lines:
                yield self._take(most)
            if _STDOUT not in self._open:
                return
            self._news.clear()
            await self._news.wait()

    async def write(self, data: bytes) -> bool:
        """Write to stdin and wait until it is nearly out. False if the child no longer reads."""
        stdin = self._stdin()
        if stdin is None or stdin.is_closing():
            return False
        stdin.write(data)
        await self._writable.wait()
        return not stdin.is_closing()

    def close_stdin(self) -> None:
        """Let the child see the end of its input, behind what was written."""
        if (stdin := self._stdin()) is not None:
            stdin.close()

    def abandon(self) -> None:
        """Close all pipes now: whoever still holds the other ends is not waited for."""
        if _STDIN in self._open and (stdin := self._stdin()) is not None:
            stdin.abort()
        for fd in (_STDOUT, _STDERR):
            if self._transport and (pipe := self._transport.get_pipe_transport(fd)) is not None:
                pipe.close()

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == _STDERR:
            self.tail.feed(data)
            if self._on_stderr is not None:
                for line in self._stderr_assembler.feed(data):
                    self._on_stderr(line)
        else:
            self._put(self._assembler.feed(data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if fd == _STDIN:
            self._writable.set()
        elif fd == _STDOUT:
            self._put(self._assembler.finish())
            self._news.set()
        if not self._open & {_STDOUT, _STDERR}:
            self.drained.set()

    def process_exited(self) -> None:
        # What the process itself wrote is at most one pipe full. With room for that, a slow reader
        # loses nothing of it, however long a grandchild keeps the pipe open.
        self._limit = self._weight + _PIPE_CAPACITY + _BUFFER
        self._set_reading(True)
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        self.closed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # --- the buffer ---

    def _put(self, lines: list[bytes]) -> None:
        if not lines:
            return
        self._lines.extend(lines)
        self._weight += sum(map(len, lines)) + _LINE_OVERHEAD * len(lines)
        self._news.set()
        if self._weight > self._limit:
            self._set_reading(False)

    def _take(self, most: int) -> list[bytes]:
        lines, weight = list[bytes](), 0
        while self._lines and len(lines) < most and weight < _BATCH_WEIGHT:
            lines.append(self._lines.popleft())
            weight += len(lines[-1]) + _LINE_OVERHEAD
        self._weight -= weight
        if self._weight <= self._limit // 2:
            self._set_reading(True)
        return lines

    def _set_reading(self, wanted: bool) -> None:
        if wanted is self._is_reading:
            return
        pipe = self._transport.get_pipe_transport(_STDOUT) if self._transport else None
        if isinstance(pipe, asyncio.ReadTransport) and not pipe.is_closing():
            # Noted here, because pipes cannot tell it themselves before Python 3.11.4.
            self._is_reading = wanted
            if wanted:
                pipe.resume_reading()
            else:
                pipe.pause_reading()

    def _stdin(self) -> asyncio.WriteTransport | None:
        pipe = self._transport.get_pipe_transport(_STDIN) if self._transport else None
        return pipe if isinstance(pipe, asyncio.WriteTransport) else None


# --- lines --------------------------------------------------------------------------------------


class LineAssembler:
    """Collects chunks and returns whole lines, without their newline.

    A line longer than `max_line` bytes is dropped up to its newline and counted in `skipped`; an
    empty one stands in its place, so that the reader sees when it came.
    Splitting at the byte `\\n` never cuts a UTF-8 character.
    """

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._partial = bytearray()
        self._skipping = False
        self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes."""
        first, *others = data.split(b"\n")
        self._extend(first)
        if not others:
            return []
        lines = self._complete()
        *whole, last = others
        for line in whole:
            if len(line) <= self._max_line:
                lines.append(line)
            else:
                self.skipped += 1
                lines.append(b"")
        self._extend(last)
        return lines

    def finish(self) -> list[bytes]:
        """The last line, if the stream ended without a newline behind it."""
        return self._complete() if self._partial or self._skipping else []

    def _extend(self, piece: bytes) -> None:
        if self._skipping:
            return
        if len(self._partial) + len(piece) > self._max_line:
            self._skipping = True
            self._partial = bytearray()
        else:
            self._partial += piece

    def _complete(self) -> list[bytes]:
        if self._skipping:
            self._skipping = False
            self.skipped += 1
            return [b""]
        line = bytes(self._partial)
        self._partial = bytearray()
        return [line]


# --- the end of stderr --------------------------------------------------------------------------

TAIL_BYTES = 64 * 1024
TAIL_LINES = 200

_TERMINAL_CODES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[@-Z\\-_]"
)


class Tail:
    """Keeps the last 64 KiB of a stream."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._is_cut = False

    def feed(self, data: bytes) -> None:
        """Append `data` and forget what is too far back."""
        self._kept += data[-TAIL_BYTES:]
        surplus = len(self._kept) - TAIL_BYTES
        if surplus > 0 or len(data) > TAIL_BYTES:
            del self._kept[: max(surplus, 0)]
            self._is_cut = True

    @property
    def text(self) -> str:
        """The last 200 lines without terminal codes and NULs; what is no UTF-8 shows as U+FFFD."""
        kept = bytes(self._kept)
        if self._is_cut and b"\n" in kept:
            kept = kept.split(b"\n", 1)[1]  # the first line lacks its beginning
        plain = _TERMINAL_CODES.sub("", kept.decode("utf-8", "replace")).replace("\0", "")
        return "\n".join(plain.splitlines()[-TAIL_LINES:])
