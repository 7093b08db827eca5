"""What the disk did not take, offered to it again until it does."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs

_log = logging.getLogger("executor.executor")

TRY_AGAIN_S = 30.0

Write: TypeAlias = Callable[[], Awaitable[None]]


class Backlog:
    """Writes to the journal that may have to wait; those of one run keep their order."""

    def __init__(self, clock: Clock, jobs: Jobs) -> None:
        self._clock = clock
        self._jobs = jobs
        self._waiting: dict[str, list[Write]] = {}
        self._is_closed = False

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._waiting

    async def write(self, run_id: str, write: Write) -> None:
        """Write now, or later where that fails, for whatever reason; never raises."""
        if run_id in self._waiting:
            self._waiting[run_id].append(write)
            return
        try:
            await write()
        except Exception as error:
            # Also what nobody foresaw: the run has ended, and its slot is for others.
            is_foreseen = isinstance(error, ExecutorError)
            words = "%s is kept in memory only, for now: %s"
            _log.error(words, run_id, error, exc_info=None if is_foreseen else error)
            if not self._waiting and not self._is_closed:
                self._jobs.spawn(self._try_until_empty(), "save again")
            self._waiting.setdefault(run_id, []).append(write)

    async def close(self) -> None:
        """One last offer; whatever comes later has one chance."""
        self._is_closed = True
        await self._try_again()

    async def _try_again(self) -> None:
        for run_id, writes in list(self._waiting.items()):
            with contextlib.suppress(Exception):  # said once; the next time may find room
                while writes:
                    await writes[0]()
                    writes.pop(0)
                self._waiting.pop(run_id, None)
                _log.info("%s is on disk now", run_id)

    async def _try_until_empty(self) -> None:
        while self._waiting:
            await self._clock.sleep(TRY_AGAIN_S)
            await self._try_again()
