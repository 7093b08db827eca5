"""`wegent-executor`: starts the executor, or speaks to the one that runs."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from importlib import import_module
from pathlib import Path

import click

from executor_core import __version__
from executor_core.cli.frame import Invocation, Verbs
from executor_core.cli.out import Exit, say
from executor_core.cli.start import Front, start
from executor_core.texts import text

_VERBS = {
    "life": "status pause resume drain stop logs doctor bundle help",
    "runs": "runs exec",
    "agents": "agents",
    "server": "login logout devices selftest",
    "workspaces": "workspaces",
    "owner": "config api hub",
}
"""The verbs of each module."""
_MODULES = {verb: module for module, verbs in _VERBS.items() for verb in verbs.split()}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Root(Verbs):
    """Loads the module of a verb when the verb is given; `--version` needs none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)  # the hidden ones
        module = import_module(f"executor_core.cli.{_MODULES[cmd_name]}")
        # `exec_` and `help_`: Python has those names already.
        found: click.Command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        return found


@click.group(
    cls=Root,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--mode", metavar="MODE")
@click.option("--backend-url", metavar="URL")
@click.option("--token", metavar="TOKEN")
@click.option("--no-gui", is_flag=True)
@click.option("--standalone", is_flag=True)
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE")
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def cli(
    context: click.Context,
    mode: str | None,
    backend_url: str | None,
    token: str | None,
    no_gui: bool,
    standalone: bool,
    config_file: Path | None,
) -> None:
    given = {"mode": mode, "server.url": backend_url, "server.token": token}
    front: Front = context.obj or start
    context.obj = Invocation(given, config_file)
    context.obj.choose_language()
    if context.invoked_subcommand is None:
        front(context.obj, no_gui=no_gui, standalone=standalone, token_given=token is not None)


@cli.command("demo-agent", cls=click.Command)
def demo_agent() -> None:
    from executor_core.agents.demo import main

    main()


@cli.command("sweep", cls=click.Command)
@click.argument("owner")
def sweep(owner: str) -> None:
    import asyncio

    from executor_core.services.will import carry_out

    asyncio.run(carry_out(owner))


def run(front: Front | None = None) -> None:
    """The command line of this process. `front` starts the executor where no verb is given."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Rather a question mark than a failure where a terminal or a file takes no such sign.
            stream.reconfigure(errors="replace")
    if sys.stdin is None:  # the caller closed it
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  until the process ends
    try:
        # Alone, click would call an early Ctrl-C `Aborted!`, and its code 1.
        sys.exit(cli(prog_name="wegent-executor", obj=front, standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(Exit.INTERRUPTED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            _let_go_of_output()
            say(text("cli.not_written", reason=error.strerror), err=True)
            sys.exit(Exit.FAILED)
        _last_resort(error)


def _let_go_of_output() -> None:
    """Once it failed: what is left in its buffer would fail again at the exit, with code 120."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _last_resort(error: Exception) -> None:
    """A bug of ours, or a system that fails us: a sentence for the person, a file with the rest."""
    import tempfile
    import traceback

    from executor_core.config.redaction import redact

    lines = redact("".join(traceback.format_exception(error)))
    kind = f"{type(error).__name__}: {redact(str(error))}"[:200]
    try:
        descriptor, name = tempfile.mkstemp(".txt", "wegent-executor-")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(lines)
        say(text("cli.bug_in_file", kind=kind, file=name), err=True)
    except OSError:
        say(text("cli.bug", kind=kind), err=True)
    sys.exit(Exit.FAILED)
