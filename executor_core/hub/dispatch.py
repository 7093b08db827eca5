"""What the hub sends with `task:execute`, in the shapes of both eras. Pure functions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from executor_core.hub.library import NAMESPACE
from executor_core.hub.wire import Dialect, Json

SHELL_TYPES = {
    "claude_code": "ClaudeCode",
    "codex": "CodeX",
    "demo": "Demo",
    "opencode": "OpenCode",
}
"""How servers spell the agents; other names pass as they are."""

MAX_DEPTH = 50
"""How deep a further field may be nested: the socket's encoder goes down by recursion."""


@dataclass(frozen=True)
class Turn:
    """One subtask to dispatch: the user's message and the place of the answer."""

    user_id: int
    user_name: str
    task_id: int
    subtask_id: int
    user_subtask_id: int
    message_id: int
    title: str
    prompt: str
    agent: str
    device_id: str
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
        "task_id": turn.task_id,
        "subtask_id": turn.subtask_id,
        "prompt": turn.prompt,
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
        "namespace": NAMESPACE,
        "is_public": False,
        "content_hash": f"sha256:{skill['hash']}",
    }


def _user(turn: Turn) -> Json:
    names = ("git_domain", "git_token", "git_id", "git_login", "git_email")
    return {"id": turn.user_id, "name": turn.user_name, **dict.fromkeys(names)}


def _bot(turn: Turn, mcp_servers: Any) -> Json:
    return {
        "id": 1,
        "name": turn.agent,
        "shell_type": SHELL_TYPES.get(turn.agent, turn.agent),
        "agent_config": {},
        "system_prompt": "",
        "mcp_servers": mcp_servers,
        "skills": [skill["name"] for skill in turn.skills],
        "role": "leader",
        "base_image": None,
    }


_NO_REPOSITORY: Json = {
    "git_domain": "",
    "git_repo": "",
    "git_repo_id": 0,
    "branch_name": "",
    "git_url": "",
}

_RESPONSES_NULLS = [
    "subtask_next_id",
    "subtask_title",
    "task_title",
    "search_engine",
    "knowledge_base_ids",
    "document_ids",
    "external_knowledge_refs",
    "workspace_source",
    "project_workspace_path",
    "execution_target_type",
    "user_message_id",
    "history_limit",
    "fork_runtime",
    "interactive_form_answer",
    "skill_identity_token",
    "system_mcp_config",
    "task_data",
    "status",
    "progress",
    "type",
    "executor_name",
    "executor_namespace",
    "executor_image",
    "executor_type",
    "callback_url",
    "validation_params",
    "sandbox_metadata",
    "runtime_permission_profile",
    "reasoning_config",
    "created_at",
    "updated_at",
    "trace_context",
]
_RESPONSES_LISTS = [
    "skill_names",
    "skill_configs",
    "preload_skills",
    "user_selected_skills",
    "skills",
    "mcp_servers",
    "knowledge_base_scopes",
    "table_contexts",
    "inherited_sessions",
    "contexts",
    "history",
    "attachments",
    "extra_tools",
]
_RESPONSES_FALSE = [
    "enable_web_search",
    "enable_clarification",
    "provider_native_knowledge",
    "standalone_chat_workspace",
    "is_group_chat",
    "stateless",
    "new_session",
    "is_subscription",
    "skip_git_clone",
]


def _responses_payload(turn: Turn, _now: datetime) -> Json:
    return {
        **dict.fromkeys(_RESPONSES_NULLS),
        **{name: [] for name in _RESPONSES_LISTS},
        **dict.fromkeys(_RESPONSES_FALSE, False),
        **_NO_REPOSITORY,
        "team_id": 1,
        "team_name": "hub",
        "team_namespace": "default",
        "task_title": turn.title,
        "user_id": turn.user_id,
        "user_name": turn.user_name,
        "bot": [_bot(turn, [])],
        "bot_name": turn.agent,
        "bot_namespace": "default",
        "model_config": {},
        "system_prompt": "",
        "kb_meta_prompt": "",
        "enable_tools": True,
        "enable_deep_thinking": True,
        "enable_tool_output_guard": True,
        "skill_refs": {},
        "preload_skill_refs": {},
        "selected_knowledge_prompt": "",
        "is_user_selected_kb": True,
        "kb_tool_access_mode": "full",
        "workspace": {
            "repository": {
                "gitUrl": "",
                "gitRepo": "",
                "gitRepoId": 0,
                "gitDomain": "",
                "branchName": "",
            },
            "branch": "",
            "path": None,
        },
        "project_id": 0,
        "device_id": turn.device_id,
        "message_id": turn.message_id,
        "user_subtask_id": turn.user_subtask_id,
        "collaboration_model": "solo",
        "mode": "solo",
        "request_id": "",
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
        "executor_name": f"device-{turn.device_id}",
        "executor_namespace": f"user-{turn.user_id}",
        "subtask_title": f"{turn.title} - Assistant",
        "task_title": turn.title,
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
