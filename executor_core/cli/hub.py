"""What the owner of a standalone executor hands out, so that others come to its hub."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from executor_core.cli.context import invocation
from executor_core.cli.out import say
from executor_core.cli.outcome import speaks_plainly
from executor_core.cli.words import Misuse, Verbs
from executor_core.texts import text


@click.group(cls=Verbs)
def hub() -> None:
    """Holds the verbs below."""


@hub.command("token")
@click.option("--user", metavar="NAME")
@speaks_plainly
def hub_token(user: str | None) -> None:
    server, given = _ask("POST", "tokens", {"user": user} if user else {})
    say(given["token"])
    ends = given["expires_at"][:10]
    say(text("cli.hub.token", server=server, user=given["user"], date=ends), err=True)


@hub.command("key")
@click.option("--user", metavar="NAME")
@click.option("--name", metavar="TEXT")
@click.option("--list", "is_list", is_flag=True)
@click.option("--remove", type=click.IntRange(1, 999_999_999), metavar="NUMBER")
@click.pass_context
@speaks_plainly
def hub_key(
    context: click.Context, user: str | None, name: str | None, is_list: bool, remove: int | None
) -> None:
    wanted = {key: value for key, value in (("user", user), ("name", name)) if value}
    if is_list + (remove is not None) + bool(wanted) > 1:
        raise Misuse("one thing at a time", context)
    if is_list:
        _list_keys()
    elif remove is not None:
        _ask("DELETE", f"keys/{remove}")
        say(text("cli.hub.removed", id=remove))
    else:
        server, given = _ask("POST", "keys", wanted)
        say(given["key"])
        words = text("cli.hub.key", server=server, user=given["user"], id=given["id"])
        say(words, err=True)


def _list_keys() -> None:
    from executor_core.cli import show

    _, found = _ask("GET", "keys")
    names = ("id", "user", "name", "created_at")
    rows = [[str(item[name])[:100] for name in names] for item in found["items"]]
    if rows:
        show.table(rows, (text(f"cli.hub.{name}") for name in names))
    else:
        say(text("cli.hub.no_keys"))


def _ask(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """The address of the hub that runs, and its answer."""
    from executor_core.services.reach import ask_hub

    return asyncio.run(ask_hub(*invocation().desk(), method, f"/api/hub/{path}", body))
