"""`wegent-executor`: starts the executor, or speaks to the one that runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from executor_core import __version__
from executor_core.cli import verbs
from executor_core.cli.context import Invocation
from executor_core.cli.outcome import speaks_plainly
from executor_core.cli.start import start
from executor_core.texts import language_of, text, use_language


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--mode", metavar="MODE", help="local: the only mode, and the default.")
@click.option("--backend-url", metavar="URL", help="Address of the Wegent server.")
@click.option("--token", metavar="TOKEN", help="Token of the server (visible to other users here).")
@click.option("--no-gui", is_flag=True, help="Never open the tray application.")
@click.option(
    "--standalone", is_flag=True, help="Without a server: hub and console on this computer."
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read this file instead of config.toml.",
)
@click.version_option(__version__, message="%(version)s")
@click.pass_context
@speaks_plainly
def cli(
    context: click.Context,
    mode: str | None,
    backend_url: str | None,
    token: str | None,
    no_gui: bool,
    standalone: bool,
    config_file: Path | None,
) -> None:
    """Turn this computer into a device that runs AI coding tasks.

    Without a command the executor starts: connected to a Wegent server, or with --standalone on its
    own. The commands speak to the executor that runs.

    \b
    $ wegent-executor --standalone
    $ wegent-executor --backend-url https://wegent.example.com login
    """
    given = {"mode": mode, "server.url": backend_url, "server.token": token}
    context.obj = Invocation(given, config_file)
    if context.invoked_subcommand is None:
        start(context.obj, no_gui=no_gui, standalone=standalone, token_given=token is not None)


for verb in verbs.ALL:
    cli.add_command(verb)


def main() -> None:
    """The entry point of the console script."""
    # Errors that come before any configuration are in the language of the terminal.
    use_language(language_of(_locale()))
    try:
        cli(prog_name="wegent-executor")
    except Exception as error:
        _last_resort(error)


def _locale() -> str:
    import locale

    return locale.getlocale()[0] or ""


def _last_resort(error: Exception) -> None:
    """A bug of ours: its traceback goes to the log, a sentence to the person."""
    import logging

    logging.getLogger("executor.cli").error("unexpected: %s", error, exc_info=error)
    click.echo(text("cli.bug", kind=type(error).__name__), err=True)
    sys.exit(1)
