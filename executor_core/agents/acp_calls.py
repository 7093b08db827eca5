"""The tool calls of one turn in the Agent Client Protocol, as they grow, and which may be made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acp import schema
from pydantic import ValidationError

from executor_core.agents.answer import Denied, cut_output
from executor_core.agents.json_access import Json, as_dict
from executor_core.model import (
    AgentEvent,
    FileChanged,
    Permission,
    ToolFinished,
    ToolStarted,
)

_CHANGES = {"edit": "edited", "delete": "deleted", "move": "moved"}
_EDITING = frozenset({"read", *_CHANGES})
"""What may be done in the folder without a person's consent, if work in it was permitted."""
_ALLOW = ("allow_once", "allow_always")
_REJECT = ("reject_once", "reject_always")
_NOBODY = schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))


@dataclass
class _Call:
    """A tool call as it grows."""

    name: str
    kind: str | None = None
    input: Json = field(default_factory=dict)
    output: object = None
    content: list[Any] = field(default_factory=list)
    paths: tuple[str, ...] = ()
    is_started: bool = False


class Calls:
    """The calls of a turn: what they are, what came of them, and which were not permitted."""

    def __init__(self, folder: Path, permission: Permission) -> None:
        self._folder = folder
        self._permission = permission
        self._open: dict[str, _Call] = {}
        self._plans = 0
        self.denied = Denied()

    @property
    def are_at_work(self) -> bool:
        """Whether one is, as far as agents say that: some never tell that it began.

        While a model still writes down what it wants, its call is open and says nothing yet.
        """
        return any(call.is_started or call.input or call.paths for call in self._open.values())

    def told(self, update: schema.ToolCallStart | schema.ToolCallProgress) -> Iterator[AgentEvent]:
        """The agent begins a call, or tells more of it."""
        call_id, title = update.tool_call_id, update.title or update.kind or ""
        call = self._open.setdefault(call_id, _Call(name=title))
        call.kind = update.kind or call.kind
        if isinstance(update.raw_input, dict) and update.raw_input:
            call.input = update.raw_input
        if update.raw_output is not None:
            call.output = update.raw_output
        if update.content:
            call.content = update.content
        if update.locations:
            call.paths = tuple(location.path for location in update.locations)
        # A call that is still pending may not know yet what it will do.
        if not call.is_started and update.status not in (None, "pending"):
            yield _started(call_id, call)
        if update.status in ("completed", "failed"):
            del self._open[call_id]
            yield from self._finished(call_id, call, update.status == "failed")

    def plan(self, plan: schema.AgentPlanUpdate) -> Iterator[AgentEvent]:
        """Shown as a call of its own."""
        self._plans += 1
        call_id = f"plan-{self._plans}"
        entries = [{"content": entry.content, "status": entry.status} for entry in plan.entries]
        yield ToolStarted(call_id=call_id, name="plan", input={"entries": entries})
        yield ToolFinished(call_id=call_id, output="")

    def close(self) -> Iterator[AgentEvent]:
        """The turn is over: calls without an end have failed, and denied ones are named."""
        for call_id, call in self._open.items():
            if not call.is_started:
                yield _started(call_id, call)
            yield ToolFinished(call_id=call_id, output=_output(call), is_error=True)
        self._open.clear()
        yield from self.denied.notices()

    def answer(self, params: object) -> schema.RequestPermissionResponse:
        """Whether the agent may make a call that it asks for."""
        try:
            request = schema.RequestPermissionRequest.model_validate(params)
        except ValidationError:
            return _NOBODY
        asked = request.tool_call
        is_allowed = self._permission is Permission.UNATTENDED or self._is_inside(asked)
        if not is_allowed:
            call = self._open.get(asked.tool_call_id)
            what = asked.title or (call.name if call else "") or "?"
            self.denied.add(what)
        for kind in _ALLOW if is_allowed else _REJECT:
            for option in request.options:
                if option.kind == kind:
                    chosen = schema.AllowedOutcome(outcome="selected", option_id=option.option_id)
                    return schema.RequestPermissionResponse(outcome=chosen)
        return _NOBODY

    def _is_inside(self, asked: schema.ToolCallUpdate) -> bool:
        """Whether it reads or changes files of the working folder only, and says which."""
        call = self._open.get(asked.tool_call_id)
        kind = asked.kind or (call.kind if call else None)
        paths = [location.path for location in asked.locations or []]
        paths += [diff.path for diff in _diffs(asked.content or [])]
        folder = self._folder.resolve()
        return (
            kind in _EDITING
            and bool(paths)
            and all((folder / Path(path)).resolve().is_relative_to(folder) for path in paths)
        )

    def _finished(self, call_id: str, call: _Call, has_failed: bool) -> Iterator[AgentEvent]:
        is_error = has_failed or _exit_code(call.output) not in (None, 0)
        yield ToolFinished(call_id=call_id, output=_output(call), is_error=is_error)
        if has_failed:
            return
        changes = {
            diff.path: "edited" if diff.old_text else "written" for diff in _diffs(call.content)
        }
        if not changes and call.kind in _CHANGES:
            changes = dict.fromkeys(call.paths, _CHANGES[call.kind])
        for path, change in changes.items():
            yield FileChanged(path=str(self._folder / path), change=change)


def _started(call_id: str, call: _Call) -> ToolStarted:
    call.is_started = True
    known: Json = {"paths": list(call.paths)} if call.paths else {}
    return ToolStarted(call_id=call_id, name=call.name, input=call.input or known)


def _diffs(content: list[Any]) -> list[schema.FileEditToolCallContent]:
    return [part for part in content if isinstance(part, schema.FileEditToolCallContent)]


def _exit_code(output: object) -> object:
    """Of a shell command: OpenCode calls one completed whatever it returned."""
    return as_dict(as_dict(output).get("metadata")).get("exit")


def _output(call: _Call) -> str:
    words = [
        part.content.text
        for part in call.content
        if isinstance(part, schema.ContentToolCallContent)
        and isinstance(part.content, schema.TextContentBlock)
    ]
    if not words and isinstance(call.output, str):
        words = [call.output]
    return cut_output("\n".join(words))
