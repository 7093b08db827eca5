"""`api user`: who may sign in to the local API with a name and a password.

The running executor sees each change at once; none needs to run.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import click

from executor_core.cli.context import invocation, secret_line
from executor_core.cli.out import say
from executor_core.cli.outcome import speaks_plainly
from executor_core.cli.words import Verbs
from executor_core.errors import ExecutorError
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.config.home import Home


@click.group("api", cls=Verbs)
def api() -> None:
    """Holds the group below."""


@api.group("user", cls=Verbs)
def user() -> None:
    """Holds the three verbs below."""


def _home() -> Home:
    home = invocation().home()
    home.create()
    return home


@user.command("add")
@click.argument("name")
@click.option("--password", metavar="-")
@speaks_plainly
def add(name: str, password: str | None) -> None:
    from executor_core.app import forget_first_password, users_of

    if password not in (None, "-"):
        # On the command line every user of this computer could read it.
        raise ExecutorError("password_on_command_line")
    home = _home()
    question = text("cli.password_prompt", name=name)
    chosen = secrets.token_urlsafe(15) if password is None else secret_line(question)
    users_of(home).put(name, chosen)
    forget_first_password(home, name)
    if password is None:
        say(text("cli.user.added_with_password", name=name, password=chosen))
    else:
        say(text("cli.user.added", name=name))


@user.command("remove")
@click.argument("name")
@speaks_plainly
def remove(name: str) -> None:
    from executor_core.app import remove_user

    remove_user(_home(), name)
    say(text("cli.user.removed", name=name))


@user.command("list")
@speaks_plainly
def list_() -> None:
    from executor_core.app import users_of

    names = users_of(_home()).names()
    say("\n".join(names) if names else text("cli.user.none"))
