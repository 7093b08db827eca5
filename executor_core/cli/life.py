"""How the executor does, running or not, and telling it to wait, to go on or to end."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from executor_core import help_pages
from executor_core.cli.frame import Duration, Verb, as_json, choose_language, invocation
from executor_core.cli.out import Exit, local_time, say, say_json
from executor_core.clock import SystemClock
from executor_core.config import options
from executor_core.control import RemoteControl, RunSummary, Status
from executor_core.errors import ExecutorError
from executor_core.model import LinkState, LinkStatus
from executor_core.services.log import LogFiles, written
from executor_core.texts import text
from executor_core.unicode import one_line

if TYPE_CHECKING:
    from executor_core.services.doctor import Doctor
    from executor_core.services.interface import Check

LONGEST_PAUSE = "30d"
STOP_LIMIT_S = 15.0
"""Quitting takes ten seconds at most; what takes longer is said."""
_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "–"}
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


# --- the executor that runs --------------------------------------------------------------------


@click.command(cls=Verb)
@as_json
def status(is_json: bool) -> None:
    async def ask(control: RemoteControl) -> tuple[Status, str | None]:
        return await control.status(), None if is_json else await control.console()

    found, console = invocation().ask(ask)
    if is_json:
        say_json(found)
    else:
        _show_status(found)
        if console:
            say(text("cli.console", url=console))
    sys.exit(_status_code(found))


def _status_code(found: Status) -> Exit:
    states = [link.state for link in found.links]
    if LinkState.ONLINE in states:
        return Exit.OK
    return Exit.REJECTED if LinkState.REJECTED in states else Exit.OFFLINE


def _show_status(found: Status) -> None:
    for link in found.links:
        say(_link_line(link))
        if (hours := link.token_warning_h) is not None and link.state is not LinkState.REJECTED:
            say(text("cli.status.token_ends" if hours else "cli.status.token_ended", hours=hours))
    key = "cli.status.slots_queued" if found.queued else "cli.status.slots"
    say(text(key, used=found.slots.used, max=found.slots.max, queued=found.queued))
    if found.outbox_pending:
        say(text("cli.status.outbox", count=found.outbox_pending))
    if found.paused:
        say(pause_line(found))
    if found.draining:
        say(text("cli.status.draining"))
    for run in found.runs:
        say("  " + run_line(run))
    say(text("cli.status.device", name=found.device_name, id=found.device_id))


def _link_line(link: LinkStatus) -> str:
    sign = {LinkState.ONLINE: "🟢", LinkState.REJECTED: "⛔"}.get(link.state, "🔴")
    words = [sign, text(f"state.link.{link.state}", server=link.server), link.reason]
    if link.next_attempt_in_s is not None:
        words.append(text("cli.status.next_attempt", seconds=round(link.next_attempt_in_s)))
    return " ".join(filter(None, words))


def pause_line(found: Status) -> str:
    """What a pause means, until when, and why."""
    if found.paused_until is None:
        words = text("cli.status.paused")
    else:
        words = text("cli.status.paused_until", time=local_time(found.paused_until))
    return f"{words} ({found.pause_reason})" if found.pause_reason else words


def run_line(run: RunSummary) -> str:
    """One run in one line."""
    task = text("cli.run.task", task=run.task_id) if run.task_id else ""
    words = (run.run_id, text(f"state.run.{run.state}"), run.agent, task, run.title)
    return one_line("  ".join(filter(None, words)))


@click.command(cls=Verb)
@click.option("--for", "for_s", type=Duration(most=LONGEST_PAUSE), metavar="TIME")
@click.option("--reason", metavar="TEXT")
def pause(for_s: float | None, reason: str | None) -> None:
    say(pause_line(invocation().ask(lambda control: control.pause(for_s, reason))))


@click.command(cls=Verb)
def resume() -> None:
    invocation().ask(lambda control: control.resume())
    say(text("cli.resumed"))


@click.command(cls=Verb)
def drain() -> None:
    found = invocation().ask(lambda control: control.drain())
    say(text("cli.draining", count=len(found.runs)))


@click.command(cls=Verb)
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


# --- what is written down and found out about it -----------------------------------------------


@click.command(cls=Verb)
@click.option("-f", "--follow", is_flag=True)
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=100, metavar="N")
def logs(follow: bool, lines: int) -> None:
    config = invocation().config()
    path = config[options.LOG_DIR] / config[options.LOG_FILE]
    asyncio.run(_print_log(LogFiles(path, SystemClock()), lines, follow=follow))


async def _print_log(log: LogFiles, entries: int, *, follow: bool) -> None:
    async with aclosing(log.lines(entries, follow=follow)) as lines:
        async for line in lines:
            say(written(line))


@click.command(cls=Verb)
@as_json
@click.option("--fix", "is_fix", is_flag=True)
def doctor(is_json: bool, is_fix: bool) -> None:
    checks = asyncio.run(_examine(_doctor(), is_silent=is_json, is_fix=is_fix))
    failed = [check for check in checks if check.verdict == "failed"]
    if is_json:
        say_json(checks)
    elif failed:
        names = ", ".join(check.title for check in failed)
        first = failed[0].name.partition(".")[0]
        say("\n" + text("cli.doctor.failed", names=names, first=first))
    else:
        say("\n" + text("cli.doctor.passed"))
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
                _show_check(check)
            checks.append(check)
    for number, check in enumerate(checks):
        if is_fix and check.fix is not None:
            checks[number] = await doctor.fix(check.name)
            if not is_silent:
                say("\n" + text("cli.doctor.fixed", fix=check.fix))
                _show_check(checks[number])
    return checks


def _show_check(check: Check) -> None:
    say(_MARKS[check.verdict], nl=False, fg=_COLOURS.get(check.verdict), bold=True)
    say(f" {check.title}: {check.reason}")
    if check.hint and check.verdict != "ok":
        say(f"    {check.hint}")


@click.command(cls=Verb)
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="FILE")
def bundle(file: Path | None) -> None:
    target = file or Path(f"wegent-executor-{SystemClock().now():%Y%m%d-%H%M%S}.zip")
    if target.exists():
        raise ExecutorError("bundle_exists", file=target)
    written_to, files = asyncio.run(_write_bundle(_doctor(), target))
    for name, content in files.items():
        size = _kilobytes(len(content.encode()))
        say("  " + text("cli.bundle.inside", name=name, size=size))
    whole = _kilobytes(written_to.stat().st_size)
    say(text("cli.bundle.written", file=written_to, size=whole))


async def _write_bundle(doctor: Doctor, target: Path) -> tuple[Path, dict[str, str]]:
    files = await doctor.bundle()
    return await doctor.save_bundle(target, files), files


def _kilobytes(size_bytes: int) -> str:
    return f"{size_bytes / 1024:.1f}"


# --- pages of help -----------------------------------------------------------------------------


@click.command("help", cls=Verb)
@click.argument("topic", required=False, metavar="TOPIC")
@click.pass_context
def help_(context: click.Context, topic: str | None) -> None:
    choose_language()
    if topic is None:
        _list_topics()
    elif topic not in help_pages.topics() and (found := _command_named(topic, context)):
        say(found)
    else:
        _render(help_pages.page(topic))


def _list_topics() -> None:
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
    if name not in root.command.list_commands(root):
        return None
    command = root.command.get_command(root, name)
    assert command is not None
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
