"""What a person is told of a run of Claude Code besides its answer: what could not be done.

Of a failure what it tells in fields comes first, its words last. Facts of the wire are those of
2.1.197 and 2.1.332; the older one tells fewer of the fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

import msgspec

from executor_core.agents.claude_turn import Task, Turn
from executor_core.agents.failures import code_in, code_of_status, failure, moment, notice
from executor_core.agents.json_access import Json, as_dict, as_dicts, as_int, as_str
from executor_core.agents.mcp import ToolServers
from executor_core.model import Notice, Permission
from executor_core.texts import Message, text

TITLE = "Claude Code"

_STARTS = {
    "cli_version_too_old": "agent_outdated",
    "gateway_signin_required": "claude_code_not_signed_in",
    "session_held_by_background": "session_unusable",
    "worktree_resume_refused": "session_unusable",
    **dict.fromkeys(
        (
            *("bypass_root", "org_pin_api_key_conflict", "org_pin_mismatch", "org_config_refused"),
            *("provider_not_allowed", "gateway_access_denied", "managed_settings_invalid"),
            *("sandbox_required_unavailable", "sideload_flags_disabled"),
        ),
        "agent_forbidden",
    ),
    **dict.fromkeys(
        (
            *("proxy_invalid", "temp_dir_unusable", "cwd_unavailable", "shell_tool_missing"),
            "config_file_invalid",
        ),
        "agent_not_set_up",
    ),
}
"""`startup_failure_reason`; those that are not here may pass by themselves."""
_KINDS = {
    "billing_error": "model_credit_used_up",
    "model_not_found": "model_unknown",
    "overloaded": "model_overloaded",
    "max_output_tokens": "agent_stopped_early",
    "cloud_credential_error": "model_key_refused",
    **dict.fromkeys(
        ("oauth_org_not_allowed", "account_on_hold", "verification_required"),
        "model_access_denied",
    ),
}
"""`assistant.error`, as far as it says more than the status."""
_VAGUE_KINDS = {
    "authentication_failed": "model_key_refused",
    "rate_limit": "model_rate_limited",
    "server_error": "model_broke_off",
}
"""The same, where neither a status nor words say more."""
_ENDS = {"prompt_too_long": "model_context_full", "image_error": "session_unusable"}
"""`terminal_reason`"""
_EARLY_STOPS = {
    "error_max_turns": "acp.too_many_turns",
    "error_max_budget_usd": "agents.budget_used",
}
"""`subtype`"""


def claude_failure(
    message: Json, words: str, *, kind: str, resets_at: datetime | None, session_id: str | None
) -> Message:
    """Why `message`, a `result`, is a failure; `words` are its own or those said before it.

    `kind` is the last `assistant.error`, `resets_at` the reset of a limit that was reached.
    """
    listed = message.get("errors")
    errors = " ".join(map(as_str, listed)) if isinstance(listed, list) else ""
    subtype = as_str(message.get("subtype"))
    reason = _tidy(words) or errors or subtype
    status = as_int(message.get("api_error_status"))
    if code := _STARTS.get(as_str(message.get("startup_failure_reason"))):
        return failure(code, agent=TITLE, reason=reason)
    if subtype in _EARLY_STOPS:
        return failure("agent_stopped_early", agent=TITLE, reason=text(_EARLY_STOPS[subtype]))
    if resets_at is not None and (kind == "rate_limit" or status == 429):
        return failure("model_usage_limit", retry_at=resets_at, reason=reason)
    code = _ENDS.get(as_str(message.get("terminal_reason"))) or _KINDS.get(kind)
    code = code or _code_in(errors + words, status) or _VAGUE_KINDS.get(kind) or "agent_failed"
    return failure(code, agent=TITLE, reason=reason, session_id=session_id, status=status)


def _code_in(words: str, status: int) -> str | None:
    if "No conversation found" in words:
        return "session_not_found"
    if "Please run /login" in words or "Not logged in" in words:
        return "claude_code_not_signed_in"
    return code_of_status(status, words) if status else code_in(words)


def refused_key(words: str) -> Message:
    """A key that the service refused while the CLI goes on trying."""
    return failure("model_key_refused", reason=_tidy(words))


def reset_time(message: Json) -> datetime | None:
    """When the limit passes that `message`, a `rate_limit_event`, calls reached."""
    info = as_dict(message.get("rate_limit_info"))
    return moment(info.get("resetsAt")) if info.get("status") == "rejected" else None


def _tidy(words: str) -> str:
    """The vendor's sentence inside `API Error: 400 {"error": {"message": …}}`."""
    if (found := re.search(r"\{.*\}", words, re.DOTALL)) is not None:
        try:
            body = as_dict(msgspec.json.decode(found.group()))
        except msgspec.DecodeError:
            return words
        if isinstance(sentence := as_dict(body.get("error")).get("message"), str):
            return sentence
    return words


