"""The end of what a program wrote for people to read: bounded, and plain text."""

from __future__ import annotations

import re

MAX_BYTES = 64 * 1024
MAX_LINES = 200

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
        self._kept += data[-MAX_BYTES:]
        surplus = len(self._kept) - MAX_BYTES
        if surplus > 0 or len(data) > MAX_BYTES:
            del self._kept[: max(surplus, 0)]
            self._is_cut = True

    @property
    def text(self) -> str:
        """The last 200 lines without terminal codes and NULs; what is no UTF-8 shows as U+FFFD."""
        kept = bytes(self._kept)
        if self._is_cut and b"\n" in kept:
            kept = kept.split(b"\n", 1)[1]  # the first line lacks its beginning
        plain = _TERMINAL_CODES.sub("", kept.decode("utf-8", "replace")).replace("\0", "")
        return "\n".join(plain.splitlines()[-MAX_LINES:])
