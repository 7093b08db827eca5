"""All verbs. Each is one short function of its file; what is heavy is imported where it is used.

What they are for is said by `--help`, from the texts `help.*` of the catalogue.
"""

from __future__ import annotations

import asyncio

import click

from executor_core.cli import (
    account,
    agents,
    devices,
    health,
    hub,
    life,
    runs,
    selftest,
    settings,
    users,
    workspaces,
)
from executor_core.cli.context import invocation
from executor_core.cli.outcome import speaks_plainly
from executor_core.cli.words import Verb


@click.command(cls=Verb)
@click.option("-f", "--follow", is_flag=True)
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=100, metavar="N")
@speaks_plainly
def logs(follow: bool, lines: int) -> None:
    from executor_core.cli.tail import print_tail
    from executor_core.config import options

    config = invocation().config()
    path = config[options.LOG_DIR] / config[options.LOG_FILE]
    asyncio.run(print_tail(path, lines, follow=follow))


@click.command("demo-agent", hidden=True)
def demo_agent() -> None:
    from executor_core.agents.demo import main

    main()


@click.command("sweep", hidden=True)
@click.argument("owner")
def sweep(owner: str) -> None:
    from executor_core.services.will import carry_out

    asyncio.run(carry_out(owner))


ALL = (
    life.status,
    runs.runs,
    runs.exec_,
    agents.agents,
    life.pause,
    life.resume,
    life.drain,
    life.stop,
    account.login,
    account.logout,
    devices.devices,
    selftest.selftest,
    hub.hub,
    logs,
    settings.config,
    users.api,
    workspaces.workspaces,
    health.doctor,
    health.bundle,
    health.help_,
    demo_agent,
    sweep,
)
