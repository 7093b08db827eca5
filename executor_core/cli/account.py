"""Signing in and out at a server."""

from __future__ import annotations

import asyncio
import sys

import click

from executor_core.cli.context import Invocation, invocation, secret_line
from executor_core.cli.out import say
from executor_core.cli.outcome import speaks_plainly
from executor_core.cli.words import Verb
from executor_core.errors import ExecutorError
from executor_core.texts import text


@click.command(cls=Verb)
@click.option("--backend-url", metavar="URL")
@click.option("--token", metavar="-")
@click.option("--file", "to_file", is_flag=True)
@speaks_plainly
def login(backend_url: str | None, token: str | None, to_file: bool) -> None:
    from executor_core.config import options
    from executor_core.services.account import LocalAccount

    asked = invocation()
    if backend_url:
        asked = asked.also({options.SERVER_URL.name: backend_url})
    server = asked.config()[options.SERVER_URL]
    if not server:
        raise ExecutorError("no_server")
    value = _token_to_keep(token or asked.given.get(options.SERVER_TOKEN.name), server)
    room = LocalAccount(*asked.desk(), on_wait=_say_wait if sys.stderr.isatty() else None)
    kept = asyncio.run(room.sign_in(server, value, to_file=to_file))
    say(text("cli.logged_in", server=server, place=kept.place))
    _say_other_server(asked, server)


@click.command(cls=Verb)
@speaks_plainly
def logout() -> None:
    from executor_core.config import options
    from executor_core.services.account import LocalAccount

    asked = invocation()
    server = asked.config()[options.SERVER_URL]
    left = asyncio.run(LocalAccount(*asked.desk()).sign_out())
    say(text("cli.logged_out", server=server))
    if left.place is not None:
        say(text("cli.token_left", place=left.place))
    _say_other_server(asked, server)


def _say_wait() -> None:
    say(text("cli.keychain_asks"), err=True)


def _token_to_keep(given: object, server: str) -> str:
    if given and given != "-":
        return str(given)
    if not (given or sys.stdin.isatty()):
        raise ExecutorError("no_terminal")
    return secret_line(text("cli.token_prompt", server=server))


def _say_other_server(asked: Invocation, server: str) -> None:
    """Whoever signs in at one server must not think that the running executor uses it."""
    from executor_core.services.reach import status_of

    status = asyncio.run(status_of(asked.desk()[1]))
    servers = [link.server for link in status.links] if status is not None else [server]
    if server not in servers:
        say(text("cli.other_server", servers=", ".join(servers)))
