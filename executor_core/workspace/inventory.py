"""Lists what tasks have left below the workspace root, and deletes what can be had again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from msgspec import Struct, field

from executor_core.errors import ExecutorError
from executor_core.workspace.clone import STAGING
from executor_core.workspace.files import NotUnderstood, read_plain, remove_tree
from executor_core.workspace.git import Git, GitAnswer, GitHost
from executor_core.workspace.workspaces import PROJECTS, STATE_FOLDER

# --- what a repository holds that is nowhere else -----------------------------------------------

LIMIT_S = 60.0
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


# --- workspaces ---------------------------------------------------------------------------------

MAX_ENTRIES = 1_000_000
"""Past so many files and folders a workspace is not looked at further: its size is then a lower
bound and its state unknown."""
MAX_REPOSITORIES = 20
REMOVING = ".removing-"
"""What a workspace is called while it is being deleted."""


FoldersInUse = Callable[[], Awaitable[tuple[str, ...]]]


class WorkspaceInfo(Struct, kw_only=True, frozen=True):
    """One task's folder. `used_at` is when something in it last changed."""

    name: str
    path: str
    size_bytes: int
    used_at: datetime
    state: WorkState
    repositories: tuple[str, ...] = ()
    """Where in it the repositories lie, relative to `path`."""
    is_in_use: bool = False
    """A run works in it, or will."""


class KeptBecause(StrEnum):
    """Why a workspace was not deleted. The first four are the states of the same name."""

    NO_REPOSITORY = "no_repository"
    UNPUSHED = "unpushed"
    UNCOMMITTED = "uncommitted"
    UNKNOWN = "unknown"
    IN_USE = "in_use"
    RECENT = "recent"
    MISSING = "missing"
    """There is no workspace of that name."""
    FAILED = "failed"


class Kept(Struct, frozen=True):
    """A workspace that stays. `detail` is the system's reason where deleting failed."""

    name: str
    reason: KeptBecause
    detail: str = ""


class CleanReport(Struct, kw_only=True, frozen=True):
    """What a clean-up did."""

    removed: list[WorkspaceInfo] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    @property
    def freed_bytes(self) -> int:
        """How much was deleted."""
        return sum(info.size_bytes for info in self.removed)


class Inventory:
    """The folders of tasks below one root.

    Where runs work only the caller knows: `in_use` is asked for these folders in the moment before
    one would go. When it raises, nothing more is deleted.
    """

    def __init__(self, root: Path, host: GitHost) -> None:
        self._root = root
        self._git = Git(host)
        self._clock = host.clock

    async def list_workspaces(self) -> tuple[WorkspaceInfo, ...]:
        """Every task's folder, by name. Raises ExecutorError `git_missing`, and `folder_failed` for
        a root that cannot be read.
        """
        names = await asyncio.to_thread(_folders, self._root)
        found = [await self._inspected(name) for name in names]
        return tuple(info for info in found if info is not None)

    async def remove(self, names: Iterable[str], *, in_use: FoldersInUse) -> CleanReport:
        """Delete these workspaces whatever is in them, unless a run works there.

        Names are those of the list; nothing else can be meant.
        """
        report = CleanReport()
        known = await asyncio.to_thread(_folders, self._root)
        for name in dict.fromkeys(names):
            if name in known and (info := await self._inspected(name)) is not None:
                await self._delete(info, in_use, report)
            else:
                report.kept.append(Kept(name, KeptBecause.MISSING))
        return report

    async def clean(self, *, unused_for_s: float, in_use: FoldersInUse) -> CleanReport:
        """Delete what nobody used for so long and can be had again: all is pushed, or nothing is
        in it. Deletions that were interrupted are finished.
        """
        await asyncio.to_thread(_finish_deletions, self._root)
        report = CleanReport()
        # One after the other: among many, what is known of the last would be minutes old.
        for name in await asyncio.to_thread(_folders, self._root):
            if (info := await self._inspected(name)) is None:
                continue
            reason = _objection(info, self._clock.now(), unused_for_s)
            if reason is None and await self._is_touched(info):
                reason = KeptBecause.RECENT
            if reason is None:
                await self._delete(info, in_use, report)
            else:
                report.kept.append(Kept(name, reason))
        return report

    def forecast(self, found: Iterable[WorkspaceInfo], unused_for_s: float) -> CleanReport:
        """What `clean` does with workspaces that are as they were `found`."""
        report, now = CleanReport(), self._clock.now()
        for info in found:
            if (reason := _objection(info, now, unused_for_s)) is None:
                report.removed.append(info)
            else:
                report.kept.append(Kept(info.name, reason))
        return report

    async def _delete(self, info: WorkspaceInfo, in_use: FoldersInUse, report: CleanReport) -> None:
        if overlaps(info.path, await in_use()):
            report.kept.append(Kept(info.name, KeptBecause.IN_USE))
            return
        doomed = self._root / f"{REMOVING}{secrets.token_hex(8)}"
        try:
            # Without a pause after the question: from here on a run makes itself a new folder.
            (self._root / info.name).rename(doomed)
            await asyncio.to_thread(remove_tree, doomed)
        except OSError as error:
            reason = error.strerror or str(error)
            report.kept.append(Kept(info.name, KeptBecause.FAILED, reason))
        else:
            report.removed.append(info)

    async def _inspected(self, name: str) -> WorkspaceInfo | None:
        """None for one that has disappeared meanwhile."""
        folder = self._root / name
        if (found := await asyncio.to_thread(_scan, folder)) is None:
            return None
        repositories = found.repositories[:MAX_REPOSITORIES]
        states = [await repository_state(self._git, repository) for repository in repositories]
        return WorkspaceInfo(
            name=name,
            path=str(folder),
            size_bytes=found.size_bytes,
            used_at=self._moment(found),
            state=max([_state_of(found), *states], key=list(WorkState).index),
            repositories=tuple(
                # An agent may name a folder in bytes that are no text.
                os.fsencode(place.relative_to(folder)).decode(errors="replace")
                for place in found.repositories
            ),
        )

    async def _is_touched(self, info: WorkspaceInfo) -> bool:
        """Whether a run has come and gone while git was looking."""
        found = await asyncio.to_thread(_scan, self._root / info.name)
        seen = (info.size_bytes, info.used_at)
        return found is None or (found.size_bytes, self._moment(found)) != seen

    def _moment(self, found: _Found) -> datetime:
        """Files carry whatever time they were given, also one that no calendar has."""
        now = self._clock.now().timestamp()
        return datetime.fromtimestamp(min(max(found.changed_at, 0.0), now), UTC)


