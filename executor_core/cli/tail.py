"""The end of the log, and what is added to it."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

from executor_core.cli.out import say
from executor_core.clock import SystemClock
from executor_core.services.log import LogFiles, written


async def print_tail(path: Path, entries: int, *, follow: bool) -> None:
    """Print the last entries; with `follow` go on, also over a rotation, until Ctrl-C."""
    async with aclosing(LogFiles(path, SystemClock()).lines(entries, follow=follow)) as lines:
        async for line in lines:
            say(written(line))
