"""The end of a log file, and what is added to it."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TextIO

import click

from executor_core.clock import SystemClock
from executor_core.errors import ExecutorError

_LOOK_EVERY_S = 0.3


def print_tail(path: Path, lines: int, *, follow: bool) -> None:
    """Print the last lines; with `follow` go on, also over a rotation, until Ctrl-C."""
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ExecutorError("no_log", path=path) from error
    with file:
        for line in deque(file, maxlen=lines):
            click.echo(line, nl=False)
        if follow:
            _follow(file, path)


def _follow(file: TextIO, path: Path) -> None:
    import asyncio

    clock = SystemClock()

    async def watch(file: TextIO) -> None:
        while True:
            while line := file.readline():
                click.echo(line, nl=False)
            await clock.sleep(_LOOK_EVERY_S)
            if path.exists() and path.stat().st_size < file.tell():
                file.seek(0)

    asyncio.run(watch(file))
