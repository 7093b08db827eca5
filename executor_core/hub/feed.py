"""What a user's open pages are told, as it happens: a bounded ring of numbered events per user."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, field

from executor_core.clock import Clock
from executor_core.hub.store import Json
from executor_core.web import ServerEvent

MAX_EVENTS = 2000
MAX_BYTES = 4_000_000


@dataclass
class _Ring:
    last_id: int
    events: deque[tuple[ServerEvent, int]] = field(default_factory=deque)
    size_bytes: int = 0
    followers: set[asyncio.Event] = field(default_factory=set)
    is_over: bool = False

    def add(self, event: str, data: Json) -> None:
        self.last_id += 1
        size = len(json.dumps(data))
        self.events.append((ServerEvent(self.last_id, event, data), size))
        self.size_bytes += size
        while len(self.events) > MAX_EVENTS or self.size_bytes > MAX_BYTES:
            self.size_bytes -= self.events.popleft()[1]

    def after(self, event_id: int) -> list[ServerEvent]:
        """What came after `event_id`; one `reload` if that is no longer known."""
        oldest = self.last_id - len(self.events) + 1
        if not oldest - 1 <= event_id <= self.last_id:
            return [ServerEvent(self.last_id, "reload", {})]
        newer: list[ServerEvent] = []
        for event, _size in reversed(self.events):
            if event.id <= event_id:
                break
            newer.append(event)
        return newer[::-1]


class Feed:
    """Publish without waiting; followers that fall too far behind are told to reload."""

    def __init__(self, clock: Clock) -> None:
        # Ids go on growing after a restart, so that an old one is recognised as too old.
        self._first_id = int(clock.now().timestamp() * 1000)
        self._rings: dict[int, _Ring] = {}

    def _ring(self, user_id: int) -> _Ring:
        return self._rings.setdefault(user_id, _Ring(self._first_id))

    def publish(self, user_id: int, event: str, data: Json) -> None:
        """Tell the user's pages."""
        ring = self._ring(user_id)
        ring.add(event, data)
        for follower in ring.followers:
            follower.set()

    def keep_only(self, user_ids: Collection[int]) -> None:
        """End what everybody else follows."""
        for user_id in self._rings.keys() - set(user_ids):
            ring = self._rings.pop(user_id)
            ring.is_over = True
            for follower in ring.followers:
                follower.set()

    def follow(self, user_id: int, after: int | None = None) -> AsyncGenerator[ServerEvent, None]:
        """All events after the one numbered `after`, or from this call on. Ends with the user."""
        ring = self._ring(user_id)
        return _follow(ring, ring.last_id if after is None else after)


async def _follow(ring: _Ring, at: int) -> AsyncGenerator[ServerEvent, None]:
    news = asyncio.Event()
    ring.followers.add(news)
    try:
        while not ring.is_over:
            news.clear()
            for event in ring.after(at):
                at = event.id
                yield event
            await news.wait()
    finally:
        ring.followers.discard(news)
