"""The words of both device protocols: what devices say, decoded and checked as the real servers do
it, and the `task:execute` that they are sent. Pure functions only.

Written from the protocol alone and sharing nothing with the device's side, so that a misreading
cannot agree with itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias, TypeGuard, TypeVar

import msgspec
from msgspec import Meta, Struct

from executor_core.hub.store import Json, Subtask, Task

Dialect: TypeAlias = Literal["responses", "progress"]
_T = TypeVar("_T")

SKILL_NAMESPACE = "default"
SHELL_TYPES = {
    "claude_code": "ClaudeCode",
    "codex": "CodeX",
    "demo": "Demo",
    "opencode": "OpenCode",
}
"""How servers spell the agents; other names pass as they are."""
MAX_DEPTH = 50
"""How deep a further field may be nested: the socket's encoder goes down by recursion."""
_SUBTASK_STATUSES = frozenset(
    {"PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "DELETE", "PENDING_CONFIRMATION"}
)
_TOOL_ITEMS = ("function_call", "mcp_call", "shell_call")
_MAX_SLOTS = 20
_MAX_STORED_DEVICE_ID = 93


class InvalidPayload(ValueError):
    """A device sent something the server does not take; the text goes into the ack."""


def clean(text: str) -> str:
    """The text without lone surrogates, which JSON may carry and neither disk nor wire can."""
    return text.encode("utf-8", "replace").decode()


# --- devices -----------------------------------------------------------------------------------

_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
_ShortWords: TypeAlias = Annotated[str, Meta(max_length=50)]
_Id: TypeAlias = Annotated[str, Meta(max_length=100)]


class Registration(Struct):
    """A `device:register` that passed; unknown keys are ignored."""

    device_id: _Name
    name: _Name
    executor_version: _ShortWords | None = None
    capabilities: list[str] | None = None
    runtime_instance_id: _Id | None = None
    device_type: Literal["local", "cloud", "remote", "app"] = "local"
    bind_shell: Literal["claudecode", "openclaw"] = "claudecode"
    client_ip: _ShortWords | None = None
    runtime_transfer_host: Annotated[str, Meta(max_length=255)] | None = None
    app_device_id: _Id | None = None

    def __post_init__(self) -> None:
        self.name = clean(self.name)

    @property
    def is_storable(self) -> bool:
        """Whether `device-<id>` fits the column that real servers keep it in."""
        return len(self.device_id) <= _MAX_STORED_DEVICE_ID


class Slots(Struct):
    """The slots that a device reports."""

    limit: Annotated[int, Meta(ge=1, le=_MAX_SLOTS)]
    active: Annotated[int, Meta(le=_MAX_SLOTS)] = 0
    queued: Annotated[int, Meta(ge=0)] = 0
    active_task_ids: list[str] = []

    def __post_init__(self) -> None:
        if not len(set(self.active_task_ids)) == len(self.active_task_ids) == self.active:
            raise ValueError("active_task_ids must be as many as are active, each once")


class Heartbeat(Struct):
    """A `device:heartbeat` that passed."""

    device_id: _Name
    running_task_ids: list[int | str] = []
    executor_version: _ShortWords | None = None
    runtime_instance_id: _Id | None = None
    runtime_capacity: Slots | None = None

    def __post_init__(self) -> None:
        self.running_task_ids = [int(number) for number in self.running_task_ids]


class Status(Struct):
    """A `device:status` that passed."""

    device_id: _Name
    status: Literal["online", "busy", "offline"]


class UpgradeStatus(Struct):
    """A `device:upgrade_status` that passed."""

    device_id: _Name
    status: Annotated[str, Meta(min_length=1, max_length=50)]


def parsed(kind: type[_T], data: Any) -> _T:
    """What a device says of itself. Raises InvalidPayload."""
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidPayload(clean(f"Invalid payload: {error}")) from error


def parse_heartbeat(data: Any, dialect: Dialect) -> Heartbeat:
    """A heartbeat. Servers of the progress dialect know no capacity and do not look at it."""
    if dialect == "progress" and isinstance(data, dict):
        data = {name: value for name, value in data.items() if name != "runtime_capacity"}
    return parsed(Heartbeat, data)


# --- results: dialect R ------------------------------------------------------------------------


class Started(Struct, frozen=True):
    """The device took the subtask up."""


class Text(Struct, frozen=True):
    """More of the answer."""

    delta: str


class Reasoning(Struct, frozen=True):
    """More of what the model thinks."""

    delta: str


class Note(Struct, frozen=True):
    """What the device does or waits for before its agent speaks; empty when that is over."""

    words: str


class ToolStart(Struct, frozen=True):
    """A tool is used; `input` is JSON text as the agent wrote it."""

    call_id: str
    name: str
    input: str


class ToolEnd(Struct, frozen=True):
    """A tool came back."""

    call_id: str
    output: str
    is_error: bool


class Ended(Struct, frozen=True):
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
    fields = _dict(data)
    task_id, subtask_id = fields.get("task_id"), fields.get("subtask_id")
    if not (_is_id(task_id) and _is_id(subtask_id)):
        raise InvalidPayload("Missing task_id or subtask_id")
    return task_id, subtask_id, _dict(fields.get("data"))


def _is_id(value: Any) -> TypeGuard[int]:
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
    failed = item.get("status") == "failed" or bool(item.get("error"))
    return ToolEnd(_call_id(item), _words(item.get("output")), failed)


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


def _words(output: Any) -> str:
    """What a tool said: as it is, or as JSON."""
    return clean(output if isinstance(output, str) else json.dumps(output, ensure_ascii=False))


def _string(value: Any) -> str:
    return clean(value) if isinstance(value, str) else ""


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# --- results: dialect P ------------------------------------------------------------------------


class Progress(Struct, frozen=True):
    """A `task:progress` or `task:complete`. `value` None means that no content was sent."""

    subtask_id: int
    status: str | None
    value: str | None
    thinking: list[Json] | None
    error: str | None

    @property
    def end(self) -> Ended:
        """What it means as a `task:complete`."""
        if self.status == "FAILED":
            return Ended("FAILED", error=self.error or "Task failed")
        return Ended("CANCELLED" if self.status == "CANCELLED" else "COMPLETED")


def parse_progress(data: Any) -> Progress:
    """Read a report of the progress dialect; a status that no server knows is None."""
    fields = _dict(data)
    subtask_id = fields.get("subtask_id")
    if not _is_id(subtask_id):
        raise InvalidPayload("Missing subtask_id")
    status = _string(fields.get("status")).upper()
    result = fields.get("result")
    content = _dict(result) if result is not None else None
    thinking = None if content is None else content.get("thinking")
    return Progress(
        subtask_id=subtask_id,
        status=status if status in _SUBTASK_STATUSES else None,
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
                arguments = clean(json.dumps(part.get("input"), ensure_ascii=False))
                name = _string(part.get("name")) or "tool"
                found.append(ToolStart(_string(part.get("id")), name, arguments))
            elif part.get("type") == "tool_result":
                call_id, output = _string(part.get("tool_use_id")), _words(part.get("content"))
                found.append(ToolEnd(call_id, output, bool(part.get("is_error"))))
    return found


# --- task:execute ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """One subtask to dispatch: the user's message and the place of the answer."""

    user_name: str
    task: Task
    asked: Subtask
    answer: Subtask
    extra: Json
    """Further fields of `task:execute`; they may not change who and what is meant."""
    attachments: Sequence[Json]
    """Of this message: id, name, media_type, size."""
    skills: Sequence[Json]
    """Of the task: id, name, hash."""


def execute_payload(
    turn: Turn, dialect: Dialect, *, auth_token: str, backend_url: str, now: datetime
) -> Json:
    """The `task:execute` of a turn. Fields that the hub has no use for are null or empty."""
    build = _responses_payload if dialect == "responses" else _progress_payload
    payload = build(turn, now) | _brought(turn, dialect) | turn.extra
    if dialect == "progress" and (model := payload.pop("model_config", None)):
        # These servers know no such field: the bot carries its model.
        [bot, *others] = payload["bot"] or [{}]
        payload["bot"] = [bot | {"agent_config": {"env": model}}, *others]
    return payload | {
        "task_id": turn.task.id,
        "subtask_id": turn.answer.subtask_id,
        "prompt": turn.asked.text,
        "user": _user(turn),
        "auth_token": auth_token,
        "backend_url": backend_url,
    }


def wrong_field(extra: Json) -> str | None:
    """The name of a field that `Turn.extra` may not have so; None for all that can be sent."""
    bot = extra.get("bot", [])
    if not (isinstance(bot, list) and all(isinstance(one, dict) for one in bot)):
        return "bot"
    return next((name for name, value in extra.items() if not _is_flat(value, MAX_DEPTH)), None)


def _is_flat(value: Any, depth: int) -> bool:
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return True
    return depth > 0 and all(_is_flat(one, depth - 1) for one in inner)


def _brought(turn: Turn, dialect: Dialect) -> Json:
    """Attachments and skills: what a user put on a task here is what that user picked."""
    names = [skill["name"] for skill in turn.skills]
    old = {
        "attachments": [_attachment(one) for one in turn.attachments],
        "user_selected_skills": names,
    }
    if dialect == "progress":
        return old
    configs = [{"name": skill["name"], "skill_id": skill["id"]} for skill in turn.skills]
    references = {skill["name"]: _reference(skill) for skill in turn.skills}
    return old | {"skill_names": names, "skill_configs": configs, "skill_refs": references}


def _attachment(one: Json) -> Json:
    return {
        "id": one["id"],
        "original_filename": one["name"],
        "file_extension": PurePosixPath(one["name"]).suffix,
        "file_size": one["size"],
        "mime_type": one["media_type"],
    }


def _reference(skill: Json) -> Json:
    return {
        "skill_id": skill["id"],
        "namespace": SKILL_NAMESPACE,
        "is_public": False,
        "content_hash": f"sha256:{skill['hash']}",
    }


def _user(turn: Turn) -> Json:
    names = ("git_domain", "git_token", "git_id", "git_login", "git_email")
    return {"id": turn.task.user_id, "name": turn.user_name, **dict.fromkeys(names)}


def _bot(turn: Turn, mcp_servers: Any) -> Json:
    return {
        "id": 1,
        "name": turn.task.agent,
        "shell_type": SHELL_TYPES.get(turn.task.agent, turn.task.agent),
        "agent_config": {},
        "system_prompt": "",
        "mcp_servers": mcp_servers,
        "skills": [skill["name"] for skill in turn.skills],
        "role": "leader",
        "base_image": None,
    }


_NO_REPOSITORY: Json = {
    "git_domain": "", "git_repo": "", "git_repo_id": 0, "branch_name": "", "git_url": "",
}  # fmt: skip
_NO_WORKSPACE: Json = {
    "repository": {
        "gitUrl": "", "gitRepo": "", "gitRepoId": 0, "gitDomain": "", "branchName": "",
    },
    "branch": "",
    "path": None,
}  # fmt: skip
_RESPONSES_NULLS = [
    "subtask_next_id", "subtask_title", "task_title", "search_engine", "knowledge_base_ids",
    "document_ids", "external_knowledge_refs", "workspace_source", "project_workspace_path",
    "execution_target_type", "user_message_id", "history_limit", "fork_runtime",
    "interactive_form_answer", "skill_identity_token", "system_mcp_config", "task_data", "status",
    "progress", "type", "executor_name", "executor_namespace", "executor_image", "executor_type",
    "callback_url", "validation_params", "sandbox_metadata", "runtime_permission_profile",
    "reasoning_config", "created_at", "updated_at", "trace_context",
]  # fmt: skip
_RESPONSES_LISTS = [
    "skill_names", "skill_configs", "preload_skills", "user_selected_skills", "skills",
    "mcp_servers", "knowledge_base_scopes", "table_contexts", "inherited_sessions", "contexts",
    "history", "attachments", "extra_tools",
]  # fmt: skip
_RESPONSES_EMPTY = ["system_prompt", "kb_meta_prompt", "selected_knowledge_prompt", "request_id"]
_RESPONSES_TRUE = [
    "enable_tools", "enable_deep_thinking", "enable_tool_output_guard", "is_user_selected_kb",
]  # fmt: skip
_RESPONSES_FALSE = [
    "enable_web_search", "enable_clarification", "provider_native_knowledge",
    "standalone_chat_workspace", "is_group_chat", "stateless", "new_session", "is_subscription",
    "skip_git_clone",
]  # fmt: skip


def _responses_payload(turn: Turn, _now: datetime) -> Json:
    return {
        **dict.fromkeys(_RESPONSES_NULLS),
        **{name: [] for name in _RESPONSES_LISTS},
        **dict.fromkeys(_RESPONSES_EMPTY, ""),
        **dict.fromkeys(_RESPONSES_FALSE, False),
        **dict.fromkeys(_RESPONSES_TRUE, True),
        **_NO_REPOSITORY,
        "team_id": 1,
        "team_name": "hub",
        "team_namespace": "default",
        "task_title": turn.task.title,
        "user_id": turn.task.user_id,
        "user_name": turn.user_name,
        "bot": [_bot(turn, [])],
        "bot_name": turn.task.agent,
        "bot_namespace": "default",
        "model_config": {},
        "skill_refs": {},
        "preload_skill_refs": {},
        "kb_tool_access_mode": "full",
        "workspace": _NO_WORKSPACE,
        "project_id": 0,
        "device_id": turn.task.device_id,
        "message_id": turn.answer.message_id,
        "user_subtask_id": turn.asked.subtask_id,
        "collaboration_model": "solo",
        "mode": "solo",
        "timezone": "UTC",
        "task_mode": "task",
    }


def _progress_payload(turn: Turn, now: datetime) -> Json:
    moment = now.strftime("%Y-%m-%dT%H:%M:%S")
    return {
        **_NO_REPOSITORY,
        "subtask_next_id": None,
        "type": "online",
        "is_subscription": False,
        "executor_name": f"device-{turn.task.device_id}",
        "executor_namespace": f"user-{turn.task.user_id}",
        "subtask_title": f"{turn.task.title} - Assistant",
        "task_title": turn.task.title,
        "bot": [_bot(turn, {})],
        "team_id": 1,
        "team_namespace": "default",
        "mode": "solo",
        "task_token": "",
        "system_mcp_config": None,
        "attachments": [],
        "status": "RUNNING",
        "progress": 0,
        "created_at": moment,
        "updated_at": moment,
        "new_session": False,
        "user_selected_skills": [],
    }
