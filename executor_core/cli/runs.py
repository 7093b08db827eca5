"""What runs and ran, and one run here and now."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TypeVar

import click
from msgspec.structs import asdict

from executor_core.cli import workspaces
from executor_core.cli.frame import Verb, as_json, group, invocation, standard_input
from executor_core.cli.life import pause_line, run_line
from executor_core.cli.out import Exit, local_time, say, say_json, say_table
from executor_core.cli.start import own_command, set_up_logs
from executor_core.clock import SystemClock
from executor_core.config.home import InstanceLock
from executor_core.config.layers import Config
from executor_core.control import (
    Control,
    RemoteControl,
    RunChanges,
    RunDetail,
    RunSummary,
    Status,
    Submission,
)
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import (
    AgentEvent,
    Notice,
    Outcome,
    RunEnded,
    RunState,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from executor_core.services.will import ends_its_runs
from executor_core.texts import text
from executor_core.unicode import one_line, shown

_T = TypeVar("_T")

PATIENCE_S = 1.0
"""So long may a run wait before a person is told why."""
_MARKS = {RunState.COMPLETED: "✓", RunState.FAILED: "✗", RunState.CANCELLED: "–"}
_COLUMNS = ("run", "state", "agent", "task", "accepted", "took", "memory", "note")
_MAX_OUTPUT_LINES = 12
_LISTED = 20
MIB = 2**20


@group
@as_json
@click.option("--limit", type=click.IntRange(1, 500), default=20, metavar="N")
def runs(is_json: bool, limit: int) -> None:
    found = _ask_records(lambda control: control.runs(limit))
    if is_json:
        say_json(found)
    elif found:
        say_table(map(_row, found), ("", *(f"cli.runs.{name}" for name in _COLUMNS)))
    else:
        say(text("cli.runs.none"))


@runs.command("show")
@click.argument("run_id")
@as_json
def runs_show(run_id: str, is_json: bool) -> None:
    async def ask(control: Control) -> tuple[RunDetail, RunChanges]:
        return await control.run(run_id), await control.changes_of(run_id)

    found, changes = _ask_records(ask)
    if is_json:
        say_json(asdict(found) | {"changes": changes})
    else:
        _show_detail(found, changes)


@runs.command("cancel")
@click.argument("run_id")
def runs_cancel(run_id: str) -> None:
    answer = invocation().ask(lambda control: control.cancel(run_id))
    say(text(f"cli.cancel.{answer}", run_id=run_id))


@runs.command("logs")
@click.argument("run_id")
@click.option("-f", "--follow", is_flag=True)
def runs_logs(run_id: str, follow: bool) -> None:
    async def ask(control: Control) -> None:
        detail = await control.run(run_id)
        if follow or detail.outcome is not None:
            await _print_events(control, run_id)
        else:
            _show_detail(detail, await control.changes_of(run_id))
            say(text("cli.runs.still_running", run_id=run_id))

    _ask_records(ask)


def _ask_records(question: Callable[[Control], Awaitable[_T]]) -> _T:
    """Ask the executor that runs, or where none does what an earlier one wrote down."""

    def records() -> _T:
        if not invocation().config().home.journal_db.exists():
            raise ExecutorError("not_running")
        return _alone(question, for_exec=False)

    return invocation().ask(question, otherwise=records)


for verb in (workspaces.runs_undo, workspaces.runs_redo, workspaces.runs_keep):
    runs.add_command(verb)


def _row(run: RunSummary) -> tuple[object, ...]:
    return (
        _MARKS.get(run.state, "…"),
        run.run_id,
        text(f"state.run.{run.state}"),
        run.agent,
        run.task_id or "",
        local_time(run.accepted_at),
        _took(run),
        f"{run.resources.rss_bytes // MIB} MB" if run.resources else "",
        text("cli.run.waits_for_disk") if run.waits_for_disk else run.error or run.title,
    )


def _took(run: RunSummary) -> str:
    if run.finished_at is None:
        return ""
    return f"{(run.finished_at - (run.started_at or run.accepted_at)).total_seconds():.1f} s"


def _show_detail(found: RunDetail, changes: RunChanges) -> None:
    """One run, its outcome, what is known of its changes, and its text."""
    run = found.run
    say(f"{_MARKS.get(run.state, '…')} {run_line(run)}")
    say(text("cli.run.times", accepted=local_time(run.accepted_at), took=_took(run) or "–"))
    if run.resources is not None:
        used = run.resources
        memory, cpu = used.rss_bytes // MIB, f"{used.cpu_s:.1f}"
        say(text("cli.run.resources", memory=memory, cpu=cpu, processes=used.processes))
    if run.waits_for_disk:
        say(text("cli.run.waits_for_disk"))
    elif found.delivered is not None:
        say(text("cli.run.delivered" if found.delivered else "cli.run.not_delivered"))
    outcome = found.outcome
    if outcome is None:
        return
    if outcome.usage is not None:
        usage = outcome.usage
        say(text("cli.run.usage", input=usage.input_tokens, output=usage.output_tokens))
    if outcome.error is not None:
        say(outcome.error.sentence)
    for made in outcome.artifacts:
        words = text("cli.run.artifact", name=made.name, size=made.size_bytes, path=made.path)
        say(words)
    _show_changes(changes)
    if outcome.text:
        say("\n" + outcome.text)


def _show_changes(found: RunChanges) -> None:
    if found.unrecorded:
        say(text("cli.run.unrecorded", reason=found.unrecorded))
    if found.files:
        say(text("cli.run.changed", count=len(found.files)))
    if found.left_out:
        named = [
            f"{one.path} ({text(f'changes.{one.reason}')})" for one in found.left_out[:_LISTED]
        ]
        more = ["…"] if len(found.left_out) > _LISTED else []
        say(text("cli.run.left_out", names=", ".join(named + more)))
    if found.is_undone:
        say(text("cli.run.undone"))


# --- one run here and now ----------------------------------------------------------------------


@click.command("exec", cls=Verb)
@click.argument("prompt")
@click.option("--agent", default="claude_code", metavar="NAME")
@click.option("--cwd", type=click.Path(path_type=Path), default=Path())
@click.option("--model", metavar="MODEL")
@as_json
def exec_(prompt: str, agent: str, cwd: Path, model: str | None, is_json: bool) -> None:
    words = standard_input() if prompt == "-" else prompt
    try:
        folder = str(cwd.absolute())
    except FileNotFoundError as error:  # somebody deleted the folder that the caller is in
        raise ExecutorError("folder_missing", path=cwd) from error
    submission = Submission(
        prompt=words, agent=agent, folder=shown(folder), model=model, for_process=os.getpid()
    )
    try:
        outcome = _exec_anywhere(submission, is_json)
    except asyncio.CancelledError:
        sys.exit(Exit.INTERRUPTED)
    sys.exit(
        Exit.OK if outcome is not None and outcome.state is RunState.COMPLETED else Exit.FAILED
    )


def _exec_anywhere(submission: Submission, is_json: bool) -> Outcome | None:
    async def ask(control: RemoteControl) -> Outcome | None:
        await control.status()  # an executor that hangs is found out before it has the run
        return await _exec(control, submission, is_json)

    def alone() -> Outcome | None:
        return _alone(lambda control: _exec(control, submission, is_json), for_exec=True)

    return invocation().ask(ask, otherwise=alone)


async def _exec(control: Control, submission: Submission, is_json: bool) -> Outcome | None:
    with _ends_like_ctrl_c():
        run_id = await control.submit(submission)
        jobs = Jobs("exec")
        jobs.spawn(_say_why_it_waits(control, run_id), "say why it waits")
        try:
            outcome = await _print_events(control, run_id, is_json=is_json)
            if outcome is not None and outcome.artifacts and not is_json:
                say(text("cli.exec.changed", run_id=run_id), err=True)
            return outcome
        except (asyncio.CancelledError, BrokenPipeError):
            # Ctrl-C means the run, not only its output; so does a reader that has enough.
            await control.cancel(run_id)
            await _print_events(control, run_id, is_silent=True)
            raise
        finally:
            await jobs.close()


async def _say_why_it_waits(control: Control, run_id: str) -> None:
    await SystemClock().sleep(PATIENCE_S)
    with suppress(ExecutorError):  # what is wrong is told by the events of the run
        status = await control.status()
        if any(run.run_id == run_id and run.state is RunState.QUEUED for run in status.runs):
            say(_why_it_waits(status), err=True)


def _why_it_waits(found: Status) -> str:
    """Why a run of this computer has not started yet."""
    if found.paused:
        return pause_line(found)
    is_full = found.slots.used >= found.slots.max
    return text("cli.exec.waits_for_slot" if is_full else "cli.exec.waits_for_folder")


@contextmanager
def _ends_like_ctrl_c() -> Iterator[None]:
    """Inside this block a SIGTERM, and a terminal that is closed, cancel the current job."""
    numbers = () if sys.platform == "win32" else (signal.SIGTERM, signal.SIGHUP)
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me is not None
    for number in numbers:
        loop.add_signal_handler(number, me.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _alone(question: Callable[[Control], Awaitable[_T]], *, for_exec: bool) -> _T:
    """Be the executor of this <home> for one run, or one question about earlier ones."""
    config = invocation().config()
    config.home.create()
    will = ends_its_runs(config, own_command()) if for_exec else nullcontext()
    with InstanceLock.acquire(config.home, for_exec=for_exec), will:
        close_logs = set_up_logs(config)
        try:
            return asyncio.run(_live_for(question, for_exec, config, own_command()))
        finally:
            close_logs()


async def _live_for(
    question: Callable[[Control], Awaitable[_T]],
    for_exec: bool,
    config: Config,
    own_command: list[str],
) -> _T:
    from executor_core.app import Application

    app = Application(config, with_links=False, own_command=own_command)
    try:
        await (app.start() if for_exec else app.start_records())
        return await question(app.control)
    finally:
        await app.stop()


async def _print_events(
    control: Control, run_id: str, *, is_json: bool = False, is_silent: bool = False
) -> Outcome | None:
    async for event in control.events(run_id):
        if is_json:
            say_json(event, is_indented=False)
        elif not is_silent:
            _show_event(event)
        if isinstance(event, RunEnded):
            return event.outcome
    return None


def _show_event(found: AgentEvent) -> None:
    """One event of a run as it streams: text as it is, the rest as dim lines."""
    match found:
        case TextDelta(text=words):
            say(words, nl=False)
        case ToolStarted(name=name, input=tool_input):
            shown = next((str(v) for v in tool_input.values() if isinstance(v, str)), "")
            say("\n⏵ " + one_line(f"{name} {shown[:200]}"), dim=True)
        case ToolFinished(output=output):
            lines = output.strip().splitlines()
            more = ["…"] if len(lines) > _MAX_OUTPUT_LINES else []
            for line in lines[:_MAX_OUTPUT_LINES] + more:
                say(f"  {line[:200]}", dim=True)
        case Notice(text=words):
            say(f"\n! {words}", dim=True)
        case RunEnded(outcome=outcome):
            say()
            if outcome.error is not None:
                say(outcome.error.sentence, err=True)
            elif outcome.state is RunState.CANCELLED:
                say(text("cli.exec.cancelled"), err=True)
