"""What belongs to a repository and does not come with its clone: submodules and LFS files.

They are fetched with the login of the task where they lie on the same server. What cannot be had
is missed in words; the task goes on without it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from executor_core.errors import ExecutorError
from executor_core.model import Notice
from executor_core.texts import text
from executor_core.workspace.files import Files
from executor_core.workspace.git_address import Remote, parse_remote

MAX_DEPTH = 5
MAX_SUBMODULES = 100
_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_POINTER = 1024
_SHOWN = 5

Emit = Callable[[Notice], None]


class Asking(Protocol):
    """One clone's way to git."""

    async def fetch(self, arguments: Iterable[str], cwd: Path, remote: Remote) -> None:
        """Run a command that talks to the server of `remote`. Raises ExecutorError."""

    async def local(self, *arguments: str, cwd: Path) -> list[str]:
        """The NUL-separated answer of a command that talks to nobody; empty if it fails."""

    def check(self, remote: Remote) -> None:
        """Raises ExecutorError for what a task may not have from this computer."""


async def fetch_submodules(git: Asking, folder: Path, emit: Emit) -> None:
    """All of them, and theirs; one notice for each that is missing."""
    waiting, count = [(folder, 0)], 0
    while waiting:
        place, depth = waiting.pop()
        if not await asyncio.to_thread((place / ".gitmodules").is_file):
            continue
        for name, path in await _submodules(git, place):
            count += 1
            inner = place / path
            shown = inner.relative_to(folder).as_posix()
            if count > MAX_SUBMODULES or depth == MAX_DEPTH:
                _miss(emit, shown, text("submodule.too_many"))
                return
            try:
                await _fetch_one(git, place, name, path)
            except ExecutorError as error:
                if error.code in ("git_stopped", "git_time_limit", "git_missing"):
                    raise
                _miss(emit, shown, f"{error.message.title}. {error.message.detail}")
            else:
                waiting.append((inner, depth + 1))


def _miss(emit: Emit, path: str, reason: str) -> None:
    words = text("notice.submodule_missing", path=path, reason=reason)
    emit(Notice(code="submodule_missing", text=words))


async def _submodules(git: Asking, place: Path) -> list[tuple[str, str]]:
    """Names and paths of those that the commit has."""
    found = await git.local(
        *("config", "--null", "--file", ".gitmodules", "--get-regexp", r"^submodule\..*\.path$"),
        cwd=place,
    )
    # A repository may name any path: only where the commit has a submodule there is one.
    lines = await git.local("ls-files", "-z", "--stage", cwd=place)
    links = {line.partition("\t")[2] for line in lines if line.startswith("160000 ")}
    pairs = (part.partition("\n") for part in found)
    return [
        (key.removeprefix("submodule.").removesuffix(".path"), path)
        for key, _, path in pairs
        if path in links
    ]


async def _fetch_one(git: Asking, place: Path, name: str, path: str) -> None:
    await git.local("submodule", "init", "--", path, cwd=place)
    # Git has made an absolute address of one that is relative to the repository's.
    address = await git.local("config", "--null", "--get", f"submodule.{name}.url", cwd=place)
    remote = parse_remote(address[0] if address else "")
    git.check(remote)
    await git.fetch(("submodule", "update", "--checkout", "--", path), place, remote)


async def fetch_lfs(git: Asking, folder: Path, remote: Remote, emit: Emit) -> None:
    """The files that git-lfs keeps, where it is there; a notice names those that are missing."""
    if not (pointers := await _pointers(git, folder)):
        return
    reason = text("lfs.not_installed")
    if await git.local("lfs", "version", cwd=folder):
        try:
            await git.fetch(("lfs", "pull"), folder, remote)
            reason = text("lfs.not_delivered")
        except ExecutorError as error:
            if error.code in ("git_stopped", "git_time_limit", "git_missing"):
                raise
            reason = f"{error.message.title}. {error.message.detail}"
        pointers = await _pointers(git, folder)
    if pointers:
        more = [" …"] if len(pointers) > _SHOWN else []
        names = ", ".join([*pointers[:_SHOWN], *more])
        words = text("notice.lfs_missing", count=len(pointers), names=names, reason=reason)
        emit(Notice(code="lfs_missing", text=words))


async def _pointers(git: Asking, folder: Path) -> list[str]:
    names = await git.local("ls-files", "-z", "--", ":(exclude,attr:!filter)", cwd=folder)
    return await asyncio.to_thread(lambda: [name for name in names if _is_pointer(folder, name)])


def _is_pointer(folder: Path, name: str) -> bool:
    path = folder / name
    try:
        if Files(folder).is_beyond(name) or path.is_symlink() or not path.is_file():
            return False
        if os.path.getsize(path) > _MAX_POINTER:
            return False
        return path.read_bytes().startswith(_POINTER)
    except OSError:
        return False
