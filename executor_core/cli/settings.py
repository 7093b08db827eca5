"""Every option, where its value comes from, and changing it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from executor_core.cli.context import invocation, secret_line
from executor_core.cli.out import say
from executor_core.cli.outcome import speaks_plainly
from executor_core.cli.words import Verbs
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.services.interface import Setting


SHOWN_OF_VALUE = 200


@click.group(cls=Verbs, invoke_without_command=True)
@click.pass_context
@speaks_plainly
def config(context: click.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    from executor_core.cli import show
    from executor_core.services.settings import settings_of

    rows = [
        (one.name, one.value[:SHOWN_OF_VALUE], one.source)
        for one in settings_of(invocation().config())
    ]
    show.table(rows, (text(f"cli.config.{name}") for name in ("option", "value", "source")))


# A negative number is a value: what is allowed instead is said of the option.
@config.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("value")
@speaks_plainly
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
@speaks_plainly
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
    from executor_core.config.options import DEVICE_MAX_CONCURRENT_TASKS
    from executor_core.services.reach import ask_running

    if changed.name != DEVICE_MAX_CONCURRENT_TASKS.name or changed.overridden_by is not None:
        return False
    _, reach = invocation().desk()
    slots = int(changed.value)
    return asyncio.run(ask_running(reach, lambda control: control.resize(slots))) is not None


def _change(name: str, value: str | None) -> Setting:
    from executor_core.services.settings import change

    return change(invocation().read().reread, name, value)


@config.command("explain")
@click.argument("name")
@speaks_plainly
def config_explain(name: str) -> None:
    from executor_core.cli import show
    from executor_core.config.options import option_called, other_names
    from executor_core.services.settings import chain_of, setting_of

    loaded = invocation().config()
    option = option_called(name)
    say(option.help)
    say(text("cli.config.allowed", allowed=option.kind.allowed.text()))
    if others := other_names(option):
        say(text("cli.config.other_names", names=", ".join((option.name, *others))))
    if not setting_of(loaded, option).default:
        say(text("cli.config.no_default"))
    steps = chain_of(loaded, option.name)
    if not steps:
        return
    show.table(
        (("→" if step.winning else "", step.value, step.source) for step in steps),
        ("", text("cli.config.value"), text("cli.config.source")),
    )
