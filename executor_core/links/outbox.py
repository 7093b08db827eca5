"""The outcomes of one door on their way to its server: on disk until they are acknowledged."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from executor_core.clock import Clock, wait_or
from executor_core.errors import ExecutorError
from executor_core.executor import Executor, RunRow
from executor_core.jobs import Jobs
from executor_core.model import Source

_log = logging.getLogger("executor.links")

RETRY_S = 60.0
MAX_DELIVERIES = 8
"""Outcomes on their way at the same time: one that is not acknowledged must not hold up others."""


class Postman(Protocol):
    """How a door hands over outcomes."""

    def is_ours(self, address: str | None) -> bool:
        """Whether outcomes for that server and account may be told now."""

    async def deliver(self, row: RunRow) -> None:
        """Tell one outcome; `Outbox.close` if that is settled. What is not settled stays."""

    def forget(self, run_id: str) -> None:
        """Nothing more of that run is told from memory."""


class Outbox:
    """The outbox of the door `source`. It is read at the start of a session and then seldom: what
    ends meanwhile is handed in (`offer`)."""

    def __init__(self, executor: Executor, source: Source, postman: Postman, clock: Clock) -> None:
        self._executor = executor
        self._source = source
        self._postman = postman
        self._clock = clock
        self._jobs: Jobs | None = None
        self._under_way: set[str] = set()
        self._places = asyncio.Semaphore(MAX_DELIVERIES)
        self._look = asyncio.Event()

    async def serve(self) -> None:
        """Deliver until cancelled: called once per session with the server."""
        self._jobs = jobs = Jobs("outbox")
        try:
            while True:
                self._look.clear()
                for row in await self._rows():
                    self.offer(row)
                await wait_or(self._look, self._clock, RETRY_S)
        finally:
            self._jobs = None
            await jobs.close()
            self._under_way.clear()

    def offer(self, row: RunRow) -> None:
        """This outcome is to be told: at once, or by the next session where there is none now."""
        if self._jobs is None:
            return
        if not self._postman.is_ours(row.address):
            self._postman.forget(row.run_id)
        elif row.run_id not in self._under_way:
            self._under_way.add(row.run_id)
            self._jobs.spawn(self._deliver_in_turn(row), f"deliver {row.run_id}")

    def look_again(self) -> None:
        """Somebody asks for an outcome, or another account's may be told now."""
        self._look.set()

    async def close(self, row: RunRow, error: str | None = None) -> None:
        """The server has it, or (`error`) has said for good that it will not take it."""
        self._postman.forget(row.run_id)
        await self._executor.delivered(row, error)

    async def flush(self, deadline_s: float) -> None:
        """Wait until everything is delivered, but not longer; the rest stays on disk."""
        deadline = self._clock.monotonic() + deadline_s

        def may_wait() -> bool:
            return self._jobs is not None and self._clock.monotonic() < deadline

        while may_wait():
            # The reading also waits for what is being written about the last ones.
            rows = await self._rows()
            ours = {row.run_id for row in rows if self._postman.is_ours(row.address)}
            if not ours:
                return
            while may_wait() and not ours.isdisjoint(self._executor.table.undelivered.values()):
                await self._clock.sleep(0.05)

    async def _rows(self) -> list[RunRow]:
        try:
            return await self._executor.undelivered(self._source)
        except ExecutorError as error:
            _log.error("the outbox cannot be read now: %s", error)
            return []

    async def _deliver_in_turn(self, row: RunRow) -> None:
        try:
            async with self._places:
                await self._postman.deliver(row)
        finally:
            self._under_way.discard(row.run_id)
