"""How a run is told to a server, in each of the two dialects. Pure: events in, frames out.

Dialect P ("progress", servers up to v1.4) sends the whole state each time, so it is sent seldom.
Dialect R ("responses", servers from v1.5) sends only what is new: the first words at once, later
ones in batches that keep the envelope small against the text. `now` is a monotonic time in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

from executor_core.links.device.frames import (
    MAX_PACKET_BYTES,
    Frame,
    cut_text,
    encode,
    encoded_size,
    json_size,
    longest,
)
from executor_core.model import (
    AgentEvent,
    Notice,
    Outcome,
    ReasoningDelta,
    RunState,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from executor_core.texts import text

_Json = dict[str, Any]

MAX_TOOL_BYTES = 32 * 1024
MAX_NAME = 200
MAX_WAITING_CHARS = 200_000
"""What waits for a lost link beyond this is left out; the terminal frame has the whole text."""


class Dialect(StrEnum):
    """What a server understands; BOTH while that is not known."""

    PROGRESS = "progress"
    RESPONSES = "responses"
    BOTH = "both"

    @property
    def letter(self) -> str:
        return {"progress": "P", "responses": "R"}.get(self.value, "?")


class Encoder(Protocol):
    """The story of one run in one dialect."""

    @property
    def steps(self) -> list[_Json]:
        """The steps that the last frame must repeat, in dialect P."""

    def begin(self) -> None:
        """Say that the run is there; again after a duplicate dispatch."""

    def resume(self) -> None:
        """There is a new connection."""

    def absorb(self, event: AgentEvent) -> None:
        """Take in what happened."""

    def due_at(self) -> float | None:
        """When `take` has something to say, or None."""

    def take(self, now: float, *, is_last: bool = False) -> list[Frame]:
        """The frames to send now, in order; all that is left if `is_last`."""


def choose_dialect(*, progress_handled: bool, responses_handled: bool) -> Dialect:
    """What the answers to the two probes mean (both: development builds of February 2026)."""
    if progress_handled:
        return Dialect.PROGRESS
    return Dialect.RESPONSES if responses_handled else Dialect.BOTH


def make_encoder(dialect: Dialect, reply_to: _Json) -> Encoder:
    """An encoder for the run that `reply_to` names."""
    match dialect:
        case Dialect.PROGRESS:
            return ProgressEncoder(reply_to)
        case Dialect.RESPONSES:
            return ResponsesEncoder(reply_to)
        case _:
            return _BothEncoder(ResponsesEncoder(reply_to), ProgressEncoder(reply_to))


def terminal_frames(
    dialect: Dialect, reply_to: _Json, outcome: Outcome, steps: Sequence[_Json] = ()
) -> list[Frame]:
    """The one last frame of a run (with BOTH: one of each); `steps` as far as they are known."""
    frames = []
    if dialect is not Dialect.PROGRESS:
        frames.append(_responses_terminal(reply_to, outcome))
    if dialect is not Dialect.RESPONSES:
        frames.append(_progress_terminal(reply_to, outcome, steps))
    return frames


def cancelled_unknown(dialect: Dialect, task_id: int, subtask_id: int) -> list[Frame]:
    """The answer to a cancel of something we do not have: without it, R waits for ever.

    In P the server has already closed the subtask by itself, so nothing is owed.
    """
    if dialect is Dialect.PROGRESS:
        return []
    return [_incomplete({"task_id": task_id, "subtask_id": subtask_id})]


# --- dialect R ---------------------------------------------------------------------------------

BATCH_S = 0.2
LONGEST_BATCH_S = 0.5
_ENVELOPE_BYTES = 210
_FREE_OVERHEAD_BYTES = 1_000


class ResponsesEncoder:
    """Deltas with offsets, tools as the triple that every server from v1.5 reads."""

    def __init__(self, reply_to: _Json) -> None:
        self._ids = _ids(reply_to)
        self._shell = reply_to.get("shell_type", "ClaudeCode")
        self._ready: deque[Frame] = deque()
        self._pending: list[str] = []
        self._pending_chars = 0
        self._waiting_chars = 0
        self._pending_is_reasoning = False
        self._offset = 0
        self._overhead = 0
        self._sent_at: float | None = None
        self._tools: dict[str, tuple[str, str]] = {}

    @property
    def steps(self) -> list[_Json]:
        return []

    def resume(self) -> None:
        """Nothing: what the server was told before, it still knows."""

    def begin(self) -> None:
        response = {"id": f"resp_{self._ids['subtask_id']}", "status": "in_progress"}
        self._ready.append(
            self._frame("response.created", response=response, shell_type=self._shell)
        )

    def absorb(self, event: AgentEvent) -> None:
        match event:
            case TextDelta(text="") | ReasoningDelta(text=""):
                pass  # the first words are yet to come
            case TextDelta(text=words):
                self._add(words, is_reasoning=False)
            case ReasoningDelta(text=words):
                self._add(words, is_reasoning=True)
            case Notice(text=words):
                self._add(words + "\n", is_reasoning=True)
            case ToolStarted() if not self._is_full:
                self._close_batch()
                name, arguments = event.name[:MAX_NAME], _arguments(event.input)
                self._tools[event.call_id] = (name, arguments)
                self._waiting_chars += len(arguments)
                self._ready.append(self._tool_added(_call_id(event), name, arguments))
            case ToolFinished() if event.call_id in self._tools:
                self._close_batch()
                self._ready.extend(self._tool_done(event))

    def due_at(self) -> float | None:
        if self._ready:
            return 0.0
        if not self._pending:
            return None
        if self._sent_at is None:
            return 0.0
        text_bytes = self._offset + self._pending_chars
        is_affordable = self._overhead + _ENVELOPE_BYTES <= _FREE_OVERHEAD_BYTES + text_bytes * 0.3
        return self._sent_at + (BATCH_S if is_affordable else LONGEST_BATCH_S)

    def take(self, now: float, *, is_last: bool = False) -> list[Frame]:
        due = self.due_at()
        if self._pending and (is_last or (due is not None and due <= now)):
            self._close_batch()
            self._sent_at = now
        frames = list(self._ready)
        self._ready.clear()
        self._waiting_chars = self._pending_chars
        return frames

    @property
    def _is_full(self) -> bool:
        """Nobody has taken anything for long: the link is down."""
        return self._waiting_chars >= MAX_WAITING_CHARS

    def _add(self, words: str, *, is_reasoning: bool) -> None:
        if is_reasoning != self._pending_is_reasoning:
            self._close_batch()
            self._pending_is_reasoning = is_reasoning
        if not self._is_full:
            self._pending.append(words)
            self._pending_chars += len(words)
            self._waiting_chars += len(words)
        elif not is_reasoning:
            # The gap keeps its length, so that the offsets of what follows stay true.
            self._close_batch()
            self._offset += len(words)

    def _close_batch(self) -> None:
        """Turn the waiting words into frames; at worst a sign takes six bytes."""
        words = "".join(self._pending)
        self._pending, self._pending_chars = [], 0
        step = MAX_PACKET_BYTES // 8
        for start in range(0, len(words), step):
            part = words[start : start + step]
            if self._pending_is_reasoning:
                self._ready.append(self._reasoning(part))
            else:
                frame = self._frame("response.output_text.delta", delta=part, offset=self._offset)
                self._ready.append(frame)
                self._offset += len(part)
            self._overhead += _ENVELOPE_BYTES

    def _reasoning(self, words: str) -> Frame:
        part = {"type": "reasoning", "text": words}
        return self._frame("response.reasoning_summary_part.added", part=part)

    def _tool_added(self, call_id: str, name: str, arguments: str) -> Frame:
        item = _call_item(call_id, name, arguments, status="in_progress")
        return self._frame("response.output_item.added", item=item)

    def _tool_done(self, event: ToolFinished) -> list[Frame]:
        """The result in both places where servers look for it (it moved at v1.7.12)."""
        name, arguments = self._tools.pop(event.call_id)
        output = cut_text(event.output, MAX_TOOL_BYTES)
        self._waiting_chars += len(output)
        call_id = _call_id(event)
        item = _call_item(
            call_id,
            name,
            arguments,
            status="failed" if event.is_error else "completed",
            output=output,
        )
        if event.is_error:
            item["error"] = output[:500]
        return [
            self._frame(
                "response.function_call_arguments.done",
                call_id=call_id,
                item_id=call_id,
                arguments=arguments,
                output=output,
            ),
            self._frame("response.output_item.done", item=item),
        ]

    def _frame(self, event: str, **data: object) -> Frame:
        return Frame(event, {**self._ids, "data": {"type": event, **data}})


def _responses_terminal(reply_to: _Json, outcome: Outcome) -> Frame:
    match outcome.state:
        case RunState.CANCELLED:
            return _incomplete(reply_to)
        case RunState.FAILED:
            message = _sentence(outcome)
            code = outcome.error.code if outcome.error else "execution_error"
            data: _Json = {"type": "error", "code": code, "message": message}
            return Frame("error", {**_ids(reply_to), "data": data})
    # The server stores only what stands here; what it was sent before is forgotten.
    content = {"type": "output_text", "text": outcome.text, "annotations": list[str]()}
    message_item = {
        "type": "message",
        "id": f"msg_{reply_to['subtask_id']}",
        "status": "completed",
        "role": "assistant",
        "content": [content],
    }
    response: _Json = _response(reply_to, "completed", output=[message_item])
    response["stop_reason"] = "end_turn"
    if (usage := outcome.usage) is not None:
        response["usage"] = {
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
    frame = _response_frame("response.completed", reply_to, response)
    room = MAX_PACKET_BYTES - encoded_size(frame) + json_size(outcome.text)
    content["text"] = cut_text(outcome.text, room)
    return frame


def _incomplete(reply_to: _Json) -> Frame:
    response = _response(reply_to, "incomplete", output=[])
    response["incomplete_details"] = {"reason": "cancelled"}
    return _response_frame("response.incomplete", reply_to, response)


def _response(reply_to: _Json, status: str, output: list[_Json]) -> _Json:
    return {
        "id": f"resp_{reply_to['subtask_id']}",
        "object": "response",
        "status": status,
        "output": output,
    }


def _response_frame(event: str, reply_to: _Json, response: _Json) -> Frame:
    return Frame(event, {**_ids(reply_to), "data": {"type": event, "response": response}})


def _call_item(call_id: str, name: str, arguments: str, **more: object) -> _Json:
    call = {"type": "function_call", "id": call_id, "call_id": call_id, "name": name}
    return {**call, "arguments": arguments, **more}


def _call_id(event: ToolStarted | ToolFinished) -> str:
    """Servers lose a tool without an id."""
    return event.call_id[:MAX_NAME] or "call"


def _arguments(tool_input: _Json) -> str:
    return encode(_short(tool_input)).decode()


def _short(tool_input: _Json) -> _Json:
    """The input of a tool, its long texts cut; empty where that is not enough."""
    if len(encode(tool_input)) <= MAX_TOOL_BYTES:
        return tool_input
    short = {
        key: cut_text(value, MAX_TOOL_BYTES // 4) if isinstance(value, str) else value
        for key, value in tool_input.items()
    }
    return short if len(encode(short)) <= 2 * MAX_TOOL_BYTES else {}


def _ids(reply_to: _Json) -> _Json:
    ids = {"task_id": reply_to["task_id"], "subtask_id": reply_to["subtask_id"]}
    if reply_to.get("message_id") is not None:
        ids["message_id"] = reply_to["message_id"]
    return ids


# --- dialect P ---------------------------------------------------------------------------------

SHORTEST_PAUSE_S = 0.3
LONGEST_PAUSE_S = 2.0
_SECONDS_PER_BYTE = 1 / 250_000
MAX_VALUE_BYTES = 600_000
MAX_THINKING_BYTES = 200_000
MAX_STEPS = 400


class ProgressEncoder:
    """The whole text and all steps each time; the more there is, the longer the pauses."""

    def __init__(self, reply_to: _Json) -> None:
        self._reply_to = reply_to
        self._value: list[str] = []
        self._value_bytes = 0
        self._steps: list[_Json] = []
        self._steps_bytes = 0
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

    def absorb(self, event: AgentEvent) -> None:
        match event:
            case TextDelta(text=words):
                self._add_text(words)
            case Notice(text=words):
                self._add_step(words, None)
            case ToolStarted():
                self._open_calls.add(event.call_id)
                use: _Json = {"type": "tool_use", "id": _call_id(event)}
                use |= {"name": event.name[:MAX_NAME], "input": _short(event.input)}
                self._add_step("thinking.assistant_message_received", _message("assistant", use))
            case ToolFinished() if event.call_id in self._open_calls:
                self._open_calls.discard(event.call_id)
                result = {
                    "type": "tool_result",
                    "tool_use_id": _call_id(event),
                    "content": cut_text(event.output, MAX_TOOL_BYTES // 4),
                    "is_error": event.is_error,
                }
                self._add_step("thinking.user_message_received", _message("user", result))

    def due_at(self) -> float | None:
        if not self._is_dirty:
            return None
        if self._sent_at is None:
            return 0.0
        pause = self._sent_bytes * _SECONDS_PER_BYTE
        return self._sent_at + min(max(pause, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)

    def take(self, now: float, *, is_last: bool = False) -> list[Frame]:
        due = self.due_at()
        if is_last or due is None or due > now:
            # The terminal frame repeats everything; a last progress would only race it.
            return []
        is_silent = not self._value and not self._steps
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
        self._sent_at = now
        self._sent_bytes = encoded_size(frame)
        return [frame]

    def _result(self) -> _Json:
        return {"value": "".join(self._value), "thinking": self.steps, "workbench": None}

    def _add_text(self, words: str) -> None:
        if not words or self._value_bytes >= MAX_VALUE_BYTES:
            return
        size = json_size(words)
        if self._value_bytes + size > MAX_VALUE_BYTES:
            # It may only grow at its end, so it stands still; the terminal frame has head and tail.
            words = longest(words, MAX_VALUE_BYTES - self._value_bytes)
            size = MAX_VALUE_BYTES
        self._value.append(words)
        self._value_bytes += size
        self._is_dirty = True

    def _add_step(self, title: str, details: _Json | None) -> None:
        step: _Json = {"title": title, "next_action": "continue"}
        if details is not None:
            step["details"] = details
        self._steps.append(step)
        self._steps_bytes += len(encode(step))
        while self._steps and (
            self._steps_bytes > MAX_THINKING_BYTES or len(self._steps) > MAX_STEPS
        ):
            self._steps_bytes -= len(encode(self._steps.pop(0)))
        self._is_dirty = True


def _progress_terminal(reply_to: _Json, outcome: Outcome, steps: Sequence[_Json]) -> Frame:
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
        data["error_message"] = _sentence(outcome)
    frame = Frame("task:complete", data)
    if encoded_size(frame) > MAX_PACKET_BYTES:
        result |= {"value": "", "thinking": []}
        result["value"] = cut_text(outcome.text, MAX_PACKET_BYTES - encoded_size(frame))
    return frame


def _message(role: str, block: _Json) -> _Json:
    return {"type": role, "message": {"type": "message", "role": role, "content": [block]}}


def _sentence(outcome: Outcome) -> str:
    words = outcome.error.sentence if outcome.error else text("run.failed")
    return cut_text(words, 8_000)


class _BothEncoder:
    """Two stories side by side; a server ignores the one it does not know."""

    def __init__(self, *encoders: Encoder) -> None:
        self._encoders = encoders

    @property
    def steps(self) -> list[_Json]:
        return [step for encoder in self._encoders for step in encoder.steps]

    def begin(self) -> None:
        for encoder in self._encoders:
            encoder.begin()

    def resume(self) -> None:
        for encoder in self._encoders:
            encoder.resume()

    def absorb(self, event: AgentEvent) -> None:
        for encoder in self._encoders:
            encoder.absorb(event)

    def due_at(self) -> float | None:
        due = [at for encoder in self._encoders if (at := encoder.due_at()) is not None]
        return min(due, default=None)

    def take(self, now: float, *, is_last: bool = False) -> list[Frame]:
        return [frame for e in self._encoders for frame in e.take(now, is_last=is_last)]
