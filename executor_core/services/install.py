"""Installs agents into the user's own space, as `services.interface.InstallService` says."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from executor_core.agents.catalog import KnownAgent, known_agent, known_agents, nearest_names
from executor_core.agents.install import PACKAGES, Installer, Package, package_of
from executor_core.agents.install_python import PythonInstaller
from executor_core.errors import ExecutorError
from executor_core.services.interface import Installed, InstallPlan
from executor_core.texts import text

AnyInstaller: TypeAlias = Installer | PythonInstaller
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64"}


class LocalInstall:
    """Implements InstallService, one installation at a time.

    `find` and `find_python` look for what installs; what a plan showed is what is then done.
    """

    def __init__(
        self,
        find: Callable[[], Awaitable[Installer]],
        find_python: Callable[[], Awaitable[PythonInstaller]] | None = None,
    ) -> None:
        self._find_npm = find
        self._find_python = find_python
        self._installers: dict[bool, AnyInstaller] = {}
        self._alone = asyncio.Lock()

    def installable(self) -> tuple[str, ...]:
        return tuple(PACKAGES)

    async def plan(self, name: str) -> InstallPlan:
        package = _package(name)
        installer = self._installers[package.is_pypi] = await self._find(package)
        return InstallPlan(
            name=package.agent,
            title=package.title,
            folder=str(installer.folder),
            command=installer.command(package),
        )

    async def install(self, name: str, say: Callable[[str], None]) -> Installed:
        package = _package(name)
        async with self._alone:
            installer = self._installers.get(package.is_pypi) or await self._find(package)
            version, used = await installer.install(package, say)
        path = installer.program(package)
        return Installed(
            name=package.agent,
            version=version,
            path=str(path),
            shadowed_by=None if used == path else str(used),
        )

    async def _find(self, package: Package) -> AnyInstaller:
        if not package.is_pypi:
            return await self._find_npm()
        if self._find_python is None:
            raise _refused(package.agent, "")
        return await self._find_python()


def _package(name: str) -> Package:
    package = package_of(name)
    if package is not None:
        return package
    known = known_agent(name)
    if known is not None:
        raise _refused(known.name, _by_hand(known))
    nearest = nearest_names(name)
    guess = text("agents.did_you_mean", names=", ".join(nearest)) if nearest else ""
    raise _refused(name, guess)


def _refused(name: str, how: str) -> ExecutorError:
    """With the names of those that can be: ours first, then as many as are in the catalogue."""
    ours = ", ".join(PACKAGES)
    others = sum(agent.is_installable for agent in known_agents())
    return ExecutorError("agent_not_installable", agent=name, how=how, known=ours, others=others)


def _by_hand(known: KnownAgent) -> str:
    """Where its makers offer it, and how to tell that it is what they published."""
    offered = known.install.binary
    if offered is None:
        return ""
    words = text("agents.by_hand", page=offered.page, program=known.command[0])
    system = {"win32": "windows"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    file = offered.files.get(f"{system}-{_MACHINES.get(machine, machine)}")
    if file is None:
        return words
    name, digest = file
    return words + text("agents.archive", file=name, version=offered.version, sha256=digest)
