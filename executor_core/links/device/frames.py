"""What goes over the wire: named frames, measured, and cut where they would be too long.

And what both dialects say in the same way: tool calls, reasons of failure, progress of ours.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from executor_core.model import Outcome, ToolFinished, ToolStarted
from executor_core.texts import text

MAX_PACKET_BYTES = 900_000
"""Servers of every generation close the connection at 1,000,000."""
MAX_TOOL_BYTES = 32 * 1024
MAX_NAME = 200
PASSING = frozenset({"fetching", "git_cloning", "git_progress", "model_retry", "silent"})
"""Notices that mean nothing any more once the agent goes on. The others stay with the answer."""
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
    return packet_size(frame.event, encode(frame.data))


def packet_size(event: str, encoded: bytes) -> int:
    """The bytes of a packet whose argument is encoded already."""
    return len(event) + len(encoded) + _PACKET_FRAME


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


def call_id_of(event: ToolStarted | ToolFinished) -> str:
    """Servers lose a tool without an id."""
    return event.call_id[:MAX_NAME] or "call"


def short_input(tool_input: dict[str, Any]) -> dict[str, Any]:
    """The input of a tool, its long texts cut; empty where that is not enough."""
    if len(encode(tool_input)) <= MAX_TOOL_BYTES:
        return tool_input
    short = {
        key: cut_text(value, MAX_TOOL_BYTES // 4) if isinstance(value, str) else value
        for key, value in tool_input.items()
    }
    return short if len(encode(short)) <= 2 * MAX_TOOL_BYTES else {}


def failure_words(outcome: Outcome) -> str:
    """Why the run failed, as its requester reads it."""
    words = outcome.error.sentence if outcome.error else text("run.failed")
    return cut_text(words, 8_000)


class NoteBlock:
    """Progress of ours, shown while it lasts: one line in a block of its own.

    Servers before v1.7.12 pass over it.

    Pages draw a block of thoughts, and none that is empty: so it is emptied to take it away.
    """

    def __init__(self, subtask_id: int) -> None:
        self._subtask_id = subtask_id
        self._count = 0
        self._shown = ""
        self._words = ""
        self._at: datetime | None = None

    def say(self, words: str, at: datetime | None) -> None:
        """Show these words in place of the last ones; none take the block away."""
        self._words, self._at = words, at

    @property
    def is_news(self) -> bool:
        return self._words != self._shown

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """Events and their data for what the server has not heard yet."""
        if not self.is_news:
            return []
        is_new, self._shown = not self._shown, self._words
        self._count += is_new
        block_id = f"note_{self._subtask_id}_{self._count}"
        content = {"content": self._words, "status": "streaming" if self._words else "done"}
        if not is_new:
            return [("response.block.updated", {"block_id": block_id, "updates": content})]
        block: dict[str, Any] = {"id": block_id, "type": "thinking", **content}
        if self._at is not None:
            block["timestamp"] = int(self._at.timestamp() * 1000)
        return [("response.block.created", {"block": block})]
