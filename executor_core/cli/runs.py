"""What runs and ran, and one run here and now."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from executor_core.cli import workspaces
from executor_core.cli.context import invocation, standard_input
from executor_core.cli.out import say, say_json
from executor_core.cli.outcome import Exit, speaks_plainly
from executor_core.cli.words import Verb, Verbs, as_json
from executor_core.clock import SystemClock
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.texts import text
from executor_core.unicode import shown

if TYPE_CHECKING:
    from executor_core.config.layers import Config
    from executor_core.control import Control, RemoteControl, RunChanges, RunDetail, Submission
    from executor_core.model import Outcome

_T = TypeVar("_T")

PATIENCE_S = 1.0
"""So long may a run wait before a person is told why."""


@click.group(cls=Verbs, invoke_without_command=True)
@as_json
@click.option("--limit", type=click.IntRange(1, 500), default=20, metavar="N")
@click.pass_context
@speaks_plainly
def runs(context: click.Context, is_json: bool, limit: int) -> None:
    if context.invoked_subcommand is not None:
        return
    from executor_core.cli import show

    found = _ask_records(lambda control: control.runs(limit))
    if found or is_json:
        show.as_json(found) if is_json else show.runs(found)
    else:
        say(text("cli.runs.none"))


@runs.command("show")
@click.argument("run_id")
@as_json
@speaks_plainly
def runs_show(run_id: str, is_json: bool) -> None:
    from msgspec.structs import asdict

    from executor_core.cli import show

    async def ask(control: Control) -> tuple[RunDetail, RunChanges]:
        return await control.run(run_id), await control.changes_of(run_id)

    found, changes = _ask_records(ask)
    if is_json:
        show.as_json(asdict(found) | {"changes": changes})
    else:
        show.run_detail(found, changes)


@runs.command("cancel")
@click.argument("run_id")
@speaks_plainly
def runs_cancel(run_id: str) -> None:
    answer = invocation().ask(lambda control: control.cancel(run_id))
    say(text(f"cli.cancel.{answer}", run_id=run_id))


@runs.command("logs")
@click.argument("run_id")
@click.option("-f", "--follow", is_flag=True)
@speaks_plainly
def runs_logs(run_id: str, follow: bool) -> None:
    from executor_core.cli import show

    async def ask(control: Control) -> None:
        detail = await control.run(run_id)
        if follow or detail.outcome is not None:
            await _print_events(control, run_id)
        else:
            show.run_detail(detail, await control.changes_of(run_id))
            say(text("cli.runs.still_running", run_id=run_id))

    _ask_records(ask)


def _ask_records(question: Callable[[Control], Awaitable[_T]]) -> _T:
    """Ask the executor that runs, or where none does what an earlier one wrote down."""
    try:
        return invocation().ask(question)
    except ExecutorError as error:
        if error.code != "not_running" or not invocation().config().home.journal_db.exists():
            raise
    return _alone(question, for_exec=False)


runs.add_command(workspaces.runs_undo)
runs.add_command(workspaces.runs_redo)
runs.add_command(workspaces.runs_keep)


@click.command("exec", cls=Verb)
@click.argument("prompt")
@click.option("--agent", default="claude_code", metavar="NAME")
@click.option("--cwd", type=click.Path(path_type=Path), default=Path())
@click.option("--model", metavar="MODEL")
@as_json
@speaks_plainly
def exec_(prompt: str, agent: str, cwd: Path, model: str | None, is_json: bool) -> None:
    from executor_core.control import Submission
    from executor_core.model import RunState

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

    try:
        return invocation().ask(ask)
    except ExecutorError as error:
        if error.code != "not_running":
            raise
    return _alone(lambda control: _exec(control, submission, is_json), for_exec=True)


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
    from executor_core.cli import show
    from executor_core.model import RunState

    await SystemClock().sleep(PATIENCE_S)
    with suppress(ExecutorError):  # what is wrong is told by the events of the run
        status = await control.status()
        if any(run.run_id == run_id and run.state is RunState.QUEUED for run in status.runs):
            say(show.why_a_run_waits(status), err=True)


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
    from executor_core.cli.start import own_command, set_up_logs
    from executor_core.config.home import InstanceLock
    from executor_core.services.will import ends_its_runs

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
    from executor_core.cli import show
    from executor_core.model import RunEnded

    async for event in control.events(run_id):
        if is_json:
            say_json(event, is_indented=False)
        elif not is_silent:
            show.event(event)
        if isinstance(event, RunEnded):
            return event.outcome
    return None
