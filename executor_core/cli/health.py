"""The verbs `doctor`, `bundle` and `help`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from executor_core.cli.context import choose_language, invocation
from executor_core.cli.out import say
from executor_core.cli.outcome import Exit, speaks_plainly
from executor_core.cli.words import Verb, as_json
from executor_core.clock import SystemClock
from executor_core.errors import ExecutorError
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.services.doctor import Doctor
    from executor_core.services.interface import Check

_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "–"}
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@click.command(cls=Verb)
@as_json
@click.option("--fix", "is_fix", is_flag=True)
@speaks_plainly
def doctor(is_json: bool, is_fix: bool) -> None:
    from executor_core.cli import show

    checks = asyncio.run(_examine(_doctor(), is_silent=is_json, is_fix=is_fix))
    if is_json:
        show.as_json(checks)
    failed = [check for check in checks if check.verdict == "failed"]
    if not is_json:
        say(_summary(failed))
    sys.exit(Exit.FAILED if failed else Exit.OK)


def _doctor() -> Doctor:
    from executor_core.services.computer import make_host
    from executor_core.services.doctor import Doctor

    config, clock = invocation().read(), SystemClock()
    return Doctor(config, make_host(config, clock), clock)


async def _examine(doctor: Doctor, *, is_silent: bool, is_fix: bool) -> list[Check]:
    checks: list[Check] = []
    # Closed here, also where a reader has enough of our output: what is begun has to be ended.
    async with aclosing(doctor.examine()) as examination:
        async for check in examination:
            if not is_silent:
                _show(check)
            checks.append(check)
    for number, check in enumerate(checks):
        if is_fix and check.fix is not None:
            checks[number] = await doctor.fix(check.name)
            if not is_silent:
                say("\n" + text("cli.doctor.fixed", fix=check.fix))
                _show(checks[number])
    return checks


def _show(check: Check) -> None:
    say(_MARKS[check.verdict], nl=False, fg=_COLOURS.get(check.verdict), bold=True)
    say(f" {check.title}: {check.reason}")
    if check.hint and check.verdict != "ok":
        say(f"    {check.hint}")


def _summary(failed: list[Check]) -> str:
    if not failed:
        return "\n" + text("cli.doctor.passed")
    names = ", ".join(check.title for check in failed)
    first = failed[0].name.partition(".")[0]
    return "\n" + text("cli.doctor.failed", names=names, first=first)


@click.command(cls=Verb)
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="FILE")
@speaks_plainly
def bundle(file: Path | None) -> None:
    target = file or Path(f"wegent-executor-{SystemClock().now():%Y%m%d-%H%M%S}.zip")
    if target.exists():
        raise ExecutorError("bundle_exists", file=target)
    written, files = asyncio.run(_write_bundle(_doctor(), target))
    for name, content in files.items():
        size = _kilobytes(len(content.encode()))
        say("  " + text("cli.bundle.inside", name=name, size=size))
    whole = _kilobytes(written.stat().st_size)
    say(text("cli.bundle.written", file=written, size=whole))


async def _write_bundle(doctor: Doctor, target: Path) -> tuple[Path, dict[str, str]]:
    files = await doctor.bundle()
    return await doctor.save_bundle(target, files), files


def _kilobytes(size_bytes: int) -> str:
    return f"{size_bytes / 1024:.1f}"


@click.command("help", cls=Verb)
@click.argument("topic", required=False, metavar="TOPIC")
@click.pass_context
@speaks_plainly
def help_(context: click.Context, topic: str | None) -> None:
    from executor_core import help_pages

    choose_language()
    if topic is None:
        _list_topics()
    elif topic in help_pages.topics():
        _render(help_pages.page(topic))
    elif (command := _command_named(topic, context)) is not None:
        say(command)
    else:
        help_pages.page(topic)


def _list_topics() -> None:
    from executor_core import help_pages

    names = help_pages.topics()
    width = max(map(len, names))
    say(text("cli.help_pages.topics"))
    for is_of_check in (False, True):
        say("\n" + text("cli.help_pages.checks") if is_of_check else "")
        for name in names:
            if help_pages.is_of_check(name) is is_of_check:
                say(f"  {name:<{width}}  {help_pages.title(name)}")


def _command_named(name: str, context: click.Context) -> str | None:
    """The help of a command, for those who look for it here."""
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    command = root.command.get_command(root, name)
    if command is None or command.hidden:
        return None
    return command.get_help(click.Context(command, info_name=name, parent=root))


def _render(page: str) -> None:
    """Headings in bold, code indented; the rest is readable as it is written."""
    is_code = False
    for line in page.rstrip("\n").split("\n"):
        if line.startswith("```"):
            is_code = not is_code
        elif is_code:
            say(f"    {line}")
        elif line.startswith("#"):
            say(line.lstrip("# "), bold=True)
        else:
            say(line)
