"""The device's words, decoded and checked as the real servers do it. Pure functions only.

Written from the protocol alone and sharing nothing with the device's side, so that a misreading
cannot agree with itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Dialect: TypeAlias = Literal["responses", "progress"]
Json: TypeAlias = dict[str, Any]

SUBTASK_STATUSES = frozenset(
    {"PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "DELETE", "PENDING_CONFIRMATION"}
)
_DEVICE_TYPES = ("local", "cloud", "remote", "app")
_BIND_SHELLS = ("claudecode", "openclaw")
_DEVICE_STATUSES = ("online", "busy", "offline")
_TOOL_ITEMS = ("function_call", "mcp_call", "shell_call")
_MAX_SLOTS = 20
_MAX_STORED_DEVICE_ID = 93


class InvalidPayload(ValueError):
    """A device sent something the server does not take; the text goes into the ack."""


def clean(text: str) -> str:
    """The text without lone surrogates, which JSON may carry and neither disk nor wire can."""
    return text.encode("utf-8", "replace").decode()


# --- devices -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Registration:
    """A `device:register` that passed."""

    device_id: str
    name: str
    executor_version: str | None
    capabilities: list[str]
    runtime_instance_id: str | None


@dataclass(frozen=True)
class Capacity:
    """The slots that a device reports."""

    limit: int
    active: int
    queued: int


@dataclass(frozen=True)
class Heartbeat:
    """A `device:heartbeat` that passed."""

    device_id: str
    running_task_ids: list[int]
    executor_version: str | None
    runtime_instance_id: str | None
    capacity: Capacity | None


def parse_register(data: Any) -> Registration:
    """Check a registration; unknown keys are ignored."""
    fields = _object(data)
    _one_of(fields, "device_type", _DEVICE_TYPES)
    _one_of(fields, "bind_shell", _BIND_SHELLS)
    for name, limit in (("client_ip", 50), ("runtime_transfer_host", 255), ("app_device_id", 100)):
        _text(fields, name, limit)
    return Registration(
        device_id=_required(fields, "device_id", 100),
        name=clean(_required(fields, "name", 100)),
        executor_version=_text(fields, "executor_version", 50),
        capabilities=_strings(fields, "capabilities"),
        runtime_instance_id=_text(fields, "runtime_instance_id", 100),
    )


def storable(device_id: str) -> bool:
    """Whether `device-<id>` fits the column that real servers keep it in."""
    return len(device_id) <= _MAX_STORED_DEVICE_ID


def parse_heartbeat(data: Any, dialect: Dialect) -> Heartbeat:
    """Check a heartbeat. Servers of the progress dialect know no capacity and do not look at it."""
    fields = _object(data)
    capacity = fields.get("runtime_capacity") if dialect == "responses" else None
    return Heartbeat(
        device_id=_required(fields, "device_id", 100),
        running_task_ids=_integers(fields, "running_task_ids"),
        executor_version=_text(fields, "executor_version", 50),
        runtime_instance_id=_text(fields, "runtime_instance_id", 100),
        capacity=None if capacity is None else _capacity(capacity),
    )


def parse_status(data: Any) -> tuple[str, str]:
    """Check a `device:status`; the device id and the word."""
    fields = _object(data)
    device_id = _required(fields, "device_id", 100)
    _required(fields, "status", 50)
    _one_of(fields, "status", _DEVICE_STATUSES)
    return device_id, fields["status"]


def parse_upgrade_status(data: Any) -> None:
    """Check a `device:upgrade_status`."""
    fields = _object(data)
    _required(fields, "device_id", 100)
    _required(fields, "status", 50)


def _capacity(value: Any) -> Capacity:
    fields = _object(value, "runtime_capacity")
    limit, active, queued = (fields.get(name, 0) for name in ("limit", "active", "queued"))
    ids = fields.get("active_task_ids", [])
    good = (
        all(type(number) is int for number in (limit, active, queued))
        and 1 <= limit <= _MAX_SLOTS
        and queued >= 0
        and isinstance(ids, list)
        and all(isinstance(name, str) for name in ids)
        and len(set(ids)) == len(ids) == active <= _MAX_SLOTS
    )
    if not good:
        raise InvalidPayload("runtime_capacity")
    return Capacity(limit, active, queued)


def _object(data: Any, name: str = "payload") -> Json:
    if not isinstance(data, dict):
        raise InvalidPayload(f"{name} is not an object")
    return data


def _text(fields: Json, name: str, limit: int) -> str | None:
    value = fields.get(name)
    if value is not None and not (isinstance(value, str) and len(value) <= limit):
        raise InvalidPayload(f"{name} must be a string of at most {limit} characters")
    return value


def _required(fields: Json, name: str, limit: int) -> str:
    value = _text(fields, name, limit)
    if not value:
        raise InvalidPayload(f"{name} is required")
    return value


def _one_of(fields: Json, name: str, allowed: tuple[str, ...]) -> None:
    value = fields.get(name, allowed[0])
    if value not in allowed:
        raise InvalidPayload(f"{name} must be one of {', '.join(allowed)}")


def _strings(fields: Json, name: str) -> list[str]:
    value = fields.get(name) or []
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise InvalidPayload(f"{name} must be a list of strings")
    return value


def _integers(fields: Json, name: str) -> list[int]:
    value = fields.get(name, [])
    if not isinstance(value, list) or any(isinstance(item, bool | float) for item in value):
        raise InvalidPayload(f"{name} must be a list of integers")
    try:
        return [int(item) for item in value]
    except (TypeError, ValueError) as error:
        raise InvalidPayload(f"{name} must be a list of integers") from error


# --- results: dialect R ------------------------------------------------------------------------


@dataclass(frozen=True)
class Started:
    """The device took the subtask up."""


@dataclass(frozen=True)
class Text:
    """More of the answer."""

    delta: str


@dataclass(frozen=True)
class Reasoning:
    """More of what the model thinks."""

    delta: str


@dataclass(frozen=True)
class Note:
    """What the device does or waits for before its agent speaks; empty when that is over."""

    words: str


@dataclass(frozen=True)
class ToolStart:
    """A tool is used; `input` is JSON text as the agent wrote it."""

    call_id: str
    name: str
    input: str


@dataclass(frozen=True)
class ToolEnd:
    """A tool came back."""

    call_id: str
    output: str
    is_error: bool


@dataclass(frozen=True)
class Ended:
    """A terminal. `text` None keeps what was streamed."""

    status: Literal["COMPLETED", "FAILED", "CANCELLED"]
    text: str | None = None
    error: str | None = None
    usage: Json | None = None


Change: TypeAlias = Started | Text | Reasoning | Note | ToolStart | ToolEnd | Ended


def is_response_event(event: str, data: Any) -> bool:
    """Whether a server of the responses dialect takes the event for a result of a subtask."""
    if event == "error" or event.startswith(("response.", "image_generation.")):
        return True
    return (
        isinstance(data, dict)
        and isinstance(data.get("data"), dict)
        and bool(data.get("task_id") and data.get("subtask_id"))
    )


def envelope(data: Any) -> tuple[int, int, Json]:
    """Task id, subtask id and inner data of a result event in the responses dialect."""
    fields = data if isinstance(data, dict) else {}
    task_id, subtask_id = fields.get("task_id"), fields.get("subtask_id")
    if not (_is_id(task_id) and _is_id(subtask_id)):
        raise InvalidPayload("Missing task_id or subtask_id")
    inner = fields.get("data")
    assert isinstance(task_id, int)
    assert isinstance(subtask_id, int)
    return task_id, subtask_id, inner if isinstance(inner, dict) else {}


def _is_id(value: Any) -> bool:
    return type(value) is int and value > 0


def decode_response(event: str, data: Json) -> Change | None:
    """What a result event means; None for the many that a server skips."""
    match event:
        case "response.created":
            return Started()
        case "response.output_text.delta":
            return Text(_string(data.get("delta")))
        case "response.reasoning_summary_text.delta":
            return Reasoning(_string(data.get("delta")))
        case "response.reasoning_summary_part.added":
            return Reasoning(_string(_dict(data.get("part")).get("text")))
        case "response.block.created":
            return _note(_dict(data.get("block")))
        case "response.block.updated":
            return _note(_dict(data.get("updates")))
        case "response.output_item.added":
            return _tool_start(_dict(data.get("item")))
        case "response.output_item.done":
            return _tool_end(_dict(data.get("item")))
        case "response.completed":
            response = _dict(data.get("response"))
            usage = response.get("usage")
            return Ended("COMPLETED", _output_text(response), usage=_dict(usage) or None)
        case "response.incomplete":
            return Ended("CANCELLED")
        case "error":
            return Ended("FAILED", error=_string(data.get("message")) or "Unknown error")
    return None


def _note(block: Json) -> Note | None:
    """Of the blocks that a device draws by itself: the one with words alone."""
    if block.get("type", "thinking") != "thinking" or "content" not in block:
        return None
    return Note(clean(_string(block["content"])))


def _tool_start(item: Json) -> ToolStart | None:
    if item.get("type") not in _TOOL_ITEMS:
        return None
    return ToolStart(
        _call_id(item), _string(item.get("name")) or "tool", _string(item.get("arguments"))
    )


def _tool_end(item: Json) -> ToolEnd | None:
    if item.get("type") not in _TOOL_ITEMS:
        return None
    output = item.get("output")
    words = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    failed = item.get("status") == "failed" or bool(item.get("error"))
    return ToolEnd(_call_id(item), clean(words), failed)


def _call_id(item: Json) -> str:
    call_id = _string(item.get("call_id")) or _string(item.get("id"))
    if not call_id.strip():
        raise InvalidPayload("Missing call_id")
    return call_id


def _output_text(response: Json) -> str:
    parts = (
        content
        for item in _list(response.get("output"))
        for content in _list(_dict(item).get("content"))
    )
    return "".join(_string(_dict(part).get("text")) for part in parts)


def _string(value: Any) -> str:
    return clean(value) if isinstance(value, str) else ""


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# --- results: dialect P ------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """A `task:progress` or `task:complete`. `value` None means that no content was sent."""

    subtask_id: int
    status: str | None
    value: str | None
    thinking: list[Json] | None
    error: str | None


def parse_progress(data: Any) -> Progress:
    """Read a report of the progress dialect; a status that no server knows is None."""
    fields = _dict(data)
    subtask_id = fields.get("subtask_id")
    if not _is_id(subtask_id):
        raise InvalidPayload("Missing subtask_id")
    assert isinstance(subtask_id, int)
    status = _string(fields.get("status")).upper()
    result = fields.get("result")
    content = _dict(result) if result is not None else None
    thinking = None if content is None else content.get("thinking")
    return Progress(
        subtask_id=subtask_id,
        status=status if status in SUBTASK_STATUSES else None,
        value=None if content is None else _string(content.get("value")),
        thinking=None if thinking is None else [_dict(step) for step in _list(thinking)],
        error=_string(fields.get("error_message")) or None,
    )


def tools_of(thinking: list[Json]) -> list[ToolStart | ToolEnd]:
    """The tool calls inside the steps that a device of the progress dialect reports."""
    found: list[ToolStart | ToolEnd] = []
    for step in thinking:
        message = _dict(_dict(step.get("details")).get("message"))
        for part in map(_dict, _list(message.get("content"))):
            if part.get("type") == "tool_use":
                arguments = json.dumps(part.get("input"), ensure_ascii=False)
                name = _string(part.get("name")) or "tool"
                found.append(ToolStart(_string(part.get("id")), name, clean(arguments)))
            elif part.get("type") == "tool_result":
                content = part.get("content")
                text = content if isinstance(content, str) else json.dumps(content)
                call_id = _string(part.get("tool_use_id"))
                found.append(ToolEnd(call_id, clean(text), bool(part.get("is_error"))))
    return found
