"""Tells whether a repository holds work that is nowhere else, without believing its settings.

An agent may have written anything into `.git/config`, and much of it names programs that git then
starts. So git never sees it: it is run on a small repository of our own that borrows objects, index
and references. What is not understood counts as work.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from executor_core.errors import ExecutorError
from executor_core.workspace.git import Git, GitAnswer

LIMIT_S = 60.0
MAX_FILE = 64 * 2**20
MAX_REFS = 100_000

_UNFINISHED = (
    "BISECT_LOG",
    "CHERRY_PICK_HEAD",
    "MERGE_HEAD",
    "REVERT_HEAD",
    "rebase-apply",
    "rebase-merge",
)
_BORROWED = ("HEAD", "packed-refs", "shallow", "info/exclude")


class WorkState(StrEnum):
    """What would be lost with a folder, from nothing to who knows."""

    EMPTY = "empty"
    CLEAN = "clean"
    """All is committed and pushed."""
    NO_REPOSITORY = "no_repository"
    """Files that no repository keeps."""
    UNPUSHED = "unpushed"
    UNCOMMITTED = "uncommitted"
    UNKNOWN = "unknown"

    @property
    def is_expendable(self) -> bool:
        """True if everything in it can be had again."""
        return self in (WorkState.EMPTY, WorkState.CLEAN)


class NotUnderstood(Exception):
    """Something is not as git makes it, or more than we look at."""


async def repository_state(git: Git, folder: Path) -> WorkState:
    """The state of the repository whose `.git` lies in `folder`. Raises ExecutorError `git_missing`
    only; whatever else goes wrong makes it UNKNOWN.
    """
    mirror = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="wegent-git-"))
    try:
        if await asyncio.to_thread(_borrow, folder / ".git", mirror):
            return WorkState.UNCOMMITTED
        return await _ask(git, folder, mirror)
    except (NotUnderstood, OSError, UnicodeDecodeError):
        return WorkState.UNKNOWN
    except ExecutorError as error:
        if error.code == "git_missing":
            raise
        return WorkState.UNKNOWN
    finally:
        await asyncio.to_thread(shutil.rmtree, mirror, ignore_errors=True)


async def _ask(git: Git, folder: Path, mirror: Path) -> WorkState:
    async def says(*arguments: str, hidden_only: bool = False) -> bool:
        answer = await git.run(
            arguments,
            cwd=folder,
            run_id=mirror.name,  # a name of its own: with it everything of that name is ended
            limit_s=LIMIT_S,
            variables={
                "GIT_ALLOW_PROTOCOL": "none",
                "GIT_DIR": str(mirror),
                "GIT_INDEX_FILE": str(folder / ".git" / "index"),
                "GIT_OBJECT_DIRECTORY": str(folder / ".git" / "objects"),
                "GIT_WORK_TREE": str(folder),
            },
            is_wanted=_is_hidden if hidden_only else lambda _: True,
        )
        return _has_output(answer)

    # Submodules have settings of their own; whoever asked found them as folders with a .git.
    if await says("status", "--porcelain", "--ignore-submodules=all", "--no-renames"):
        return WorkState.UNCOMMITTED
    if await says("ls-files", "-v", hidden_only=True):
        return WorkState.UNCOMMITTED
    # All that is ours, stashes and a detached HEAD as well, but not what was fetched.
    ours = ["--exclude=refs/remotes/*", "--exclude=refs/tags/*", "--all"]
    if not (mirror / "HEAD").read_bytes().startswith(b"ref:"):
        ours.append("HEAD")
    if await says("rev-list", "--max-count=1", *ours, "--not", "--remotes"):
        return WorkState.UNPUSHED
    return WorkState.CLEAN


def _has_output(answer: GitAnswer) -> bool:
    if answer.exit_code != 0:
        raise NotUnderstood
    return bool(answer.lines)


def _is_hidden(line: bytes) -> bool:
    """Files whose changes the index was told not to see: `assume-unchanged`, `skip-worktree`."""
    return line[:1].islower() or line[:1] == b"S"


def _borrow(git_dir: Path, mirror: Path) -> bool:
    """Make `mirror` a repository with the references of `git_dir`. True if something is unfinished.

    Raises NotUnderstood for linked worktrees, links and other oddities.
    """
    if not stat.S_ISDIR(git_dir.lstat().st_mode) or (git_dir / "commondir").exists():
        raise NotUnderstood
    if any((git_dir / "worktrees").glob("*")):
        raise NotUnderstood
    if any(os.path.lexists(git_dir / name) for name in _UNFINISHED):
        return True
    keeps_modes = "false" if os.name == "nt" else "true"
    (mirror / "config").write_text(
        f"[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tfilemode = {keeps_modes}\n"
    )
    (mirror / "objects").mkdir()
    (mirror / "refs").mkdir()
    for name in (*_BORROWED, *_references(git_dir)):
        if os.path.lexists(git_dir / name):
            (mirror / name).parent.mkdir(parents=True, exist_ok=True)
            (mirror / name).write_bytes(read_plain(git_dir / name))
    return False


def _references(git_dir: Path) -> Iterator[str]:
    count = 0
    for place, folders, files in os.walk(git_dir / "refs"):
        if any(os.path.islink(os.path.join(place, name)) for name in folders):
            raise NotUnderstood
        for name in files:
            count += 1
            if count > MAX_REFS:
                raise NotUnderstood
            yield os.path.relpath(os.path.join(place, name), git_dir)


def read_plain(path: Path, most: int = MAX_FILE) -> bytes:
    """The bytes of an ordinary file; nothing is waited for, no link is followed.

    Raises OSError, and NotUnderstood for anything else and for more than `most` bytes.
    """
    # O_NONBLOCK: opening a pipe would otherwise wait for its writer. Windows has neither.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink():
        raise NotUnderstood
    with open(os.open(path, flags | getattr(os, "O_BINARY", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotUnderstood
        data = file.read(most + 1)
    if len(data) > most:
        raise NotUnderstood
    return data
