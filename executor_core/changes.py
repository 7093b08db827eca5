"""Says that something is different now; whoever waits looks for themselves what it is."""

from __future__ import annotations

import asyncio


class Changes:
    """Any number of readers, none of which costs the teller anything or is told too late."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Something changed. Returns at once."""
        told, self._next = self._next, asyncio.Event()
        told.set()

    @property
    def next(self) -> asyncio.Event:
        """Set by the next `tell`. Take it before looking, so that nothing falls in between."""
        return self._next
