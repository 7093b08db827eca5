"""What both dialects say in the same way: names of tool calls, their inputs, reasons of failure."""

from __future__ import annotations

from typing import Any

from executor_core.links.device.frames import cut_text, encode
from executor_core.model import Outcome, ToolFinished, ToolStarted
from executor_core.texts import text

_Json = dict[str, Any]

MAX_TOOL_BYTES = 32 * 1024
MAX_NAME = 200


def call_id_of(event: ToolStarted | ToolFinished) -> str:
    """Servers lose a tool without an id."""
    return event.call_id[:MAX_NAME] or "call"


def short_input(tool_input: _Json) -> _Json:
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
