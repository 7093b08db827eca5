"""Looks at JSON of others without trusting any of it. Null and missing mean the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from executor_core.errors import ExecutorError
from executor_core.texts import text

Json: TypeAlias = dict[str, Any]

_MAX_ID = 2**63 - 1
_TEXT, _LIST, _OBJECT = (str,), (list,), (dict,)
_ALLOWED: Mapping[tuple[type, ...], str] = {
    _TEXT: "allowed.json_text",
    _LIST: "allowed.json_list",
    _OBJECT: "allowed.json_object",
    (list, dict): "allowed.json_list_or_object",
}
_TASK: Mapping[str, tuple[type, ...]] = {
    "attachments": _LIST,
    "auth_token": _TEXT,
    "bot": _LIST,
    "branch_name": _TEXT,
    "git_repo": _TEXT,
    "git_url": _TEXT,
    "mcp_servers": (list, dict),
    "model_config": _OBJECT,
    "preload_skill_refs": _OBJECT,
    "preload_skills": _LIST,
    "project_workspace_path": _TEXT,
    "skill_configs": _LIST,
    "skill_names": _LIST,
    "skill_refs": _OBJECT,
    "skills": _LIST,
    "system_mcp_config": (list, dict),
    "system_prompt": _TEXT,
    "user": _OBJECT,
    "user_selected_skills": _LIST,
    "workspace": _OBJECT,
}
_BOT: Mapping[str, tuple[type, ...]] = {
    "agent_config": _OBJECT,
    "mcp_servers": (list, dict),
    "shell_type": _TEXT,
    "skill_refs": _OBJECT,
    "skills": _LIST,
    "system_prompt": _TEXT,
}


def check_shapes(body: Json) -> ExecutorError | None:
    """What is wrong with the first field that we read and that is of another kind than it must be.

    Empty values of any kind stand for nothing: servers write `{}` where they mean `[]`.
    """
    return _wrong(body, _TASK, "") or _wrong(first_of(body.get("bot")), _BOT, "bot[0].")


def _wrong(body: Json, kinds: Mapping[str, tuple[type, ...]], prefix: str) -> ExecutorError | None:
    for name, kind in kinds.items():
        value = body.get(name)
        if value and not isinstance(value, kind):
            return field_wrong(prefix + name, text(_ALLOWED[kind]))
    return None


def field_wrong(field: str, allowed: str) -> ExecutorError:
    """The refusal of a task for one field of it."""
    return ExecutorError("task_field_wrong", field=field, allowed=allowed)


def fields_of(value: object) -> Json:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items_of(value: object) -> list[Any]:
    """A list, or an empty one."""
    return value if isinstance(value, list) else []


def first_of(value: object) -> Json:
    """The first object of a list, or an empty one."""
    return fields_of(value[0]) if isinstance(value, list) and value else {}


def text_of(value: object) -> str:
    """A text, or an empty one."""
    return value if isinstance(value, str) else ""


def positive(value: object) -> int | None:
    """A positive id that a database can hold; the newest servers may write numbers as strings."""
    if isinstance(value, str) and len(value) < 20 and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 < value <= _MAX_ID else None
