"""Keeps secrets out of what an agent says, before anything is written down or sent."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol

import msgspec
from msgspec.structs import replace

from executor_core.model import AgentEvent, ReasoningDelta, TextDelta
from executor_core.unicode import encodable

_Delta = TextDelta | ReasoningDelta


class Secrets(Protocol):
    """The secrets that this process knows."""

    def hold(self, secrets: Collection[str]) -> None:
        """Know these as well, for as long as they are held."""

    def release(self, secrets: Collection[str]) -> None:
        """Those who held them have ended."""

    def hide(self, text: str) -> str:
        """`text` without them, in whatever spelling they stand there."""

    def unfinished(self, text: str) -> int:
        """How many characters at the end of `text` may be the beginning of one."""


class Veil:
    """What passes through it holds no secret, not even one that is split over several deltas.

    The end of a delta that may begin a secret waits for what comes next.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._waiting: _Delta | None = None

    def through(self, event: AgentEvent) -> Iterator[AgentEvent]:
        """`event`, and what waited for it; a delta may have to wait itself."""
        if not isinstance(event, _Delta):
            yield from self.rest()
            yield self._covered(event)
            return
        if self._waiting is not None:
            if type(self._waiting) is type(event):
                event = replace(event, text=self._waiting.text + event.text)
                self._waiting = None
            else:
                yield from self.rest()
        words = self._secrets.hide(event.text)
        said = len(words) - self._secrets.unfinished(words)
        if said < len(words):
            self._waiting = type(event)(text=words[said:])
        if said:
            # What the agent sent along may hold what is taken out of the text, or waits.
            raw = event.raw if words[:said] == event.text else None
            yield self._covered(replace(event, text=words[:said], raw=raw))

    def rest(self) -> Iterator[AgentEvent]:
        """What still waits; nothing follows that could make a secret of it."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            yield waiting

    def _covered(self, event: AgentEvent) -> AgentEvent:
        event = encodable(event)
        written = msgspec.json.encode(event).decode()
        covered = self._secrets.hide(written)
        return event if covered == written else msgspec.json.decode(covered, type=type(event))
