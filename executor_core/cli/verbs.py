"""The verbs, one short function each. What is heavy is imported where it is used."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from executor_core.cli.context import invocation
from executor_core.cli.duration import Duration
from executor_core.cli.outcome import Exit, speaks_plainly
from executor_core.errors import ExecutorError
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.control import Control, RemoteControl, Status, Submission
    from executor_core.model import Outcome

_as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


@click.command()
@_as_json
@speaks_plainly
def status(is_json: bool) -> None:
    """Show links, slots and runs.

    Exit code: 0 online, 3 not running, 4 offline, 5 refused by the server.
    """
    from executor_core.cli import show

    async def ask(control: RemoteControl) -> tuple[Status, str | None]:
        return await control.status(), None if is_json else await control.console()

    found, console = invocation().ask(ask)
    if is_json:
        show.as_json(found)
    else:
        show.status(found)
        if console:
            click.echo(text("cli.console", url=console))
    sys.exit(_status_code(found))


def _status_code(found: Status) -> Exit:
    from executor_core.model import LinkState

    states = [link.state for link in found.links]
    if LinkState.ONLINE in states:
        return Exit.OK
    return Exit.REJECTED if LinkState.REJECTED in states else Exit.OFFLINE


@click.group(invoke_without_command=True)
@_as_json
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@click.pass_context
@speaks_plainly
def runs(context: click.Context, is_json: bool, limit: int) -> None:
    """List runs, newest first; or show, cancel or follow one."""
    if context.invoked_subcommand is not None:
        return
    from executor_core.cli import show

    found = invocation().ask(lambda control: control.runs(limit))
    show.as_json(found) if is_json else show.runs(found)


@runs.command("show")
@click.argument("run_id")
@_as_json
@speaks_plainly
def runs_show(run_id: str, is_json: bool) -> None:
    """Show one run with its outcome and text."""
    from executor_core.cli import show

    found = invocation().ask(lambda control: control.run(run_id))
    show.as_json(found) if is_json else show.run_detail(found)


@runs.command("cancel")
@click.argument("run_id")
@speaks_plainly
def runs_cancel(run_id: str) -> None:
    """End a run and everything it started."""
    answer = invocation().ask(lambda control: control.cancel(run_id))
    click.echo(text(f"cli.cancel.{answer}", run_id=run_id))


@runs.command("logs")
@click.argument("run_id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@speaks_plainly
def runs_logs(run_id: str, follow: bool) -> None:
    """Print what happened in a run."""
    from executor_core.cli import show

    async def ask(control: RemoteControl) -> None:
        detail = await control.run(run_id)
        if follow or detail.outcome is not None:
            await _print_events(control, run_id)
        else:
            show.run_detail(detail)
            click.echo(text("cli.runs.still_running", run_id=run_id))

    invocation().ask(ask)


@click.command("exec")
@click.argument("prompt")
@click.option("--agent", default="claude_code", show_default=True, metavar="NAME")
@click.option("--cwd", type=click.Path(path_type=Path), default=Path(), help="Where to work.")
@click.option("--model", metavar="MODEL", help="A model instead of the agent's default.")
@_as_json
@speaks_plainly
def exec_(prompt: str, agent: str, cwd: Path, model: str | None, is_json: bool) -> None:
    """Run PROMPT here and now and print the answer as it is written.

    Uses the executor that runs, else starts one for this run alone. `-` reads the prompt from
    standard input. Exit code 1 if the run fails.

    \b
    $ wegent-executor exec "Add a test for the parser"
    $ git diff | wegent-executor exec --cwd ~/project -
    """
    from executor_core.control import Submission
    from executor_core.model import RunState

    words = sys.stdin.read() if prompt == "-" else prompt
    submission = Submission(prompt=words, agent=agent, folder=str(cwd.absolute()), model=model)
    try:
        outcome = invocation().ask(lambda control: _exec(control, submission, is_json))
    except ExecutorError as error:
        if error.code != "not_running":
            raise
        outcome = asyncio.run(_exec_alone(submission, is_json))
    sys.exit(
        Exit.OK if outcome is not None and outcome.state is RunState.COMPLETED else Exit.FAILED
    )


async def _exec(control: Control, submission: Submission, is_json: bool) -> Outcome | None:
    run_id = await control.submit(submission)
    try:
        return await _print_events(control, run_id, is_json=is_json)
    except asyncio.CancelledError:
        # Ctrl-C means the run, not only its output.
        await control.cancel(run_id)
        await _print_events(control, run_id, is_silent=True)
        raise


async def _exec_alone(submission: Submission, is_json: bool) -> Outcome | None:
    from executor_core.app import Application
    from executor_core.cli.start import own_command
    from executor_core.config.home import InstanceLock

    config = invocation().config()
    config.home.create()
    with InstanceLock.acquire(config.home):
        app = Application(config, with_links=False, own_command=own_command())
        await app.start()
        try:
            return await _exec(app.control, submission, is_json)
        finally:
            await app.stop()


async def _print_events(
    control: Control, run_id: str, *, is_json: bool = False, is_silent: bool = False
) -> Outcome | None:
    import msgspec

    from executor_core.cli import show
    from executor_core.model import RunEnded

    async for event in control.events(run_id):
        if is_json:
            click.echo(msgspec.json.encode(event).decode())
        elif not is_silent:
            show.event(event)
        if isinstance(event, RunEnded):
            return event.outcome
    return None


@click.command()
@_as_json
@speaks_plainly
def agents(is_json: bool) -> None:
    """Show which agents can work here, and what to do where one cannot."""
    from executor_core.cli import show

    try:
        found = invocation().ask(lambda control: control.agents())
    except ExecutorError as error:
        if error.code != "not_running":
            raise
        from executor_core.app import look_for_agents

        found = asyncio.run(look_for_agents(invocation().config()))
    show.as_json(found) if is_json else show.agents(found)


@click.command()
@click.option("--for", "for_s", type=Duration(), metavar="TIME", help="For example 30m or 2h.")
@click.option("--reason", metavar="TEXT", help="Shown beside the state.")
@speaks_plainly
def pause(for_s: float | None, reason: str | None) -> None:
    """Stay online but start nothing new; tasks wait in the queue."""
    invocation().ask(lambda control: control.pause(for_s, reason))
    click.echo(text("cli.paused"))


@click.command()
@speaks_plainly
def resume() -> None:
    """Take back a pause."""
    invocation().ask(lambda control: control.resume())
    click.echo(text("cli.resumed"))


@click.command()
@speaks_plainly
def drain() -> None:
    """Refuse new tasks, finish what was accepted, then end the executor."""
    found = invocation().ask(lambda control: control.drain())
    click.echo(text("cli.draining", count=len(found.runs)))


@click.command()
@speaks_plainly
def stop() -> None:
    """End all runs and the executor, and wait until it is gone (ten seconds at most)."""
    import psutil

    async def ask(control: RemoteControl) -> int:
        pid = (await control.status()).pid
        await control.stop()
        return pid

    pid = invocation().ask(ask)
    try:
        psutil.Process(pid).wait(timeout=15)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        raise ExecutorError("did_not_stop", pid=pid) from None
    click.echo(text("cli.stopped"))


@click.command()
@click.option("--backend-url", metavar="URL", help="The server; remembered in config.toml.")
@click.option("--token", metavar="-", help="`-` reads the token from standard input.")
@click.option(
    "--file", "to_file", is_flag=True, help="Keep it in <home>/token (0600), unencrypted."
)
@speaks_plainly
def login(backend_url: str | None, token: str | None, to_file: bool) -> None:
    """Keep the token of a server in the keychain of this computer.

    \b
    $ wegent-executor login --backend-url https://wegent.example.com
    $ pass wegent | wegent-executor login --token -
    """
    from executor_core.config import options
    from executor_core.config.token import TokenSources
    from executor_core.config.writing import set_option

    config = invocation().config()
    if backend_url:
        config.home.create()
        set_option(config.home, options.SERVER_URL.name, backend_url)
        config = invocation().config()
    server = config[options.SERVER_URL]
    if not server:
        raise ExecutorError("no_server")
    if token == "-":  # noqa: S105  the sign for standard input
        token = sys.stdin.readline().strip()
    elif token is None:
        token = click.prompt(text("cli.token_prompt", server=server), hide_input=True)
    config.home.create()
    kept = TokenSources(config).save(server, str(token), to_file)
    click.echo(text("cli.logged_in", server=server, place=kept.source))
    _tell_running_executor()


@click.command()
@speaks_plainly
def logout() -> None:
    """Forget the token of the server."""
    from executor_core.config import options
    from executor_core.config.token import TokenSources

    config = invocation().config()
    server = config[options.SERVER_URL]
    if not server:
        raise ExecutorError("no_server")
    sources = TokenSources(config)
    sources.forget(server)
    click.echo(text("cli.logged_out", server=server))
    if (left := sources.current(server)) is not None:
        click.echo(text("cli.token_left", place=left.source))
    _tell_running_executor()


def _tell_running_executor() -> None:
    try:
        invocation().ask(lambda control: control.credential_changed())
    except ExecutorError as error:
        if error.code != "not_running":
            raise


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on as the log grows.")
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=100, show_default=True)
@speaks_plainly
def logs(follow: bool, lines: int) -> None:
    """Print the end of the executor's log."""
    from executor_core.cli.tail import print_tail
    from executor_core.config import options

    config = invocation().config()
    print_tail(config[options.LOG_DIR] / config[options.LOG_FILE], lines, follow=follow)