def _objection(info: WorkspaceInfo, now: datetime, unused_for_s: float) -> KeptBecause | None:
    """Why a clean-up leaves this workspace alone; None if it may go."""
    if info.is_in_use:
        return KeptBecause.IN_USE
    if not info.state.is_expendable:
        return KeptBecause(info.state)
    is_recent = (now - info.used_at).total_seconds() < unused_for_s
    return KeptBecause.RECENT if is_recent else None


def overlaps(folder: str, others: Iterable[str]) -> bool:
    """True if one of the folders is `folder`, lies in it, or holds it. Links count as their end."""
    place = Path(folder).resolve()
    return any(
        place.is_relative_to(other) or other.is_relative_to(place)
        for other in (Path(name).resolve() for name in others)
    )


class _Found(Struct):
    """What a walk through a workspace came to."""

    size_bytes: int = 0
    changed_at: float = 0.0
    entries: int = 0
    repositories: list[Path] = field(default_factory=list)
    has_loose_files: bool = False
    is_incomplete: bool = False


def _state_of(found: _Found) -> WorkState:
    """As far as it can be told without git."""
    if found.is_incomplete or len(found.repositories) > MAX_REPOSITORIES:
        return WorkState.UNKNOWN
    if found.has_loose_files:
        return WorkState.NO_REPOSITORY
    return WorkState.CLEAN if found.repositories else WorkState.EMPTY


def _scan(folder: Path) -> _Found | None:
    """Walk through `folder`, following no link. What disappears meanwhile is not counted.

    None for one that is itself gone.
    """
    try:
        found = _Found(changed_at=folder.lstat().st_mtime)
    except FileNotFoundError:
        return None
    except OSError:
        return _Found(is_incomplete=True)
    waiting = [(folder, False)]
    while waiting:
        place, is_kept = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:
            found.is_incomplete = True
            continue
        if any(entry.name == ".git" for entry in entries):
            found.repositories.append(place)
            is_kept = True
        for entry in entries:
            is_ours = place == folder and entry.name.startswith((STATE_FOLDER, STAGING))
            _count(entry, is_kept or is_ours, found, waiting)
        if found.entries > MAX_ENTRIES:
            found.is_incomplete = True
            break
    return found


def _count(
    entry: os.DirEntry[str], is_kept: bool, found: _Found, waiting: list[tuple[Path, bool]]
) -> None:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return
    found.entries += 1
    found.size_bytes += status.st_size
    found.changed_at = max(found.changed_at, status.st_mtime)
    if entry.is_dir(follow_symlinks=False):
        waiting.append((Path(entry.path), is_kept))
    elif not is_kept:
        found.has_loose_files = True


def _folders(root: Path) -> list[str]:
    """The names of the workspaces: folders themselves, no files, no links, nothing hidden, and
    nothing that cannot be shown; ours are plain.
    """
    try:
        entries = list(os.scandir(root))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ExecutorError("folder_failed", path=root, reason=error.strerror) from error
    names = sorted(
        entry.name
        for entry in entries
        if entry.is_dir(follow_symlinks=False)
        and not entry.name.startswith(".")
        and entry.name.isprintable()
    )
    if PROJECTS not in names or root.name == PROJECTS:
        return names
    names.remove(PROJECTS)
    return [*names, *(f"{PROJECTS}/{name}" for name in _folders(root / PROJECTS))]


def _finish_deletions(root: Path) -> None:
    for left in root.glob(f"{REMOVING}*"):
        # One that still cannot be deleted was reported when it was tried first.
        with contextlib.suppress(OSError):
            remove_tree(left)
