"""Dialect R ("responses", servers from v1.5): only what is new is sent.

The first words go at once, later ones in small batches. Servers handle frames side by side, so the
stream has one of a run in flight at a time; what comes meanwhile is one larger batch.
`now` is a monotonic time in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from executor_core.links.device.frames import (
    MAX_NAME,
    MAX_PACKET_BYTES,
    MAX_TOOL_BYTES,
    PASSING,
    Frame,
    NoteBlock,
    call_id_of,
    cut_text,
    encode,
    encoded_size,
    failure_words,
    json_size,
    short_input,
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

_Json = dict[str, Any]

_ARGUMENTS_COMPLETE = "response.function_call_arguments.done"
_TOOL_ENDS = "response.output_item.done"
REPEATABLE = frozenset({_ARGUMENTS_COMPLETE, _TOOL_ENDS, "response.block.updated"})
"""Frames that change nothing when they come again; without one, a card would never end."""
MAX_WAITING_CHARS = 200_000
"""What waits for a lost link beyond this is left out; the terminal frame has the whole text."""
BATCH_S = 0.2
"""People watch: words that flow leave five times a second, or as fast as they are acknowledged."""


class ResponsesEncoder:
    """Deltas with offsets, tools as cards, progress of ours as a note."""

    def __init__(self, reply_to: _Json) -> None:
        self._ids = _ids(reply_to)
        self._shell = reply_to.get("shell_type", "ClaudeCode")
        self._begun: list[Frame] = []
        self._ready: list[Frame] = []
        self._pending: list[str] = []
        self._pending_chars = 0
        self._waiting_chars = 0
        self._pending_is_reasoning = False
        self._is_heard = True
        self._offset = 0
        self._sent_at: float | None = None
        self._tools: dict[str, tuple[str, str]] = {}
        self._complete: dict[str, Frame] = {}
        self._note = NoteBlock(reply_to["subtask_id"])

    @property
    def steps(self) -> list[_Json]:
        return []

    def resume(self) -> None:
        """Nothing: what the server was told before, it still knows."""

    def begin(self) -> None:
        response = {"id": f"resp_{self._ids['subtask_id']}", "status": "in_progress"}
        self._begun = [self._frame("response.created", response=response, shell_type=self._shell)]

    def note(self, words: str, at: datetime | None = None) -> None:
        self._note.say(words, at)

    def absorb(self, event: AgentEvent, *, is_heard: bool = True) -> None:
        self._is_heard = is_heard
        match event:
            case TextDelta(text="") | ReasoningDelta(text=""):
                pass  # the first words are yet to come
            case TextDelta(text=words):
                self._add(words, is_reasoning=False)
            case ReasoningDelta(text=words):
                self._add(words, is_reasoning=True)
            case Notice(code=code, text=words) if code in PASSING:
                self.note(words, event.at)
            case Notice(text=words):
                self._add(words + "\n", is_reasoning=True)
            case ToolStarted() if not self._is_full:
                self._close_batch()
                self.note("")
                self._tool_begun(event)
            case ToolFinished() if event.call_id in self._tools:
                self._close_batch()
                self._complete.pop(event.call_id, None)
                self._ready.append(self._tool_done(event))

    def due_at(self) -> float | None:
        if self._begun or self._ready or self._note.is_news:
            return 0.0
        if not self._pending:
            return None
        begins = not self._offset and not self._pending_is_reasoning
        return 0.0 if self._sent_at is None or begins else self._sent_at + BATCH_S

    def take(self, now: float, *, is_last: bool = False) -> list[Frame]:
        if is_last:
            self.note("")
        due = self.due_at()
        if self._pending and (is_last or (due is not None and due <= now)):
            self._close_batch()
            self._sent_at = now
        frames = self._begun
        # Before the words that replace it, which it would part; behind the word that the run is
        # there, at which pages begin the message anew.
        frames += [self._frame(event, **data) for event, data in self._note.take()]
        frames += [*self._ready, *self._complete.values()]
        self._begun = []
        self._ready.clear()
        self._complete.clear()
        self._waiting_chars = self._pending_chars
        return frames

    @property
    def _is_full(self) -> bool:
        """Nobody has taken anything for long, because the link is down."""
        return not self._is_heard and self._waiting_chars >= MAX_WAITING_CHARS

    def _add(self, words: str, *, is_reasoning: bool) -> None:
        self.note("")
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

    def _reasoning(self, words: str) -> Frame:
        part = {"type": "reasoning", "text": words}
        return self._frame("response.reasoning_summary_part.added", part=part)

    def _tool_begun(self, event: ToolStarted) -> None:
        """Its arguments are complete at once; said any later, that would reset the card. Of a tool
        that has ended before anything was sent it need not be said."""
        call_id, name, arguments = call_id_of(event), event.name[:MAX_NAME], _arguments(event.input)
        self._tools[event.call_id] = (name, arguments)
        self._waiting_chars += len(arguments)
        item = _call_item(call_id, name, arguments, status="in_progress")
        self._ready.append(self._frame("response.output_item.added", item=item))
        self._complete[event.call_id] = self._frame(
            _ARGUMENTS_COMPLETE, call_id=call_id, item_id=call_id, arguments=arguments
        )

    def _tool_done(self, event: ToolFinished) -> Frame:
        """The result, where servers from v1.7.12 look for it; see `as_before_v2`."""
        name, arguments = self._tools.pop(event.call_id)
        output = cut_text(event.output, MAX_TOOL_BYTES)
        self._waiting_chars += len(output)
        item = _call_item(
            call_id_of(event),
            name,
            arguments,
            status="failed" if event.is_error else "completed",
            output=output,
        )
        if event.is_error:
            item["error"] = output[:500]
        return self._frame(_TOOL_ENDS, item=item)

    def _frame(self, event: str, **data: object) -> Frame:
        return Frame(event, {**self._ids, "data": {"type": event, **data}})


def as_before_v2(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The same for servers that may be older than v1.7.12.

    Those end a tool's card where its arguments are complete, and look for its result there; they
    pass over its end. Later ones before v2 take both, one after the other.
    """
    for frame in frames:
        if frame.event == _TOOL_ENDS:
            item = frame.data["data"]["item"]
            said = {name: item[name] for name in ("call_id", "arguments", "output")}
            data = {"type": _ARGUMENTS_COMPLETE, "item_id": item["call_id"], **said}
            yield Frame(_ARGUMENTS_COMPLETE, {**frame.data, "data": data})
        if frame.event != _ARGUMENTS_COMPLETE:
            yield frame


def responses_terminal(reply_to: _Json, outcome: Outcome) -> Frame:
    """The last frame of a run."""
    match outcome.state:
        case RunState.CANCELLED:
            return incomplete(reply_to)
        case RunState.FAILED:
            message = failure_words(outcome)
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


def incomplete(reply_to: _Json) -> Frame:
    """The last frame of a cancelled run, also of one that we do not have."""
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


def _arguments(tool_input: _Json) -> str:
    return encode(short_input(tool_input)).decode()


def _ids(reply_to: _Json) -> _Json:
    ids = {"task_id": reply_to["task_id"], "subtask_id": reply_to["subtask_id"]}
    if reply_to.get("message_id") is not None:
        ids["message_id"] = reply_to["message_id"]
    return ids
