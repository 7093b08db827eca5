"""The executor, but it kills itself with SIGKILL at one exact point of a run.

`python -m tests.support.crashing POINT …` is `wegent-executor …` until then. Nothing is flushed,
closed or told: what the next start finds is what a power cut would have left.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from executor_core.cli.main import main
from executor_core.executor import Executor
from executor_core.journal import EventLog, Journal
from executor_core.links.device.work import DeviceWork
from executor_core.model import AgentResult, TextDelta
from executor_core.process import ProcessTree

STREAMED = 2
"""`streaming` is after so many pieces of text."""


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL does not return")


def _before(owner: type, name: str) -> None:
    async def dead(*_arguments: Any, **_more: Any) -> NoReturn:
        _die()

    setattr(owner, name, dead)


def _after(owner: type, name: str) -> None:
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @functools.wraps(original)
    async def last(*arguments: Any, **more: Any) -> NoReturn:
        await original(*arguments, **more)
        _die()

    setattr(owner, name, last)


def _at_spawn(is_started: bool) -> None:
    original = ProcessTree.spawn

    async def spawn(argv: Any, *, marker: str, **more: Any) -> ProcessTree:
        is_run = ":run_" in marker
        if is_run and not is_started:
            _die()
        tree = await original(argv, marker=marker, **more)
        if is_run:
            _die()
        return tree

    setattr(ProcessTree, "spawn", spawn)  # noqa: B010  to mypy this is no method


def _at_event(kind: type, count: int) -> None:
    original = EventLog.append
    seen = 0

    def append(log: EventLog, event: Any) -> Any:
        nonlocal seen
        written = original(log, event)
        seen += isinstance(event, kind)
        if seen >= count:
            _die()
        return written

    setattr(EventLog, "append", append)  # noqa: B010


POINTS: dict[str, Callable[[], None]] = {
    "accepted": lambda: _after(Journal, "accept"),
    "before_spawn": lambda: _at_spawn(is_started=False),
    "spawned": lambda: _at_spawn(is_started=True),
    "streaming": lambda: _at_event(TextDelta, STREAMED),
    "result_on_file": lambda: _at_event(AgentResult, 1),
    "before_outcome": lambda: _before(Journal, "finish"),
    "outcome_on_disk": lambda: _after(Journal, "finish"),
    "before_terminal": lambda: _before(DeviceWork, "_call_terminal"),
    "acknowledged": lambda: _before(Executor, "delivered"),
    "delivered": lambda: _after(Journal, "delivered"),
}


if __name__ == "__main__":
    POINTS[sys.argv.pop(1)]()
    main()
