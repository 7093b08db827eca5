"""Turns a request's workspace into a real folder, or says why it may not be used."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import assert_never

from executor_core.errors import ExecutorError
from executor_core.model import Folder, GitClone, TaskFolder, Workspace

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
STATE_FOLDER = ".wegent"
"""Our own files inside a task's folder, such as its private agent home."""


class Workspaces:
    """Folders below `root` belong to tasks; folders of the user must lie in a trusted root."""

    def __init__(self, root: Path, trusted: Iterable[Path]) -> None:
        self._root = root
        self._trusted = (root, *trusted)

    def directory_key(self, workspace: Workspace) -> str:
        """Equal for two requests that would work in the same folder."""
        match workspace:
            case TaskFolder(name=name):
                return str(self._root / name)
            case Folder(path=path):
                return str(self._absolute(path))
            case GitClone(task_folder=name):
                return str(self._root / name)
            case _:
                assert_never(workspace)

    def _absolute(self, path: str) -> Path:
        """`~` is the user's home; a relative path lies below the workspace root."""
        return (self._root / Path(path).expanduser()).resolve()

    async def prepare(self, workspace: Workspace) -> Path:
        """The folder to work in. Raises ExecutorError with the reason and the fix."""
        match workspace:
            case TaskFolder(name=name):
                return await asyncio.to_thread(self._task_folder, name)
            case Folder():
                return await asyncio.to_thread(self._folder, workspace)
            case GitClone():
                raise ExecutorError("git_not_supported")
            case _:
                assert_never(workspace)

    def private_home(self, task_folder: str, agent: str) -> Path:
        """Where `agent` keeps its state for a task that brings its own model access."""
        home = self._task_folder(task_folder) / STATE_FOLDER / agent
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return home

    def _task_folder(self, name: str) -> Path:
        if not _SAFE_NAME.fullmatch(name):
            raise ExecutorError("folder_name_refused", name=name)
        folder = self._root / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ExecutorError("folder_failed", path=folder, reason=error.strerror) from error
        if folder.resolve() != self._root.resolve() / name:
            # A link that an agent left behind must not lead the next run out of the workspace.
            raise ExecutorError("folder_is_link", path=folder)
        return folder

    def _folder(self, wanted: Folder) -> Path:
        folder = self._absolute(wanted.path)
        if not folder.is_dir():
            raise ExecutorError("folder_missing", path=folder)
        if not wanted.is_owners_choice and not any(
            folder.is_relative_to(root.resolve()) for root in self._trusted
        ):
            roots = ", ".join(str(root) for root in self._trusted)
            raise ExecutorError("folder_not_trusted", path=folder, roots=roots)
        return folder
