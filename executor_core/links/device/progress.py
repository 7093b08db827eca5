"""Dialect P ("progress", servers up to v1.4): the whole state each time, so it is sent seldom.

`now` is a monotonic time in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from executor_core.links.device.frames import (
    MAX_NAME,
    MAX_PACKET_BYTES,
    MAX_TOOL_BYTES,
    PASSING,
    Frame,
    call_id_of,
    cut_text,
    encode,
    encoded_size,
    failure_words,
    json_size,
    longest,
    short_input,
)
from executor_core.model import (
    AgentEvent,
    Notice,
    Outcome,
    RunState,
    TextDelta,
    ToolFinished,
    ToolStarted,
)

_Json = dict[str, Any]

SHORTEST_PAUSE_S = 0.3
LONGEST_PAUSE_S = 2.0
_FREE_BYTES = 10_000
_SENT_AGAIN = 2.5
"""How often a byte of the whole may be sent before the end without making the pauses longer."""
MAX_VALUE_BYTES = 600_000
MAX_THINKING_BYTES = 200_000
MAX_STEPS = 400


class ProgressEncoder:
    """The whole text and all steps each time, so the pauses grow with what was sent already."""

    def __init__(self, reply_to: _Json) -> None:
        self._reply_to = reply_to
        self._value: list[str] = []
        self._value_bytes = 0
        self._steps: list[_Json] = []
        self._steps_bytes = 0
        self._note = ""
        self._is_dirty = False
        self._sent_at: float | None = None
        self._sent_bytes = 0
        self._open_calls: set[str] = set()

    @property
    def steps(self) -> list[_Json]:
        return list(self._steps)

    def begin(self) -> None:
        self._is_dirty = True

    def resume(self) -> None:
        # The server took the loss of the link for a failure of the run.
        self.begin()

    def note(self, words: str, at: datetime | None = None) -> None:
        if words != self._note:
            self._note = words
            self._is_dirty = True

    def absorb(self, event: AgentEvent, *, is_heard: bool = True) -> None:
        match event:
            case TextDelta(text=words):
                self._add_text(words)
            case Notice(code=code, text=words) if code in PASSING:
                self.note(words)
            case Notice(text=words):
                self._add_step(words, None)
            case ToolStarted():
                self._open_calls.add(event.call_id)
                use: _Json = {"type": "tool_use", "id": call_id_of(event)}
                use |= {"name": event.name[:MAX_NAME], "input": short_input(event.input)}
                self._add_step("thinking.assistant_message_received", _message("assistant", use))
            case ToolFinished() if event.call_id in self._open_calls:
                self._open_calls.discard(event.call_id)
                result = {
                    "type": "tool_result",
                    "tool_use_id": call_id_of(event),
                    "content": cut_text(event.output, MAX_TOOL_BYTES // 4),
                    "is_error": event.is_error,
                }
                self._add_step("thinking.user_message_received", _message("user", result))

    def due_at(self) -> float | None:
        if not self._is_dirty:
            return None
        if self._sent_at is None:
            return 0.0
        whole_bytes = self._value_bytes + self._steps_bytes
        is_dear = self._sent_bytes + whole_bytes > _FREE_BYTES + _SENT_AGAIN * whole_bytes
        return self._sent_at + (LONGEST_PAUSE_S if is_dear else SHORTEST_PAUSE_S)

    def take(self, now: float, *, is_last: bool = False) -> list[Frame]:
        due = self.due_at()
        if is_last or due is None or due > now:
            # The terminal frame repeats everything; a last progress would only race it.
            return []
        is_silent = not self._value and not self._steps and not self._note
        # A result without its whole value would reset the stored text; none at all does not.
        result = None if is_silent else self._result()
        frame = Frame(
            "task:progress",
            {
                "task_id": self._reply_to["task_id"],
                "subtask_id": self._reply_to["subtask_id"],
                "status": "RUNNING",
                "progress": 10 if is_silent else 50,
                "result": result,
            },
        )
        self._is_dirty = False
        # The first words wait for nothing, least of all for the word that the run is there.
        self._sent_at = None if is_silent else now
        self._sent_bytes += encoded_size(frame)
        return [frame]

    def _result(self) -> _Json:
        steps = self.steps + [_step(self._note, None)] * bool(self._note)
        return {"value": "".join(self._value), "thinking": steps, "workbench": None}

    def _add_text(self, words: str) -> None:
        if not words or self._value_bytes >= MAX_VALUE_BYTES:
            return
        size = json_size(words)
        if self._value_bytes + size > MAX_VALUE_BYTES:
            # It may only grow at its end, so it stands still; the terminal frame has head and tail.
            words = longest(words, MAX_VALUE_BYTES - self._value_bytes)
            size = MAX_VALUE_BYTES
        self._note = ""
        self._value.append(words)
        self._value_bytes += size
        self._is_dirty = True

    def _add_step(self, title: str, details: _Json | None) -> None:
        step = _step(title, details)
        self._note = ""
        self._steps.append(step)
        self._steps_bytes += len(encode(step))
        while self._steps and (
            self._steps_bytes > MAX_THINKING_BYTES or len(self._steps) > MAX_STEPS
        ):
            self._steps_bytes -= len(encode(self._steps.pop(0)))
        self._is_dirty = True


def progress_terminal(reply_to: _Json, outcome: Outcome, steps: Sequence[_Json]) -> Frame:
    """The server stores this result as it stands, so it repeats the steps where they find room."""
    result: _Json = {"value": outcome.text, "thinking": list(steps), "workbench": None}
    data: _Json = {
        "task_id": reply_to["task_id"],
        "subtask_id": reply_to["subtask_id"],
        "status": outcome.state.value.upper(),
        "progress": 100,
        "result": result,
    }
    if outcome.state is RunState.FAILED:
        data["error_message"] = failure_words(outcome)
    frame = Frame("task:complete", data)
    if encoded_size(frame) > MAX_PACKET_BYTES:
        result |= {"value": "", "thinking": []}
        result["value"] = cut_text(outcome.text, MAX_PACKET_BYTES - encoded_size(frame))
    return frame


def _step(title: str, details: _Json | None) -> _Json:
    step: _Json = {"title": title, "next_action": "continue"}
    return step if details is None else {**step, "details": details}


def _message(role: str, block: _Json) -> _Json:
    return {"type": role, "message": {"type": "message", "role": role, "content": [block]}}
