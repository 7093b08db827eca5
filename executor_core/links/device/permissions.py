"""What a person allows the agent of a task, in the words of the servers of August 2026."""

from __future__ import annotations

from msgspec.structs import replace

from executor_core.errors import ExecutorError
from executor_core.links.device.fields import Json, field_wrong, text_of
from executor_core.model import Permission, RunRequest, strictest

PROFILE = "profile"
"""Under this name the profile of a run is kept, for the later ones of its conversation."""
_PROFILES = {
    ":read-only": Permission.READ_ONLY,
    ":workspace": Permission.WORKSPACE_WRITE,
    ":danger-full-access": Permission.UNATTENDED,
}
_CLAUDE_MODES = {
    "acceptEdits": Permission.WORKSPACE_WRITE,
    "plan": Permission.PLAN,
    "auto": Permission.AUTO,
}


def read_profile(body: Json) -> tuple[Json, ExecutorError | None]:
    """What to keep of the profile that the task names; and why it cannot be used, if so.

    One that we do not know may allow less than any that we do, so it is refused.
    """
    named = body.get("runtime_permission_profile") or body.get("runtimePermissionProfile")
    if not named:
        return {}, None
    if text_of(named) not in _PROFILES:
        return {}, field_wrong("runtime_permission_profile", ", ".join(_PROFILES))
    return {PROFILE: named}, None


def claude_mode(body: Json, asked: str) -> Permission:
    """Claude Code's own mode, where a task for it names one; other agents have none of these.

    It holds for whichever agent answers in its place too: somebody allowed no more.
    """
    mode = text_of(body.get("claude_permission_mode")) if asked == "claude_code" else ""
    return _CLAUDE_MODES.get(mode, Permission.UNATTENDED)


def held_to(request: RunRequest, last: str | None) -> RunRequest:
    """The request under its profile, or else the last one of its conversation.

    The stricter of the profile and the agent's own mode counts.
    """
    profile = request.reply_to.get(PROFILE) or last
    if profile not in _PROFILES:
        return request
    permission = strictest(request.permission, _PROFILES[profile])
    return replace(request, permission=permission)
