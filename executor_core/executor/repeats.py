"""Notices when an agent fails in the same way again and again, and fast.

Whoever waits for something asks again and again as well, but takes its time: that is no failure.
"""

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

MAX_IDENTICAL_ERRORS = 50
"""So many in a row end a run. Agents that give up by themselves do so earlier."""
MAX_CALLS = 100
FAST_S = 60.0
"""Failures that are further apart are no row."""
FAST_CALL_S = 2.0
"""A call that takes longer has waited, or worked."""

_Failure: TypeAlias = tuple[str, str]


class Repeats:
    """Counts identical errors in a row: a model service that fails, a tool call that fails.

    Retries are identical until the model says or does something. A tool call is identical if tool,
    input and output are; what the model says in between does not count as progress there.
    """

    def __init__(self) -> None:
        self._calls: dict[str, tuple[str, float]] = {}
        self._last: _Failure | None = None
        self._last_at = 0.0
        self.count = 0

    def is_stuck(self, event: AgentEvent, now: float) -> str | None:
        """The words of the error, once it came `MAX_IDENTICAL_ERRORS` times. `now` in seconds."""
        match event:
            case Notice(code="model_retry" as code, text=words):
                self._count((code, ""), now)
            case ToolStarted(call_id=call_id, name=name, input=tool_input):
                if len(self._calls) >= MAX_CALLS:
                    self._calls.clear()
                self._calls[call_id] = (f"{name} {tool_input!r}", now)
                self._forget("model_retry")
                return None
            case ToolFinished(call_id=call_id, output=words, is_error=is_error):
                call, since = self._calls.pop(call_id, ("", now))
                if not is_error or now - since >= FAST_CALL_S:
                    self._last = None
                    return None
                self._count((call, words), now)
            case TextDelta() | ReasoningDelta():
                self._forget("model_retry")
                return None
            case _:
                return None
        return words if self.count >= MAX_IDENTICAL_ERRORS else None

    def _count(self, failure: _Failure, now: float) -> None:
        is_again = failure == self._last and now - self._last_at < FAST_S
        self.count = self.count + 1 if is_again else 1
        self._last, self._last_at = failure, now

    def _forget(self, kind: str) -> None:
        if self._last is not None and self._last[0] == kind:
            self._last = None
