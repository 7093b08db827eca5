"""The JSON lines of `codex exec --json`: whole messages, and every event as Codex wrote it.

Facts of the wire are those of version 0.169.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from executor_core.agents.agent import FOR_MODEL, FOR_TOOL, Assignment, Wait
from executor_core.agents.codex_config import TITLE
from executor_core.agents.codex_failures import LOST_SESSIONS, clean, retry, turn_failure
from executor_core.agents.codex_items import Tools
from executor_core.agents.failures import failure
from executor_core.agents.loose_json import Json, as_dict, as_dicts, as_int, as_str
from executor_core.agents.tool_output import cut_output
from executor_core.model import (
    AgentEvent,
    AgentResult,
    RawEvent,
    ReasoningDelta,
    SessionStarted,
    TextDelta,
    Usage,
)
from executor_core.unicode import decode_json

_log = logging.getLogger("executor.agents")

MAX_RAW_BYTES = 64 * 1024
"""Of one event that is passed on. The strings of a larger one are cut, at worst its type stays."""
_CUT_TO = (8 * 1024, 512)

_ITEMS = {
    "command_execution": "commandExecution",
    "file_change": "fileChange",
    "mcp_tool_call": "mcpToolCall",
    "web_search": "webSearch",
    "collab_tool_call": "collabAgentToolCall",
}
"""What the app server calls them."""
_TRIES_AGAIN = "Reconnecting"
"""Another error is said again by the end of the turn."""
_FIELDS = {"aggregated_output": "aggregatedOutput", "exit_code": "exitCode"}


class CodexExecDialogue:
    """One turn: the prompt goes in whole, its input is closed, events come out.

    Each line is a RawEvent, followed by what it means.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._pending = _prompt(assignment)
        self._tools = Tools()
        self._final_text = ""

    def outgoing(self) -> bytes:
        """The prompt, once."""
        pending, self._pending = self._pending, b""
        return pending

    def interrupt(self) -> None:
        """It has no such word; the signals that follow end it."""

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        try:
            message = decode_json(line)
        except ValueError:
            _log.debug("Codex printed a line that is no event (%d bytes)", len(line))
            return
        if isinstance(message, dict):
            yield RawEvent(raw=_capped(message))
            yield from self._meaning(message)

    def waits(self) -> Wait:
        return FOR_TOOL if self._tools.are_awaited else FOR_MODEL

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        if any(sign in stderr for sign in LOST_SESSIONS):
            return AgentResult(
                error=failure("session_not_found", session_id=self._assignment.session_id)
            )
        words = clean(stderr, self._assignment.model)
        return AgentResult(
            error=failure("agent_ended_early", agent=TITLE, exit_code=exit_code, stderr=words)
        )

    def _meaning(self, message: Json) -> Iterator[AgentEvent]:
        item = _as_told_by_the_server(as_dict(message.get("item")))
        match message.get("type"):
            case "thread.started":
                yield SessionStarted(session_id=as_str(message.get("thread_id")))
            case "item.started":
                yield from self._tools.started(item)
            case "item.completed":
                yield from self._completed(item)
            case "error" if as_str(message.get("message")).startswith(_TRIES_AGAIN):
                yield retry(message, self._assignment.model)
            case "turn.completed":
                yield from self._tools.close()
                usage = self._usage(as_dict(message.get("usage")))
                yield AgentResult(final_text=self._final_text, usage=usage)
            case "turn.failed":
                yield from self._tools.close()
                error = turn_failure(as_dict(message.get("error")), self._assignment.model)
                yield AgentResult(error=error)

    def _completed(self, item: Json) -> Iterator[AgentEvent]:
        words = as_str(item.get("text"))
        if words:
            self._tools.model_speaks()
        match item.get("type"):
            case "agent_message" if words:
                # Two messages of one answer are paragraphs, not one run-on word.
                yield TextDelta(text="\n\n" + words if self._final_text else words)
                self._final_text = words
            case "reasoning" if words:
                yield ReasoningDelta(text=words)
            case _:
                yield from self._tools.finished(item)

    def _usage(self, counts: Json) -> Usage | None:
        if self._assignment.session_id:
            return None  # it counts from the first turn on, and what that was nobody says
        return Usage(
            input_tokens=as_int(counts.get("input_tokens")),
            output_tokens=as_int(counts.get("output_tokens")),
            cached_tokens=as_int(counts.get("cached_input_tokens")),
        )


def _prompt(assignment: Assignment) -> bytes:
    words = assignment.prompt
    if assignment.system_prompt and not assignment.session_id:
        # On a command line it would be visible to everyone here.
        words = f"{assignment.system_prompt}\n\n{words}"
    return words.encode()


def _as_told_by_the_server(item: Json) -> Json:
    """The item in the shape that the app server gives it."""
    kind = as_str(item.get("type"))
    found = {_FIELDS.get(name, name): value for name, value in item.items()}
    if kind == "file_change":
        found["changes"] = [
            {**change, "kind": {"type": change.get("kind")}}
            for change in as_dicts(item.get("changes"))
        ]
    return found | {"type": _ITEMS.get(kind, kind)}


def _capped(message: Json) -> Json:
    if len(msgspec.json.encode(message)) <= MAX_RAW_BYTES:
        return message
    for limit in _CUT_TO:
        shorter = as_dict(_cut(message, limit))
        if len(msgspec.json.encode(shorter)) <= MAX_RAW_BYTES:
            return shorter
    return {"type": message.get("type"), "truncated": True}


def _cut(value: object, limit: int) -> object:
    match value:
        case str():
            return cut_output(value, limit)
        case list():
            return [_cut(part, limit) for part in value]
        case dict():
            return {name: _cut(part, limit) for name, part in value.items()}
    return value
