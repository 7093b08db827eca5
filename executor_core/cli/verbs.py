"""The verbs, one short function each. What is heavy is imported where it is used.

What they are for is said by `--help`, from the texts `help.*` of the catalogue.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from executor_core.cli.context import invocation
from executor_core.cli.duration import Duration
from executor_core.cli.outcome import Exit, say_error, speaks_plainly
from executor_core.cli.words import Misuse, Verb, Verbs
from executor_core.clock import SystemClock
from executor_core.errors import ExecutorError
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.agents.install import Installer, Package
    from executor_core.config.layers import Config, Explanation
    from executor_core.control import Control, RemoteControl, Status, Submission
    from executor_core.model import Outcome

STOP_LIMIT_S = 15.0
"""Quitting takes ten seconds at most; what takes longer is said."""

_as_json = click.option("--json", "is_json", is_flag=True)


@click.command(cls=Verb)
@_as_json
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
            click.echo(text("cli.console", url=console))
    sys.exit(_status_code(found))


def _status_code(found: Status) -> Exit:
    from executor_core.model import LinkState

    states = [link.state for link in found.links]
    if LinkState.ONLINE in states:
        return Exit.OK
    return Exit.REJECTED if LinkState.REJECTED in states else Exit.OFFLINE


@click.group(cls=Verbs, invoke_without_command=True)
@_as_json
@click.option("--limit", type=click.IntRange(1, 500), default=20, metavar="N")
@click.pass_context
@speaks_plainly
def runs(context: click.Context, is_json: bool, limit: int) -> None:
    if context.invoked_subcommand is not None:
        return
    from executor_core.cli import show

    found = invocation().ask(lambda control: control.runs(limit))
    if found or is_json:
        show.as_json(found) if is_json else show.runs(found)
    else:
        click.echo(text("cli.runs.none"))


@runs.command("show")
@click.argument("run_id")
@_as_json
@speaks_plainly
def runs_show(run_id: str, is_json: bool) -> None:
    from executor_core.cli import show

    found = invocation().ask(lambda control: control.run(run_id))
    show.as_json(found) if is_json else show.run_detail(found)


@runs.command("cancel")
@click.argument("run_id")
@speaks_plainly
def runs_cancel(run_id: str) -> None:
    answer = invocation().ask(lambda control: control.cancel(run_id))
    click.echo(text(f"cli.cancel.{answer}", run_id=run_id))


@runs.command("logs")
@click.argument("run_id")
@click.option("-f", "--follow", is_flag=True)
@speaks_plainly
def runs_logs(run_id: str, follow: bool) -> None:
    from executor_core.cli import show

    async def ask(control: RemoteControl) -> None:
        detail = await control.run(run_id)
        if follow or detail.outcome is not None:
            await _print_events(control, run_id)
        else:
            show.run_detail(detail)
            click.echo(text("cli.runs.still_running", run_id=run_id))

    invocation().ask(ask)


@click.command("exec", cls=Verb)
@click.argument("prompt")
@click.option("--agent", default="claude_code", metavar="NAME")
@click.option("--cwd", type=click.Path(path_type=Path), default=Path())
@click.option("--model", metavar="MODEL")
@_as_json
@speaks_plainly
def exec_(prompt: str, agent: str, cwd: Path, model: str | None, is_json: bool) -> None:
    from executor_core.control import Submission
    from executor_core.model import RunState

    words = _read_stdin() if prompt == "-" else prompt
    submission = Submission(prompt=words, agent=agent, folder=str(cwd.absolute()), model=model)
    try:
        outcome = _exec_anywhere(submission, is_json)
    except asyncio.CancelledError:
        sys.exit(Exit.INTERRUPTED)
    sys.exit(
        Exit.OK if outcome is not None and outcome.state is RunState.COMPLETED else Exit.FAILED
    )


def _read_stdin() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _exec_anywhere(submission: Submission, is_json: bool) -> Outcome | None:
    try:
        return invocation().ask(lambda control: _exec(control, submission, is_json))
    except ExecutorError as error:
        if error.code != "not_running":
            raise
    return _exec_alone(submission, is_json)


async def _exec(control: Control, submission: Submission, is_json: bool) -> Outcome | None:
    with _ends_like_ctrl_c():
        run_id = await control.submit(submission)
        try:
            return await _print_events(control, run_id, is_json=is_json)
        except (asyncio.CancelledError, BrokenPipeError):
            # Ctrl-C means the run, not only its output; so does a reader that has enough.
            await control.cancel(run_id)
            await _print_events(control, run_id, is_silent=True)
            raise


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


def _exec_alone(submission: Submission, is_json: bool) -> Outcome | None:
    """Be the executor of this <home> for one run."""
    from executor_core.cli.start import own_command, set_up_logs
    from executor_core.config.home import InstanceLock

    config = invocation().config()
    config.home.create()
    with InstanceLock.acquire(config.home):
        close_logs = set_up_logs(config)
        try:
            return asyncio.run(_live_for(submission, is_json, config, own_command()))
        finally:
            close_logs()


async def _live_for(
    submission: Submission, is_json: bool, config: Config, own_command: list[str]
) -> Outcome | None:
    from executor_core.app import Application

    app = Application(config, with_links=False, own_command=own_command)
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


@click.group(cls=Verbs, invoke_without_command=True)
@_as_json
@click.pass_context
@speaks_plainly
def agents(context: click.Context, is_json: bool) -> None:
    if context.invoked_subcommand is not None:
        return
    from executor_core.cli import show

    try:
        found = invocation().ask(lambda control: control.agents())
    except ExecutorError as error:
        if error.code != "not_running":
            raise
        from executor_core.app import look_for_agents

        found = asyncio.run(look_for_agents(invocation().config()))
    show.as_json(found) if is_json else show.agents(found)


@agents.command("install")
@click.argument("names", nargs=-1, metavar="NAME…")
@click.option("--all", "is_all", is_flag=True)
@click.option("--yes", "is_agreed", is_flag=True)
@click.pass_context
@speaks_plainly
def agents_install(
    context: click.Context, names: tuple[str, ...], is_all: bool, is_agreed: bool
) -> None:
    from executor_core.agents.install import PACKAGES
    from executor_core.app import find_installer

    if not names and not is_all:
        missing = click.MissingParameter(ctx=context, param=context.command.params[0])
        raise Misuse(str(missing), context) from missing
    config = invocation().config()
    wanted = dict.fromkeys(PACKAGES if is_all else names)
    if unknown := [name for name in wanted if name not in PACKAGES]:
        known = ", ".join(PACKAGES)
        raise ExecutorError("agent_not_installable", agent=unknown[0], known=known)
    packages = [PACKAGES[name] for name in wanted]
    installer = asyncio.run(find_installer(config))
    for package in packages:
        folder, command = installer.prefix.folder, installer.command(package)
        click.echo(text("cli.install.plan", agent=package.title, folder=folder, command=command))
    if not is_agreed and not click.confirm(text("cli.install.ask"), default=False):
        click.echo(text("cli.install.no"))
        sys.exit(Exit.FAILED)
    if not all([_installed(installer, package) for package in packages]):
        sys.exit(Exit.FAILED)


def _installed(installer: Installer, package: Package) -> bool:
    """Install one of them; what is wrong with it does not keep the others from being installed."""
    try:
        version, used = asyncio.run(installer.install(package, click.echo))
    except ExecutorError as error:
        say_error(error)
        return False
    path = installer.prefix.program(package)
    click.echo(text("cli.install.done", agent=package.title, version=version, path=path))
    if used != path:
        click.echo(text("cli.install.shadowed", path=used))
    return True


@click.command(cls=Verb)
@click.option("--for", "for_s", type=Duration(), metavar="TIME")
@click.option("--reason", metavar="TEXT")
@speaks_plainly
def pause(for_s: float | None, reason: str | None) -> None:
    from executor_core.cli import show

    found = invocation().ask(lambda control: control.pause(for_s, reason))
    click.echo(show.pause_line(found))


@click.command(cls=Verb)
@speaks_plainly
def resume() -> None:
    invocation().ask(lambda control: control.resume())
    click.echo(text("cli.resumed"))


@click.command(cls=Verb)
@speaks_plainly
def drain() -> None:
    found = invocation().ask(lambda control: control.drain())
    click.echo(text("cli.draining", count=len(found.runs)))


@click.command(cls=Verb)
@speaks_plainly
def stop() -> None:
    async def ask(control: RemoteControl) -> None:
        pid = (await control.status()).pid
        await control.stop()
        await _until_gone(pid)

    invocation().ask(ask)
    click.echo(text("cli.stopped"))


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


@click.command(cls=Verb)
@click.option("--backend-url", metavar="URL")
@click.option("--token", metavar="-")
@click.option("--file", "to_file", is_flag=True)
@speaks_plainly
def login(backend_url: str | None, token: str | None, to_file: bool) -> None:
    from executor_core.config import options
    from executor_core.config.token import TokenSources
    from executor_core.config.writing import set_option

    asked = invocation()
    if backend_url:
        asked = asked.also({options.SERVER_URL.name: backend_url})
    config = asked.config()
    server = config[options.SERVER_URL]
    if not server:
        raise ExecutorError("no_server")
    value = _token_to_keep(token or asked.given.get(options.SERVER_TOKEN.name), server)
    config.home.create()
    kept = TokenSources(config).save(server, value, to_file)
    if asked.given.get(options.SERVER_URL.name):
        set_option(config.home, options.SERVER_URL.name, server)
    click.echo(text("cli.logged_in", server=server, place=kept.source))
    _tell_running_executor(server)


def _token_to_keep(given: object, server: str) -> str:
    if given == "-":
        return _read_stdin().partition("\n")[0].strip()
    if given:
        return str(given)
    if not sys.stdin.isatty():
        raise ExecutorError("no_terminal")
    return str(click.prompt(text("cli.token_prompt", server=server), hide_input=True, err=True))


@click.command(cls=Verb)
@speaks_plainly
def logout() -> None:
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
    _tell_running_executor(server)


def _tell_running_executor(server: str) -> None:
    async def tell(control: RemoteControl) -> list[str]:
        await control.credential_changed()
        return [link.server for link in (await control.status()).links]

    try:
        servers = invocation().ask(tell)
    except ExecutorError as error:
        if error.code != "not_running":
            raise
        return
    if server not in servers:
        click.echo(text("cli.other_server", servers=", ".join(servers)))


@click.command(cls=Verb)
@click.option("-f", "--follow", is_flag=True)
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=100, metavar="N")
@speaks_plainly
def logs(follow: bool, lines: int) -> None:
    from executor_core.cli.tail import print_tail
    from executor_core.config import options

    config = invocation().config()
    print_tail(config[options.LOG_DIR] / config[options.LOG_FILE], lines, follow=follow)


@click.group(cls=Verbs, invoke_without_command=True)
@click.pass_context
@speaks_plainly
def config(context: click.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    from executor_core.cli import show
    from executor_core.config.options import OPTIONS

    loaded = invocation().config()
    rows = []
    for name in OPTIONS:
        used = next((step for step in _chain(loaded, name) if step.winning), None)
        rows.append((name, used.value if used else "", used.source if used else ""))
    show.table(rows, (text(f"cli.config.{name}") for name in ("option", "value", "source")))


def _chain(config: Config, name: str) -> tuple[Explanation, ...]:
    """What every place says about an option; of the token also what the keychain holds."""
    from executor_core.config import options
    from executor_core.config.token import TokenSources

    server = config[options.SERVER_URL]
    if name == options.SERVER_TOKEN.name and server:
        return TokenSources(config).explain(server)
    return config.explain(name)


@config.command("explain")
@click.argument("name")
@speaks_plainly
def config_explain(name: str) -> None:
    from executor_core.cli import show
    from executor_core.config.options import option_named

    loaded = invocation().config()
    option = option_named(name)
    click.echo(option.help)
    click.echo(text("cli.config.allowed", allowed=option.kind.allowed.text()))
    show.table(
        (("→" if step.winning else "", step.value, step.source) for step in _chain(loaded, name)),
        ("", text("cli.config.value"), text("cli.config.source")),
    )


@click.command("demo-agent", hidden=True)
def demo_agent() -> None:
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
