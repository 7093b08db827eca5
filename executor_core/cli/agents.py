"""Which agents can work here, what each offers, and installing them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import click

from executor_core.cli.context import invocation
from executor_core.cli.out import agrees, say
from executor_core.cli.outcome import Exit, say_error, speaks_plainly
from executor_core.cli.words import Misuse, Verbs, as_json
from executor_core.errors import ExecutorError
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.agents.catalog import KnownAgent
    from executor_core.control import Control
    from executor_core.model import Availability
    from executor_core.services.interface import InstallPlan, InstallService


@click.group(cls=Verbs, invoke_without_command=True)
@as_json
@click.option("--all", "is_all", is_flag=True)
@click.pass_context
@speaks_plainly
def agents(context: click.Context, is_json: bool, is_all: bool) -> None:
    if context.invoked_subcommand is not None:
        return
    from executor_core.cli import show

    async def ask(control: Control) -> tuple[tuple[Availability, ...], str]:
        return await control.agents(anew=True), (await control.status()).program_path

    try:
        found, path = invocation().ask(ask)
    except ExecutorError as error:
        if error.code != "not_running":
            raise
        from executor_core.services.computer import look_for_agents

        found, path = asyncio.run(look_for_agents(invocation().config()))
    from executor_core.agents.catalog import known_agents

    listed = {agent.name for agent in found}
    others = [agent for agent in known_agents() if agent.name not in listed]
    if is_json:
        show.as_json((*found, *map(_not_installed, others)) if is_all else found)
        return
    if is_all:
        show.agents_not_installed(others)
    show.agents(found, path, more=0 if is_all else len(others))


def _not_installed(known: KnownAgent) -> Availability:
    from executor_core.agents.acp import missing
    from executor_core.model import Availability

    problem = missing(known).info
    return Availability(name=known.name, title=known.title, is_usable=False, problem=problem)


@agents.command("check")
@click.argument("name", metavar="NAME")
@as_json
@speaks_plainly
def agents_check(name: str, is_json: bool) -> None:
    from executor_core.cli import show
    from executor_core.services.computer import check_agent

    found = asyncio.run(check_agent(invocation().config(), name))
    show.as_json(found) if is_json else show.checked_agent(found)
    if not found.agent.is_usable or found.offer.needs_login or found.offer.refusal:
        sys.exit(Exit.FAILED)


@agents.command("install")
@click.argument("names", nargs=-1, metavar="NAME…")
@click.option("--all", "is_all", is_flag=True)
@click.option("--yes", "is_agreed", is_flag=True)
@click.pass_context
@speaks_plainly
def agents_install(
    context: click.Context, names: tuple[str, ...], is_all: bool, is_agreed: bool
) -> None:
    from executor_core.services.computer import find_installer, find_python_installer
    from executor_core.services.install import LocalInstall

    if not names and not is_all:
        missing = click.MissingParameter(ctx=context, param=context.command.params[0])
        raise Misuse(str(missing), context) from missing
    config = invocation().config()
    room = LocalInstall(partial(find_installer, config), partial(find_python_installer, config))
    wanted = dict.fromkeys(room.installable() if is_all else names)
    plans = asyncio.run(_plans(room, wanted))
    for plan in plans:
        words = {"agent": plan.title, "folder": plan.folder, "command": plan.command}
        say(text("cli.install.plan", **words))
    if not is_agreed and not agrees(text("cli.install.ask")):
        say(text("cli.install.no"))
        sys.exit(Exit.FAILED)
    if not all([_installed(room, plan) for plan in plans]):
        sys.exit(Exit.FAILED)


async def _plans(room: InstallService, names: Iterable[str]) -> list[InstallPlan]:
    return [await room.plan(name) for name in names]


def _installed(room: InstallService, plan: InstallPlan) -> bool:
    """Install one of them; what is wrong with it does not keep the others from being installed."""
    try:
        done = asyncio.run(room.install(plan.name, say))
    except ExecutorError as error:
        say_error(error)
        return False
    say(text("cli.install.done", agent=plan.title, version=done.version, path=done.path))
    if done.shadowed_by:
        say(text("cli.install.shadowed", path=done.shadowed_by))
    return True
