"""Asyncio tasks with an owner, a name and an end.

The word *task* belongs to the server; an asyncio task of ours is a *job*.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

_log = logging.getLogger("executor.jobs")
_T = TypeVar("_T")


class Jobs:
    """The jobs of one owner: kept referenced, logged when they fail, ended together."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._jobs: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
        """Start `work`. Its failure is logged; await the job to see it yourself."""
        if self._closed:
            work.close()
            raise RuntimeError(f"{self._owner} is closed and starts no job {name!r}")
        job = asyncio.Task(work, name=f"{self._owner}/{name}")
        self._jobs.add(job)
        job.add_done_callback(self._ended)
        return job

    def _ended(self, job: asyncio.Task[Any]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            _log.error("job %s failed: %s", job.get_name(), error, exc_info=error)

    async def close(self) -> None:
        """Cancel what is left and wait for it. Nothing starts afterwards; repeating is harmless."""
        self._closed = True
        while self._jobs:
            for job in self._jobs:
                job.cancel()
            await asyncio.wait(set(self._jobs))


async def is_first(work: Coroutine[Any, Any, Any], other: Coroutine[Any, Any, Any]) -> bool:
    """Run both until one is done, and cancel the rest. True if it was `work`; raises as it does."""
    jobs = Jobs("race")
    first = jobs.spawn(work, "work")
    second = jobs.spawn(other, "other")
    try:
        await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
        return first.done() and first.result() is None
    finally:
        await jobs.close()
