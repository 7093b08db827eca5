"""Which agents can work here, what each offers, and installing them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from functools import partial

import click

from executor_core.agents import acp
from executor_core.agents.catalog import KnownAgent, known_agents
from executor_core.agents.registry import CheckedAgent
from executor_core.cli.frame import agreed, as_json, group, invocation, missing
from executor_core.cli.out import Exit, agrees, say, say_error, say_json
from executor_core.control import Control
from executor_core.errors import ExecutorError
from executor_core.model import Availability
from executor_core.services.computer import (
    check_agent,
    find_installer,
    find_python_installer,
    look_for_agents,
)
from executor_core.services.install import LocalInstall
from executor_core.services.interface import InstallPlan, InstallService
from executor_core.texts import text

all_ = click.option("--all", "is_all", is_flag=True)


@group
@as_json
@all_
def agents(is_json: bool, is_all: bool) -> None:
    async def ask(control: Control) -> tuple[tuple[Availability, ...], str]:
        return await control.agents(anew=True), (await control.status()).program_path

    def look() -> tuple[tuple[Availability, ...], str]:
        return asyncio.run(look_for_agents(invocation().config()))

    found, path = invocation().ask(ask, otherwise=look)
    listed = {agent.name for agent in found}
    others = [agent for agent in known_agents() if agent.name not in listed]
    if is_json:
        say_json((*found, *map(_not_installed, others)) if is_all else found)
        return
    if is_all:
        _show_others(others)
    _show(found, path, more=0 if is_all else len(others))


def _not_installed(known: KnownAgent) -> Availability:
    problem = acp.missing(known).message
    return Availability(name=known.name, title=known.title, is_usable=False, problem=problem)


def _show(found: Sequence[Availability], path: str, more: int) -> None:
    """Each agent: whether it can work, and what to do if not; then what they get and where they
    are looked up. `more` is how many others are known that are not installed."""
    for agent in found:
        mark = "✓" if agent.is_usable else "✗"
        facts = (agent.version, agent.path, agent.login, agent.remark)
        say(f"{mark} {agent.name}  " + "  ".join(filter(None, facts)))
        if agent.problem is not None:
            say(f"    {agent.problem.sentence}")
    if more:
        say(text("cli.agents.more", count=more))
    if names := {name for agent in found for name in agent.variables}:
        say(text("cli.agents.variables", names=", ".join(sorted(names))), dim=True)
    say(text("cli.agents.path", path=path), dim=True)


def _show_others(known: Iterable[KnownAgent]) -> None:
    """The others of the protocol's registry, with where each comes from."""
    for agent in known:
        source = agent.install
        page = source.binary.page if source.binary else ""
        where = f"npm: {source.npm}" if source.npm else f"PyPI: {source.pypi}"
        shown = where if agent.is_installable else page
        seen = text("cli.agents.seen", version=agent.seen.version) if agent.seen else ""
        say(f"· {agent.name}  {agent.title}  {shown}  {seen}".rstrip())


@agents.command("check")
@click.argument("name", metavar="NAME")
@as_json
def agents_check(name: str, is_json: bool) -> None:
    found = asyncio.run(check_agent(invocation().config(), name))
    say_json(found) if is_json else _show_checked(found)
    if not found.agent.is_usable or found.offer.needs_login or found.offer.refusal:
        sys.exit(Exit.FAILED)


def _show_checked(found: CheckedAgent) -> None:
    """What one agent offers, a line each."""
    agent, offer = found.agent, found.offer
    facts = (offer.version or agent.version, agent.path, agent.login, agent.remark)
    say(f"{agent.name}  {agent.title}  " + "  ".join(filter(None, facts)))
    answers = {True: text("cli.yes"), False: text("cli.no"), None: "?"}
    say(text("cli.check.resumes", answer=answers[offer.resumes]))
    say(text("cli.check.images", answer=answers[offer.takes_images]))
    if offer.modes:
        say(text("cli.check.modes", names=", ".join(offer.modes)))
    say(text("cli.check.login", answer=answers[offer.needs_login]))
    if offer.logins:
        say(text("cli.check.logins", names=", ".join(offer.logins)))
    way = found.sign_in
    if way and offer.needs_login is not False:
        if way.command:
            say(text("cli.check.sign_in", command=way.command))
        if way.variables:
            say(text("cli.check.variables", names=", ".join(way.variables)))
    problem = agent.problem.sentence if agent.problem else offer.refusal
    if problem:
        say(problem)


@agents.command("install")
@click.argument("names", nargs=-1, metavar="NAME…")
@all_
@agreed
@click.pass_context
def agents_install(
    context: click.Context, names: tuple[str, ...], is_all: bool, is_agreed: bool
) -> None:
    if not names and not is_all:
        raise missing(context)
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
