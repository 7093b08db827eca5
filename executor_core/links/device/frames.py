"""What goes over the wire: named frames, measured, and cut where they would be too long."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Struct

from executor_core.texts import text

MAX_PACKET_BYTES = 900_000
"""Servers of every generation close the connection at 1,000,000."""
_PACKET_FRAME = len('42/local-executor,1234567890["",]')


class Frame(Struct, frozen=True):
    """One Socket.IO event with its one argument."""

    event: str
    data: dict[str, Any]


class Json:
    """The JSON module for the Socket.IO library: compact, not six bytes per Chinese sign."""

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        return encode(value).decode()

    @staticmethod
    def loads(raw: str | bytes, **_: object) -> Any:
        """Also what other JSON writers let through: halves of emoji, and NaN (read as null)."""
        try:
            return msgspec.json.decode(raw)
        except ValueError:
            return json.loads(encode(json.loads(raw, parse_constant=lambda _: None)))


def encode(value: object) -> bytes:
    """`value` as JSON; halves of emoji, which no wire can carry, become question marks."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        words = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return words.encode("utf-8", "replace")


def encoded_size(frame: Frame) -> int:
    """The bytes of `frame` as a packet."""
    return len(frame.event) + len(encode(frame.data)) + _PACKET_FRAME


def json_size(words: str) -> int:
    """The bytes of `words` inside a JSON document."""
    return len(encode(words))


def cut_text(words: str, max_bytes: int) -> str:
    """`words`, or its head and tail around a sentence, in at most `max_bytes` as JSON."""
    if json_size(words) <= max_bytes:
        return words
    sentence = "\n\n" + text("link.text_cut", characters=len(words)) + "\n\n"
    room = max(0, max_bytes - json_size(sentence))
    head = longest(words, room * 3 // 4)
    tail = longest(words, room - json_size(head), from_end=True)
    return head + sentence + tail


def longest(words: str, max_bytes: int, *, from_end: bool = False) -> str:
    """The longest head (or tail) of `words` that takes at most `max_bytes` as JSON."""
    low, high = 0, min(len(words), max(0, max_bytes))
    while low < high:
        middle = (low + high + 1) // 2
        part = words[-middle:] if from_end else words[:middle]
        low, high = (middle, high) if json_size(part) <= max_bytes else (low, middle - 1)
    return words[len(words) - low :] if from_end else words[:low]