@click.group(invoke_without_command=True)
@click.pass_context
@speaks_plainly
def config(context: click.Context) -> None:
    """List every option with its value and where it comes from."""
    if context.invoked_subcommand is not None:
        return
    from executor_core.cli import show
    from executor_core.config.options import OPTIONS

    loaded = invocation().config()
    rows = []
    for name in OPTIONS:
        chain = loaded.explain(name)
        last = chain[-1] if chain else None
        rows.append((name, last.value if last else "", last.source if last else ""))
    show.table(rows, (text(f"cli.config.{name}") for name in ("option", "value", "source")))


@config.command("explain")
@click.argument("name")
@speaks_plainly
def config_explain(name: str) -> None:
    """Show what every place says about the option NAME; the last one counts."""
    from executor_core.cli import show
    from executor_core.config.options import option_named

    loaded = invocation().config()
    option = option_named(name)
    click.echo(option.help)
    click.echo(text("cli.config.allowed", allowed=option.kind.allowed.text()))
    show.table(
        (("→" if step.winning else "", step.value, step.source) for step in loaded.explain(name)),
        ("", text("cli.config.value"), text("cli.config.source")),
    )


@click.command("demo-agent", hidden=True)
def demo_agent() -> None:
    """The process of the demo agent; started by the executor."""
    from executor_core.agents.demo import main

    main()


ALL = (
    status,
    runs,
    exec_,
    agents,
    pause,
    resume,
    drain,
    stop,
    login,
    logout,
    logs,
    config,
    demo_agent,
)
