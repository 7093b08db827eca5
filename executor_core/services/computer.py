"""This computer as agents see it, made from the configuration."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from executor_core.agents import AgentHost, agents_here
from executor_core.agents.registry import CheckedAgent, checked_agent
from executor_core.clock import Clock, SystemClock
from executor_core.config import options
from executor_core.config.layers import Config
from executor_core.config.redaction import register_secret
from executor_core.model import Availability, secret_values
from executor_core.process import Login, ask_login_shell

if TYPE_CHECKING:
    from executor_core.agents.install import Installer
    from executor_core.agents.install_python import PythonInstaller

_KEY_VARIABLE = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)


def make_host(config: Config, clock: Clock) -> AgentHost:
    """This computer, as agents see it. Looks up nothing yet."""
    environment = config.environment
    withheld: tuple[str, ...] = config[options.AGENTS_ENVIRONMENT_WITHHELD]
    settings = dict(config.given)

    async def ask() -> Login:
        login = await ask_login_shell(environment, clock)
        for secret in _keys_of_user(login.variables):
            register_secret(secret)
        return login

    for table in config[options.AGENTS_ACP]:
        for secret in secret_values(table.get("env") if isinstance(table, dict) else None):
            register_secret(secret)
    for secret in _keys_of_user(environment):
        register_secret(secret)
    if (key := config[options.ANTHROPIC_API_KEY]) and "ANTHROPIC_API_KEY" not in environment:
        settings["ANTHROPIC_API_KEY"] = key
    return AgentHost(
        base=environment,
        settings=settings,
        withheld=withheld,
        ask=ask,
        path=environment.get("PATH", os.defpath),
        platform=sys.platform,
        owner=owner_of(config),
        is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
        folder=config.home.path,
        clock=clock,
        background_wait_s=config[options.AGENTS_BACKGROUND_WAIT],
    )


def owner_of(config: Config) -> str:
    """Whose the runs of this home are, in the markers of their processes."""
    return hashlib.sha256(str(config.home.path.resolve()).encode()).hexdigest()[:16]


def _keys_of_user(environment: Mapping[str, str]) -> list[str]:
    """What an agent that shows its variables would give away. A path to a key is none."""
    return [
        value
        for name, value in environment.items()
        if _KEY_VARIABLE.search(name) and not (os.path.isabs(value) and os.path.exists(value))
    ]


async def look_for_agents(config: Config) -> tuple[tuple[Availability, ...], str]:
    """Which agents can work here, and the PATH they were looked up along; nothing need run."""
    host = await host_of_user(config)
    return await agents_here(host, config[options.AGENTS_ACP]).availability(), host.path


async def find_installer(config: Config) -> Installer:
    """What installs agents for this user. Raises ExecutorError("npm_missing")."""
    from executor_core.agents.install import Installer

    return await Installer.find(await host_of_user(config))


async def find_python_installer(config: Config) -> PythonInstaller:
    """The same for agents that PyPI has. Raises ExecutorError("python_missing")."""
    from executor_core.agents.install_python import PythonInstaller

    return await PythonInstaller.find(await host_of_user(config))


async def check_agent(config: Config, name: str) -> CheckedAgent:
    """Start the agent `name` and ask it what it offers; no model is asked.

    Raises ExecutorError where it is unknown, not installed, or does not answer.
    """
    from executor_core.agents.catalog import known_agent

    host = await host_of_user(config)
    agent = agents_here(host, config[options.AGENTS_ACP]).get(name)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        checked = await checked_agent(agent, Path(folder))
    known = known_agent(checked.agent.name)
    return replace(checked, sign_in=known.sign_in if known else None)


async def host_of_user(config: Config) -> AgentHost:
    """This computer, with the environment of the user's login shell."""
    config.home.create()
    host = make_host(config, SystemClock())
    await host.ready()
    return host
