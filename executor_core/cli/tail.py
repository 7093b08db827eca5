"""The end of a log file, and what is added to it."""

from __future__ import annotations

import asyncio
import os
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
        file = _open(path)
    except OSError as error:
        raise ExecutorError("no_log", path=path) from error
    with file:
        for line in deque(file, maxlen=lines):
            click.echo(line, nl=False)
        if follow:
            asyncio.run(_follow(file, path))


async def _follow(file: TextIO, path: Path) -> None:
    clock = SystemClock()
    try:
        while True:
            # Asked for before reading: what was written up to a rotation is in the old file.
            is_rotated = _is_rotated(file, path)
            while line := file.readline():
                click.echo(line, nl=False)
            if is_rotated:
                file.close()
                file = _open(path)
            else:
                await clock.sleep(_LOOK_EVERY_S)
    finally:
        file.close()


def _is_rotated(file: TextIO, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:  # between the two steps of a rotation
        return False


def _open(path: Path) -> TextIO:
    return path.open(encoding="utf-8", errors="replace")
