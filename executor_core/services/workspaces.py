"""The folders that tasks left, and what runs changed in folders: listed, deleted, taken back.

Nothing is touched where a run works. A running executor is asked; while none runs, none can start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from executor_core.clock import Clock
from executor_core.config import options
from executor_core.config.home import InstanceLock
from executor_core.config.layers import Config
from executor_core.config.writing import set_option
from executor_core.control.control import checked_run_id
from executor_core.errors import ExecutorError
from executor_core.services.reach import Load, Reach, ask_running
from executor_core.workspace import (
    CleanReport,
    FoldersInUse,
    GitHost,
    Inventory,
    KeptBecause,
    Restoration,
    RunChanges,
    WorkspaceInfo,
    keep,
    overlaps,
    read_changes,
    redo,
    undo,
)
from executor_core.workspace.changes import STORE

_log = logging.getLogger("executor.workspace")

DAY_S = 24 * 3600.0
KEEP_DAYS = 30
"""Where workspaces are never cleaned up by themselves."""

FindHost = Callable[[Config], Awaitable[GitHost]]


class LocalWorkspaces:
    """Implements WorkspaceService. `find_host` says where git is."""

    def __init__(self, load: Load, reach: Reach, find_host: FindHost) -> None:
        self._load = load
        self._reach = reach
        self._find_host = find_host

    async def workspaces(self) -> tuple[WorkspaceInfo, ...]:
        _, inventory = await self._inventory()
        return await self._listed(inventory)

    async def _listed(self, inventory: Inventory) -> tuple[WorkspaceInfo, ...]:
        found = await inventory.list_workspaces()
        used = await ask_running(self._reach, lambda control: control.folders_in_use())
        if not used:
            return found
        return tuple(replace(info, is_in_use=overlaps(info.path, used)) for info in found)

    async def forecast(self, *, unused_for_s: float | None = None) -> CleanReport:
        config, inventory = await self._inventory()
        found = await self._listed(inventory)
        return inventory.forecast(found, _age(config, unused_for_s))

    async def clean(self, *, unused_for_s: float | None = None) -> CleanReport:
        config, inventory = await self._inventory()
        unused_for_s = _age(config, unused_for_s)
        async with self._asking(config) as in_use:
            return await inventory.clean(unused_for_s=unused_for_s, in_use=in_use)

    async def remove(self, names: Iterable[str]) -> CleanReport:
        config, inventory = await self._inventory()
        async with self._asking(config) as in_use:
            return await inventory.remove(names, in_use=in_use)

    async def undo(
        self, run_id: str, *, is_forced: bool = False, is_trial: bool = False
    ) -> Restoration:
        config = await asyncio.to_thread(self._load)
        async with self._alone(config, run_id) as run_folder:
            host = await self._find_host(config)
            return await undo(host, run_folder, is_forced=is_forced, is_trial=is_trial)

    async def redo(
        self, run_id: str, *, is_forced: bool = False, is_trial: bool = False
    ) -> Restoration:
        config = await asyncio.to_thread(self._load)
        async with self._alone(config, run_id) as run_folder:
            host = await self._find_host(config)
            return await redo(host, run_folder, is_forced=is_forced, is_trial=is_trial)

    async def keep(self, run_id: str, branch: str) -> RunChanges:
        config = await asyncio.to_thread(self._load)
        async with self._alone(config, run_id) as run_folder:
            await keep(await self._find_host(config), run_folder, branch)
            return await asyncio.to_thread(read_changes, run_folder)

    async def trusted(self) -> tuple[Path, ...]:
        return (await asyncio.to_thread(self._load))[options.AGENTS_TRUSTED_FOLDERS]

    async def trust(self, folder: Path) -> Path:
        place, found = folder.resolve(), await self.trusted()
        if not place.is_dir():
            raise ExecutorError("folder_missing", path=place)
        if place not in found:
            await self._put((*found, place))
        return place

    async def distrust(self, folder: Path) -> Path:
        place, found = folder.resolve(), await self.trusted()
        left = tuple(one for one in found if one.resolve() != place)
        if left == found:
            for above in (one for one in found if place.is_relative_to(one.resolve())):
                raise ExecutorError("folder_trusted_above", path=place, above=above)
            raise ExecutorError("folder_untrusted", path=place)
        await self._put(left)
        return place

    async def _put(self, folders: tuple[Path, ...]) -> None:
        config = await asyncio.to_thread(self._load)
        config.home.create()
        name, value = options.AGENTS_TRUSTED_FOLDERS.name, [str(one) for one in folders] or None
        await asyncio.to_thread(set_option, config.home, name, value)

    async def _inventory(self) -> tuple[Config, Inventory]:
        config = await asyncio.to_thread(self._load)
        return config, Inventory(config[options.WORKSPACE_ROOT], await self._find_host(config))

    @asynccontextmanager
    async def _alone(self, config: Config, run_id: str) -> AsyncIterator[Path]:
        """The folder of a run's record, if no run works where that run did as the block begins."""
        run_folder = config.home.runs / checked_run_id(run_id)
        changes = await asyncio.to_thread(read_changes, run_folder)
        if changes.unrecorded:
            raise ExecutorError("changes_unrecorded", run_id=run_id, reason=changes.unrecorded)
        if (folder := changes.folder) is None:
            raise ExecutorError("no_changes", run_id=run_id)
        if not (run_folder / STORE).is_dir():
            raise ExecutorError("changes_too_old", run_id=run_id)
        async with self._asking(config) as in_use:
            if overlaps(folder, await in_use()):
                raise ExecutorError("changes_in_use", path=folder)
            yield run_folder

    @asynccontextmanager
    async def _asking(self, config: Config) -> AsyncIterator[FoldersInUse]:
        """How to ask where runs work, inside the block.

        Raises ExecutorError("executor_unasked") where an executor runs that does not listen.
        """
        async with AsyncExitStack() as stack:
            yield await self._in_use(config, stack)

    async def _in_use(self, config: Config, stack: AsyncExitStack) -> FoldersInUse:
        try:
            control = await stack.enter_async_context(self._reach())
        except ExecutorError as error:
            if error.code != "not_running":
                raise
        else:
            return control.folders_in_use
        config.home.create()
        try:
            stack.enter_context(InstanceLock.acquire(config.home))
        except ExecutorError as error:
            if error.code != "already_running":
                raise
            raise ExecutorError("executor_unasked", pid=error.values["pid"]) from error
        return _nowhere


