"""Cuts a stream of bytes into lines of bounded length; decoding is left to the reader."""

from __future__ import annotations


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
