"""Turns a request's workspace into a real folder, or says why it may not be used."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import assert_never

from executor_core.errors import ExecutorError
from executor_core.model import (
    Folder,
    GitClone,
    Notice,
    RunRequest,
    TaskFolder,
    Workspace,
    new_run_id,
)
from executor_core.unicode import UNKNOWN
from executor_core.workspace.changes import Recorder
from executor_core.workspace.clone import Cloner
from executor_core.workspace.skills import PROJECT_FOLDERS, SkillPlace
from executor_core.workspace.task_files import FileFetcher, Places, Site

_SAFE_NAME = re.compile(r"(projects/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
PROJECTS = "projects"
"""Holds the folders that belong to all tasks of a project."""
STATE_FOLDER = ".wegent"
"""Our own files inside a task's folder, such as its private agent home."""


class Workspaces:
    """Folders below `root` belong to tasks; folders of the user must lie in a trusted root.

    Without a `cloner` there is no git here, and tasks with a repository are refused. Without a
    `fetcher` attachments and skills stay where they are.
    """

    def __init__(
        self,
        root: Path,
        trusted: Iterable[Path],
        cloner: Cloner | None = None,
        fetcher: FileFetcher | None = None,
        recorder: Recorder | None = None,
        is_trusted: Callable[[Path], bool] = lambda _: False,
    ) -> None:
        self._root = root
        self._trusted = (root, *trusted)
        self._cloner = cloner
        self._fetcher = fetcher
        self.recorder = recorder
        """Records what runs change; None where nothing is recorded."""
        self.is_trusted = is_trusted
        """Whether what a folder configures in an agent counts. Blocks."""

    def directory_key(self, workspace: Workspace) -> str:
        """Equal for two requests that would work in the same folder."""
        match workspace:
            case GitClone(place=path) if path:
                return str(self._absolute(path) or path)
            case TaskFolder(name=path) | GitClone(task_folder=path) | Folder(path=path):
                return str(self._absolute(path) or path)
            case _:
                assert_never(workspace)

    def _absolute(self, path: str) -> Path | None:
        """`~` is the user's home; a relative path lies below the workspace root.

        None for what cannot be a path, such as one with a NUL, a loop of links, or `~nobody`.
        """
        try:
            return (self._root / Path(path).expanduser()).resolve()
        except (OSError, RuntimeError, ValueError):
            return None

    async def prepare(
        self,
        workspace: Workspace,
        *,
        run_id: str | None = None,
        emit: Callable[[Notice], None] = lambda _: None,
        stop: asyncio.Event | None = None,
    ) -> Path:
        """The folder to work in. Raises ExecutorError with the reason and the fix.

        A clone may take long: its processes carry the mark of the run `run_id`, `emit` hears how
        far it is, and `stop` ends it with `git_stopped`.
        """
        match workspace:
            case TaskFolder(name=name):
                return await asyncio.to_thread(self._task_folder, name)
            case Folder():
                return await asyncio.to_thread(self._folder, workspace)
            case GitClone(task_folder=name):
                if self._cloner is None:
                    raise ExecutorError("git_missing")
                target = None
                if workspace.place:
                    target = await asyncio.to_thread(self._place, workspace.place)
                    folder = target.parent
                else:
                    folder = await asyncio.to_thread(self._task_folder, name)
                return await self._cloner.prepare(
                    workspace,
                    folder,
                    target,
                    run_id=run_id or new_run_id(),
                    trusted=self._trusted,
                    emit=emit,
                    stop=stop,
                )
            case _:
                assert_never(workspace)

    @asynccontextmanager
    async def with_files(
        self,
        request: RunRequest,
        site: Site,
        *,
        is_follow_up: bool,
        emit: Callable[[Notice], None],
        stop: asyncio.Event,
    ) -> AsyncIterator[RunRequest]:
        """What the task brings is there inside the block, which gets the request that says where.

        Raises ExecutorError where our own folders cannot be made.
        """
        if self._fetcher is None or not request.task_files.server:
            yield request
            return
        places = await asyncio.to_thread(self._places, request, site)
        async with self._fetcher.fetched(
            request, places, is_follow_up=is_follow_up, emit=emit, stop=stop
        ) as told:
            yield told

    def _places(self, request: RunRequest, site: Site) -> Places:
        ours = self._root / site.task_folder / STATE_FOLDER
        attachments = ours / "attachments" / str(request.subtask_id or request.run_id)
        if request.task_files.attachments:
            self._own_folder(attachments)
        if site.private_home is not None and site.agent in PROJECT_FOLDERS:
            skills = SkillPlace(site.private_home, ("skills",), is_known_to_agent=True)
        elif site.agent in PROJECT_FOLDERS:
            parts = PROJECT_FOLDERS[site.agent]
            skills = SkillPlace(site.folder, parts, is_known_to_agent=True)
        else:
            own = self._own_folder(ours) if request.task_files.skills else ours
            skills = SkillPlace(own, ("skills",), is_known_to_agent=False)
        return Places(scratch=site.scratch, attachments=attachments, skills=skills)

    def private_home(self, task_folder: str, agent: str) -> Path:
        """Where `agent` keeps its state for a task that brings its own model access."""
        return self._own_folder(self._task_folder(task_folder) / STATE_FOLDER / agent)

    def _task_folder(self, name: str) -> Path:
        if not _SAFE_NAME.fullmatch(name):
            raise ExecutorError("folder_name_refused", name=name)
        return self._own_folder(self._root / name)

    def _own_folder(self, folder: Path) -> Path:
        try:
            # Since Python 3.13 a loop of links resolves to itself.
            is_link = folder.is_symlink()
            if is_link or folder.resolve() != self._root.resolve() / folder.relative_to(self._root):
                # A link that an agent left behind must not lead the next run out of the workspace.
                raise ExecutorError("folder_is_link", path=folder)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except RuntimeError as error:  # a loop of links, before Python 3.13
            raise ExecutorError("folder_is_link", path=folder) from error
        except OSError as error:
            raise ExecutorError("folder_failed", path=folder, reason=error.strerror) from error
        return folder

    def _folder(self, wanted: Folder) -> Path:
        folder = self._absolute(wanted.path)
        if folder is None or not os.path.isdir(folder):  # also where no name is so long
            # A name that is no text came here as one that is not on the disk.
            code = "folder_not_text" if UNKNOWN in wanted.path else "folder_missing"
            raise ExecutorError(code, path=folder or repr(wanted.path))
        if not wanted.is_owners_choice:
            self._check_trusted(folder)
        return folder

    def _place(self, path: str) -> Path:
        """Where a repository is, or is to be cloned to; the folder around it is there then."""
        place = self._absolute(path)
        if place is None or not place.name:
            raise ExecutorError("folder_missing", path=place or repr(path))
        self._check_trusted(place)
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror
            raise ExecutorError("folder_failed", path=place.parent, reason=reason) from error
        return place

    def _check_trusted(self, folder: Path) -> None:
        if not any(folder.is_relative_to(root.resolve()) for root in self._trusted):
            roots = ", ".join(str(root) for root in self._trusted)
            raise ExecutorError("folder_not_trusted", path=folder, roots=roots)
