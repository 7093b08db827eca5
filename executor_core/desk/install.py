"""Installs agents into the user's own space, as `control.desk.InstallDesk` says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from executor_core.agents.install import PACKAGES, Installer, Package
from executor_core.control.desk import Installed, InstallPlan
from executor_core.errors import ExecutorError


class InstallRoom:
    """Implements InstallDesk, one installation at a time.

    `find` looks for what installs; what a plan showed is what is then done.
    """

    def __init__(self, find: Callable[[], Awaitable[Installer]]) -> None:
        self._find = find
        self._installer: Installer | None = None
        self._alone = asyncio.Lock()

    def installable(self) -> tuple[str, ...]:
        return tuple(PACKAGES)

    async def plan(self, name: str) -> InstallPlan:
        package = _package(name)
        self._installer = await self._find()
        return InstallPlan(
            name=name,
            title=package.title,
            folder=str(self._installer.prefix.folder),
            command=self._installer.command(package),
        )

    async def install(self, name: str, say: Callable[[str], None]) -> Installed:
        package = _package(name)
        async with self._alone:
            installer = self._installer or await self._find()
            version, used = await installer.install(package, say)
        path = installer.prefix.program(package)
        return Installed(
            name=name,
            version=version,
            path=str(path),
            shadowed_by=None if used == path else str(used),
        )


def _package(name: str) -> Package:
    if name not in PACKAGES:
        known = ", ".join(PACKAGES)
        raise ExecutorError("agent_not_installable", agent=name, known=known)
    return PACKAGES[name]
