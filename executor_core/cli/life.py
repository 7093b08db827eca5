"""How the running executor does, and telling it to wait, to go on or to end."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from executor_core.cli.context import invocation
from executor_core.cli.duration import Duration
from executor_core.cli.out import say
from executor_core.cli.outcome import Exit, speaks_plainly
from executor_core.cli.words import Verb, as_json
from executor_core.clock import SystemClock
from executor_core.errors import ExecutorError
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.control import RemoteControl, Status


LONGEST_PAUSE = "30d"
STOP_LIMIT_S = 15.0
"""Quitting takes ten seconds at most; what takes longer is said."""


@click.command(cls=Verb)
@as_json
@speaks_plainly
def status(is_json: bool) -> None:
    from executor_core.cli import show

    async def ask(control: RemoteControl) -> tuple[Status, str | None]:
        return await control.status(), None if is_json else await control.console()

    found, console = invocation().ask(ask)
    if is_json:
        show.as_json(found)
    else:
        show.status(found)
        if console:
            say(text("cli.console", url=console))
    sys.exit(_status_code(found))


def _status_code(found: Status) -> Exit:
    from executor_core.model import LinkState

    states = [link.state for link in found.links]
    if LinkState.ONLINE in states:
        return Exit.OK
    return Exit.REJECTED if LinkState.REJECTED in states else Exit.OFFLINE


@click.command(cls=Verb)
@click.option("--for", "for_s", type=Duration(most=LONGEST_PAUSE), metavar="TIME")
@click.option("--reason", metavar="TEXT")
@speaks_plainly
def pause(for_s: float | None, reason: str | None) -> None:
    from executor_core.cli import show

    found = invocation().ask(lambda control: control.pause(for_s, reason))
    say(show.pause_line(found))


@click.command(cls=Verb)
@speaks_plainly
def resume() -> None:
    invocation().ask(lambda control: control.resume())
    say(text("cli.resumed"))


@click.command(cls=Verb)
@speaks_plainly
def drain() -> None:
    found = invocation().ask(lambda control: control.drain())
    say(text("cli.draining", count=len(found.runs)))


@click.command(cls=Verb)
@speaks_plainly
def stop() -> None:
    async def ask(control: RemoteControl) -> None:
        try:
            await control.stop()
        except ExecutorError as error:
            if error.code != "executor_silent":
                raise
            raise ExecutorError("did_not_stop", pid=control.pid) from error
        await _until_gone(control.pid)

    invocation().ask(ask)
    say(text("cli.stopped"))


async def _until_gone(pid: int) -> None:
    import psutil

    clock = SystemClock()
    ends_at = clock.monotonic() + STOP_LIMIT_S
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        # One that only waits for its parent to notice counts as gone.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if clock.monotonic() > ends_at:
                raise ExecutorError("did_not_stop", pid=pid)
            await clock.sleep(0.05)
