"""What a person should know of a run of Claude Code besides its answer: what could not be done."""

from __future__ import annotations

from collections.abc import Iterator

from executor_core.agents.claude_failures import TITLE
from executor_core.agents.claude_turn import Task, Turn
from executor_core.agents.failures import failure
from executor_core.agents.loose_json import Json, as_dict, as_dicts, as_str
from executor_core.agents.mcp import ToolServers
from executor_core.model import Notice, Permission
from executor_core.texts import Message, text

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
            words = text("notice.permission_mode", agent=TITLE, mode=mode, wanted=self._wanted)
            yield from self._once("permission_mode", words)
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
            words = text("notice.tool_denied", tool=tool, what=short(what))
            yield from self._once("tool_denied", words)

    def on_task_end(self, task: Task | None, notification: Json) -> Iterator[Notice]:
        """A sub-agent that failed. What a command came to is told to the model."""
        if task is not None and task.is_sub_agent and notification.get("status") == "failed":
            reason = as_str(notification.get("summary"))
            words = text("notice.sub_agent_failed", name=task.words, reason=reason)
            yield from self._once("sub_agent_failed", words)

    def forbidden(self) -> Message | None:
        """The failure of a run that was allowed to do nothing of what it tried."""
        if not self._is_mode_other or not self._denied or self.has_worked:
            return None
        reason = text("agents.all_denied", tools=", ".join(sorted(self._denied)))
        return failure("agent_forbidden", agent=TITLE, reason=reason)

    def _once(self, code: str, words: str) -> Iterator[Notice]:
        if words not in self._told:
            self._told.add(words)
            yield Notice(code=code, text=words)


def of_background(turn: Turn, what: str) -> Iterator[Notice]:
    """What is still in the background: that it `waits`, or is `ended` with the run."""
    for kind, is_sub_agent in (("commands", False), ("sub_agents", True)):
        names = [task.words for task in turn.left if task.is_sub_agent is is_sub_agent]
        if names:
            key = f"notice.background.{what}.{kind}"
            words = text(key, count=len(names), names=", ".join(names))
            yield Notice(code=f"background_{what}", text=words)


def short(words: str) -> str:
    """A command as a name: on one line, and not longer than a sentence bears."""
    words = " ".join(words.split())
    return words if len(words) <= MAX_NAME else words[:MAX_NAME] + "…"
