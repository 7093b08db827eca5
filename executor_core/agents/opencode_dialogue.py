"""One turn with OpenCode: what the protocol does not say, its log on stderr does.

Over the protocol it says nothing while it tries a failing model service again, nor when it asks one
without end, nor of servers of tools that do not start. Facts of the log are those of version 1.18.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from executor_core.agents.agent import Wait
from executor_core.agents.failures import failed, failure, notice
from executor_core.agents.mcp import ToolServers
from executor_core.model import AgentEvent, AgentResult, Notice, SessionStarted
from executor_core.texts import Message, text

if TYPE_CHECKING:  # it needs the protocol's library, which only a run may load
    from executor_core.agents.acp_dialogue import AcpDialogue

TITLE = "OpenCode"
MAX_ATTEMPTS = 6
"""How often OpenCode itself asks a failing model service, within about 70 seconds."""
MAX_UNREACHABLE = 3
"""How often it may fail to reach the service before it is stopped, after about 7 seconds."""
MAX_EMPTY_ANSWERS = 20
"""OpenCode asks again at once, and without end, where an answer is empty."""

_FIELD = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')


class ModelCheck(Struct, frozen=True):
    """Refuses, before the prompt is sent, to let OpenCode choose a model that nobody asked for."""

    wanted: str | None

    def __call__(self, model: str | None, offered: frozenset[str]) -> Message | None:
        if model is None:
            return None
        if not offered:
            return failure("opencode_not_signed_in")
        if model not in offered or self.wanted not in (None, model):
            missing = self.wanted or model
            return failure("agent_model_missing", agent=TITLE, model=missing)
        return None


class OpenCodeDialogue:
    """`inner` speaks the protocol; this adds what only the log on stderr says."""

    def __init__(self, inner: AcpDialogue, servers: ToolServers) -> None:
        self._inner = inner
        self._servers = servers
        self._session_id: str | None = None
        self._empty_answers = 0
        self._failures = 0
        self._unreachable = 0
        self._failure = ""
        self._is_news = False
        self._has_asked = False

    def outgoing(self) -> bytes:
        return self._inner.outgoing()

    def interrupt(self) -> bytes | None:
        return self._inner.interrupt()

    def waits(self) -> Wait:
        wait = self._inner.waits()
        return msgspec.structs.replace(wait, then=tuple(map(self._named, wait.then)))

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        for event in self._inner.feed(line):
            if isinstance(event, SessionStarted):
                self._session_id = event.session_id
            self._empty_answers = 0
            yield self._named(event)

    def feed_stderr(self, line: bytes) -> Iterator[AgentEvent]:
        """Retries as notices; the end of a run that would go on for ever."""
        entry = _log_entry(line)
        if entry.get("message") == "server unavailable":
            yield from self._servers.told(entry.get("key", "?"), entry.get("status", ""))
        if self._session_id is None or entry.get("session.id") != self._session_id:
            return
        if entry.get("small") == "true":  # it looks for a title
            return
        match entry.get("message"):
            case "loop":
                yield from self._asked_again()
            case "stream error":
                yield from self._failed(entry.get("error.error", ""))
            case "stream":
                yield from self._asks()

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        said = [line for line in stderr.splitlines() if not line.startswith("timestamp=")]
        result = self._inner.without_result(exit_code, "\n".join(said))
        return msgspec.structs.replace(result, error=self._named_error(result.error))

    def _named(self, event: AgentEvent) -> AgentEvent:
        if not isinstance(event, AgentResult):
            return event
        return msgspec.structs.replace(event, error=self._named_error(event.error))

    def _named_error(self, error: Message | None) -> Message | None:
        """OpenCode tells no status, but it asks again only where the service itself fails."""
        is_unnamed = error is not None and error.code == "agent_failed"
        # The last line of the log may come after the result, which takes another pipe.
        if not is_unnamed or self._failures < MAX_ATTEMPTS - 1:
            return error
        status = text("acp.answered_with_error")
        return failure("model_failing", status=status, reason=self._failure)

    def _asks(self) -> Iterator[AgentEvent]:
        """It asks the model. Once more in one step it gives up what came of the last try, also of
        one that merely stood still, of which the log says nothing."""
        if self._is_news:
            yield self._tries_again()
        if self._has_asked:
            yield from self._inner.abandon()
        self._has_asked = True

    def _asked_again(self) -> Iterator[AgentEvent]:
        self._failures, self._unreachable, self._is_news = 0, 0, False
        self._has_asked = False
        self._empty_answers += 1
        if self._empty_answers > MAX_EMPTY_ANSWERS:
            count = MAX_EMPTY_ANSWERS
            yield failed("model_says_nothing", count=count, agent=TITLE)

    def _failed(self, words: str) -> Iterator[AgentEvent]:
        self._failure = re.sub(r"^\w+Error: |\s*\(cause: .*\)$", "", words, flags=re.DOTALL)
        self._failures, self._is_news = self._failures + 1, True
        is_unreachable = self._failure.startswith("Cannot connect to API")
        self._unreachable = self._unreachable + 1 if is_unreachable else 0
        if self._unreachable >= MAX_UNREACHABLE:
            yield failed("model_unreachable", reason=self._failure)

    def _tries_again(self) -> Notice:
        self._is_news = False
        counts = {"attempt": self._failures + 1, "attempts": MAX_ATTEMPTS}
        return notice("notice.model_failed", code="model_retry", reason=self._failure, **counts)


def _log_entry(line: bytes) -> dict[str, str]:
    """The fields of a line of the log; empty for any other line."""
    if not line.startswith(b"timestamp="):
        return {}
    words = line.decode(errors="replace")
    return {name: _unquoted(value) for name, value in _FIELD.findall(words)}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return value.strip('"')
