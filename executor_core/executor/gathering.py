"""Deltas that come faster than they can be handled one by one go on together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import groupby

from executor_core.model import AgentEvent, ReasoningDelta, TextDelta

FEW = 8
"""So many of one turn of the loop are passed on as they came; no model writes as fast."""
_MOST_CHARACTERS = 64 * 1024

_Delta = TextDelta | ReasoningDelta


class Gathering:
    """Holds deltas until the turn of the loop in which they came is over, or another event comes.

    Order and words stay the same; many of one kind become one.
    """

    def __init__(self, pass_on: Callable[[AgentEvent], None]) -> None:
        self._pass_on = pass_on
        self._held: list[_Delta] = []
        self._characters = 0

    def take(self, event: AgentEvent) -> None:
        """One event, as it happens. What the agent sent along with a delta keeps it apart."""
        if not isinstance(event, _Delta) or event.raw is not None:
            self.flush()
            self._pass_on(event)
            return
        if not self._held:
            asyncio.get_running_loop().call_soon(self.flush)
        self._held.append(event)
        self._characters += len(event.text)
        if self._characters > _MOST_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """Pass on what is held."""
        held, self._held, self._characters = self._held, [], 0
        if len(held) <= FEW:
            for event in held:
                self._pass_on(event)
            return
        for kind, deltas in groupby(held, type):
            self._pass_on(kind(text="".join(delta.text for delta in deltas)))
