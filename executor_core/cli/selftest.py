"""A round trip through the server."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from executor_core.cli.context import invocation
from executor_core.cli.out import say
from executor_core.cli.outcome import Exit, exit_of, speaks_plainly
from executor_core.cli.words import Verb, as_json
from executor_core.clock import SystemClock
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.services.selftest import SelfTest, Step

_SIGNS = {"ok": "✓", "failed": "✗", "skipped": "–"}
_MAX_NOTE = 300


class _Report(Struct, frozen=True):
    ok: bool
    seconds: float
    steps: list[Step]


@click.command(cls=Verb)
@click.option("--prompt", metavar="TEXT")
@click.option("--backend-url", metavar="URL")
@click.option("--team", "team_id", type=click.IntRange(1), metavar="ID")
@click.option("--timeout", "timeout_s", type=click.IntRange(1, 3600), default=60, metavar="S")
@click.option("--skip-dispatch", is_flag=True)
@as_json
@speaks_plainly
def selftest(
    prompt: str | None,
    backend_url: str | None,
    team_id: int | None,
    timeout_s: int,
    skip_dispatch: bool,
    is_json: bool,
) -> None:
    from executor_core.cli import show
    from executor_core.services.selftest import SelfTest

    asked = invocation()
    if backend_url:
        asked = asked.also({"server.url": backend_url})
    load, reach = asked.desk()
    test = SelfTest(
        load,
        reach,
        SystemClock(),
        prompt=prompt or text("selftest.prompt"),
        timeout_s=timeout_s,
        team_id=team_id,
        skips_dispatch=skip_dispatch,
    )
    steps = asyncio.run(_run(test, is_silent=is_json))
    error = steps[-1].error
    seconds = round(sum(step.seconds for step in steps), 3)
    if is_json:
        show.as_json(_Report(ok=error is None, seconds=seconds, steps=steps))
    elif error is None:
        say(text("selftest.good", seconds=f"{seconds:.1f}"))
    sys.exit(Exit.OK if error is None else exit_of(error.code))


async def _run(test: SelfTest, *, is_silent: bool) -> list[Step]:
    steps = []
    async for step in test.run():
        steps.append(step)
        if not is_silent:
            _say(step)
    return steps


def _say(step: Step) -> None:
    note = " ".join(step.note.split())
    note = note if len(note) <= _MAX_NOTE else f"{note[:_MAX_NOTE]}…"
    line = f"{_SIGNS[step.mark]} {step.seconds:7.2f} s  {step.title}"
    say(f"{line}: {note}" if note else line)
    if step.error is not None:
        say(f"    {step.error.sentence}")
