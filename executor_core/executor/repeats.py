"""Notices when an agent fails in the same way again and again."""

from __future__ import annotations

from typing import TypeAlias

from executor_core.model import (
    AgentEvent,
    Notice,
    ReasoningDelta,
    TextDelta,
    ToolFinished,
    ToolStarted,
)

MAX_IDENTICAL_ERRORS = 20
"""So many in a row end a run. Agents that give up by themselves do so earlier."""
MAX_CALLS = 100

_Failure: TypeAlias = tuple[str, str]


class Repeats:
    """Counts identical errors in a row: a model service that fails, a tool call that fails.

    Retries are identical until the model says or does something. A tool call is identical if tool,
    input and output are; what the model says in between does not count as progress there.
    """

    def __init__(self) -> None:
        self._calls: dict[str, str] = {}
        self._last: _Failure | None = None
        self.count = 0

    def is_stuck(self, event: AgentEvent) -> str | None:
        """The words of the error, once it came `MAX_IDENTICAL_ERRORS` times."""
        match event:
            case Notice(code="model_retry" as code, text=words):
                self._count((code, ""))
            case ToolStarted(call_id=call_id, name=name, input=tool_input):
                if len(self._calls) >= MAX_CALLS:
                    self._calls.clear()
                self._calls[call_id] = f"{name} {tool_input!r}"
                self._forget("model_retry")
                return None
            case ToolFinished(call_id=call_id, output=words, is_error=True):
                self._count((self._calls.pop(call_id, ""), words))
            case ToolFinished(call_id=call_id):
                self._calls.pop(call_id, None)
                self._last = None
                return None
            case TextDelta() | ReasoningDelta():
                self._forget("model_retry")
                return None
            case _:
                return None
        return words if self.count >= MAX_IDENTICAL_ERRORS else None

    def _count(self, failure: _Failure) -> None:
        self.count = self.count + 1 if failure == self._last else 1
        self._last = failure

    def _forget(self, kind: str) -> None:
        if self._last is not None and self._last[0] == kind:
            self._last = None
