"""What belongs to the owner: the options, who may sign in, and the keys of the own hub."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import click

from executor_core.cli.frame import Misuse, Verbs, group, invocation, secret_line
from executor_core.cli.out import say, say_table
from executor_core.config import options
from executor_core.errors import ExecutorError
from executor_core.services.interface import Setting
from executor_core.services.reach import ask_hub, ask_running
from executor_core.services.settings import chain_of, change, setting_of, settings_of
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.config.home import Home

SHOWN_OF_VALUE = 200


# --- options -----------------------------------------------------------------------------------


@group
def config() -> None:
    found = settings_of(invocation().config())
    rows = ((one.name, one.value[:SHOWN_OF_VALUE], one.source) for one in found)
    say_table(rows, ("cli.config.option", "cli.config.value", "cli.config.source"))


# A negative number is a value: what is allowed instead is said of the option.
@config.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("value")
def config_set(name: str, value: str) -> None:
    # A key in a command line could be seen by other users of this computer.
    given = secret_line(text("cli.value_prompt", option=name)) if value == "-" else value
    changed = _change(name, given)
    key = "cli.config.set_now" if _counts_now(changed) else "cli.config.set"
    say(text(key, option=changed.name, value="***" if changed.is_secret else given))
    if changed.overridden_by is not None:
        say(text("cli.config.overridden", source=changed.overridden_by))


@config.command("unset")
@click.argument("name")
def config_unset(name: str) -> None:
    left = _change(name, None)
    name = left.name
    if _counts_now(left):
        say(text("cli.config.set_now", option=name, value=left.value))
    elif left.value:
        say(text("cli.config.unset", option=name, value=left.value, source=left.source))
    else:
        say(text("cli.config.unset_empty", option=name))


def _counts_now(changed: Setting) -> bool:
    """Slots are given to a running executor at once, as the window does; other options wait."""
    if (
        changed.name != options.DEVICE_MAX_CONCURRENT_TASKS.name
        or changed.overridden_by is not None
    ):
        return False
    _, reach = invocation().reach()
    slots = int(changed.value)
    return asyncio.run(ask_running(reach, lambda control: control.resize(slots))) is not None


def _change(name: str, value: str | None) -> Setting:
    return change(invocation().read().reread, name, value)


@config.command("explain")
@click.argument("name")
def config_explain(name: str) -> None:
    loaded = invocation().config()
    option = options.option_called(name)
    say(option.help)
    say(text("cli.config.allowed", allowed=option.kind.allowed.text()))
    if others := options.other_names(option):
        say(text("cli.config.other_names", names=", ".join((option.name, *others))))
    if not setting_of(loaded, option).default:
        say(text("cli.config.no_default"))
    steps = chain_of(loaded, option.name)
    if not steps:
        return
    rows = (("→" if step.winning else "", step.value, step.source) for step in steps)
    say_table(rows, ("", "cli.config.value", "cli.config.source"))


# --- users of the local API: the running executor sees each change at once; none needs to run ----


api = Verbs("api")
user = Verbs("user")
api.add_command(user)


def _home() -> Home:
    home = invocation().home()
    home.create()
    return home


@user.command("add")
@click.argument("name")
@click.option("--password", metavar="-")
def user_add(name: str, password: str | None) -> None:
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
def user_remove(name: str) -> None:
    from executor_core.app import remove_user

    remove_user(_home(), name)
    say(text("cli.user.removed", name=name))


@user.command("list")
def user_list() -> None:
    from executor_core.app import users_of

    names = users_of(_home()).names()
    say("\n".join(names) if names else text("cli.user.none"))


# --- what others come to the hub with ----------------------------------------------------------


hub = Verbs("hub")


@hub.command("token")
@click.option("--user", metavar="NAME")
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
def hub_key(
    context: click.Context, user: str | None, name: str | None, is_list: bool, remove: int | None
) -> None:
    wanted = {key: value for key, value in (("user", user), ("name", name)) if value}
    if is_list + (remove is not None) + bool(wanted) > 1:
        raise Misuse(context)  # one thing at a time
    if is_list:
        _list_keys()
    elif remove is not None:
        _ask("DELETE", f"keys/{remove}")
        say(text("cli.hub.removed", id=remove))
    else:
        server, given = _ask("POST", "keys", wanted)
        say(given["key"])
        say(text("cli.hub.key", server=server, user=given["user"], id=given["id"]), err=True)


def _list_keys() -> None:
    _, found = _ask("GET", "keys")
    names = ("id", "user", "name", "created_at")
    rows = [[str(item[name])[:100] for name in names] for item in found["items"]]
    if rows:
        say_table(rows, (f"cli.hub.{name}" for name in names))
    else:
        say(text("cli.hub.no_keys"))


def _ask(method: str, path: str, body: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """The address of the hub that runs, and its answer."""
    return asyncio.run(ask_hub(*invocation().reach(), method, f"/api/hub/{path}", body))