PERMISSION_MODES = {
    # Asks for nothing and is given nothing; besides, what changes something is not there at all.
    Permission.READ_ONLY: "dontAsk",
    Permission.PLAN: "plan",
    Permission.WORKSPACE_WRITE: "acceptEdits",
    Permission.AUTO: "auto",
    Permission.UNATTENDED: "bypassPermissions",
}
MAX_NAME = 80
"""Characters of a command that name it in a sentence."""
_SERVER_STATES = {
    "pending": "starting",
    "connected": "ready",
    "failed": "failed",
    "needs-auth": "needs-auth",
}
"""What it says of a tool server, and what that is to us."""


class Remarks:
    """Each is said once, though every turn tells it anew."""

    def __init__(self, permission: Permission, servers: ToolServers) -> None:
        self.servers = servers
        self._wanted = PERMISSION_MODES[permission]
        self._told: set[str] = set()
        self._denied: set[str] = set()
        self._is_mode_other = False
        self.has_worked = False
        """Whether a tool was allowed to do something."""

    def on_init(self, init: Json) -> Iterator[Notice]:
        """A permission mode that was not asked for, and tool servers that did not start."""
        mode = init.get("permissionMode")
        if isinstance(mode, str) and mode != self._wanted:
            self._is_mode_other = True
            yield from self._once(
                notice("notice.permission_mode", agent=TITLE, mode=mode, wanted=self._wanted)
            )
        yield from self.on_servers(init.get("mcp_servers"))

    def on_servers(self, servers: object) -> Iterator[Notice]:
        """How the tool servers are."""
        for server in as_dicts(servers):
            if state := _SERVER_STATES.get(as_str(server.get("status"))):
                yield from self.servers.told(as_str(server.get("name")), state)

    def on_result(self, result: Json) -> Iterator[Notice]:
        """What the agent was not permitted to do."""
        for denied in as_dicts(result.get("permission_denials")):
            tool, given = as_str(denied.get("tool_name")), as_dict(denied.get("tool_input"))
            self._denied.add(tool)
            what = as_str(given.get("command")) or as_str(given.get("file_path"))
            yield from self._once(notice("notice.tool_denied", tool=tool, what=short(what)))

    def on_task_end(self, task: Task | None, notification: Json) -> Iterator[Notice]:
        """A sub-agent that failed. What a command came to is told to the model."""
        if task is not None and task.is_sub_agent and notification.get("status") == "failed":
            reason = as_str(notification.get("summary"))
            yield from self._once(notice("notice.sub_agent_failed", name=task.words, reason=reason))

    def forbidden(self) -> Message | None:
        """The failure of a run that was allowed to do nothing of what it tried."""
        if not self._is_mode_other or not self._denied or self.has_worked:
            return None
        reason = text("agents.all_denied", tools=", ".join(sorted(self._denied)))
        return failure("agent_forbidden", agent=TITLE, reason=reason)

    def _once(self, told: Notice) -> Iterator[Notice]:
        if told.text not in self._told:
            self._told.add(told.text)
            yield told


def of_background(turn: Turn, what: str) -> Iterator[Notice]:
    """What is still in the background: that it `waits`, or is `ended` with the run."""
    for kind, is_sub_agent in (("commands", False), ("sub_agents", True)):
        names = [task.words for task in turn.left if task.is_sub_agent is is_sub_agent]
        if names:
            key, code = f"notice.background.{what}.{kind}", f"background_{what}"
            yield notice(key, code=code, count=len(names), names=", ".join(names))


def short(words: str) -> str:
    """A command as a name: on one line, and not longer than a sentence bears."""
    words = " ".join(words.split())
    return words if len(words) <= MAX_NAME else words[:MAX_NAME] + "…"