async def _nowhere() -> tuple[str, ...]:
    return ()


def _age(config: Config, unused_for_s: float | None) -> float:
    if unused_for_s is not None:
        return unused_for_s
    # Never to be cleaned up unasked is no wish to lose today's clone when asked.
    return (config[options.WORKSPACE_KEEP_DAYS] or KEEP_DAYS) * DAY_S


async def clean_daily(inventory: Inventory, days: int, in_use: FoldersInUse, clock: Clock) -> None:
    """Now and every day, delete what nobody used for so many days and can be had again."""
    while True:
        try:
            report = await inventory.clean(unused_for_s=days * DAY_S, in_use=in_use)
        except (ExecutorError, OSError) as error:
            _log.warning("workspaces were not cleaned up: %s", error)
        except Exception:
            _log.exception("workspaces were not cleaned up")
        else:
            _say(report, days)
        await clock.sleep(DAY_S)


def _say(report: CleanReport, days: int) -> None:
    failed = [kept.name for kept in report.kept if kept.reason is KeptBecause.FAILED]
    if report.removed or failed:
        _log.info(
            "workspaces unused for %d days: deleted %s (%d MB), could not delete %s",
            days,
            ", ".join(info.name for info in report.removed) or "none",
            report.freed_bytes // 2**20,
            ", ".join(failed) or "none",
        )
