"""Puts a task's repository into the task's folder, once; a follow-up finds it as it was left.

Submodules and files of git-lfs do not come with a clone. They are fetched with the login of the
task where they lie on the same server; what cannot be had is named in a notice, and the task goes
on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.model import GitAuthor, GitClone, GitCredential, Notice
from executor_core.texts import text
from executor_core.workspace.files import Files, listed, remove_tree
from executor_core.workspace.git import MAX_TRACKED, Git, GitAnswer, GitHost
from executor_core.workspace.remote import (
    Login,
    Remote,
    check_branch,
    clone_failure,
    decrypt_git_token,
    folder_name,
    is_home_of,
    login_settings,
    login_trouble,
    parse_remote,
    transports,
)

_log = logging.getLogger("executor.workspace")

CLONE_LIMIT_S = 3600.0
TOLD_EVERY_PERCENT = 10
TOLD_EVERY_S = 2.0
STAGING = ".clone-"
"""What a half-made clone is called; it is renamed when it is whole."""

_PERCENT = re.compile(r"Receiving objects:\s+(\d+)%")
_TOLD = ".told"

_FATAL = ("git_stopped", "git_time_limit", "git_missing")
"""After these nothing else is tried; whatever else is missed, the task goes on without it."""

Emit = Callable[[Notice], None]


class GitAccess(Struct, kw_only=True, frozen=True):
    """How tokens are handled here. `token_key` and `token_iv` decrypt what servers encrypted.

    `allow_plain_http` lets a token cross a network unencrypted. `register_secret` and `redact` keep
    it out of everything that is written.
    """

    token_key: str
    token_iv: str
    allow_plain_http: bool
    register_secret: Callable[[str], None]
    redact: Callable[[str], str]


class Cloner:
    """Clones for tasks."""

    def __init__(self, host: GitHost, access: GitAccess) -> None:
        self._git = Git(host)
        self._clock = host.clock
        self._access = access

    async def prepare(
        self,
        wanted: GitClone,
        task_folder: Path,
        target: Path | None = None,
        *,
        run_id: str,
        trusted: Iterable[Path],
        emit: Emit = lambda _: None,
        stop: asyncio.Event | None = None,
    ) -> Path:
        """The folder of the repository in `task_folder`, cloned if it is not there yet: `target`,
        or one of the repository's name.

        One that is there stays as it is: no fetch, no switch, no reset. Repositories of this
        computer must lie in a `trusted` folder. Raises ExecutorError `git_…` with the reason;
        then, and when `stop` is set or the caller is cancelled, nothing of the clone is left.
        """
        remote = parse_remote(wanted.url)
        name = folder_name(wanted.repo_name or remote.path)
        target = target or task_folder / name
        if await asyncio.to_thread(_is_there, target):
            return target
        if wanted.branch:
            check_branch(wanted.branch)
        roots = tuple(trusted)
        _check_trust(remote, roots)
        login = await asyncio.to_thread(self._login, wanted.credential, remote)
        staging = await asyncio.to_thread(_make_staging, task_folder)
        try:
            emit(Notice(code="git_cloning", text=text("notice.git_cloning", name=target.name)))
            progress = _Progress(target.name, emit, self._clock)
            git = _CloneGit(
                git=self._git,
                access=self._access,
                staging=staging,
                wanted=wanted,
                login=login,
                run_id=run_id,
                trusted=roots,
                stop=stop,
                on_progress=progress.read,
            )
            await git.fetch(_arguments(wanted, remote, target.name), staging, remote)
            made = staging / target.name
            await fetch_submodules(git, made, emit)
            await fetch_lfs(git, made, remote, emit)
            await asyncio.to_thread(_put_in_place, made, target)
        finally:
            await asyncio.to_thread(_discard, staging)
        return target

    def _login(self, credential: GitCredential | None, remote: Remote) -> Login | None:
        """What to log in with at `remote`, if the task brought it for that server."""
        access, login = self._access, None
        if credential is not None and is_home_of(credential.host, remote):
            token = decrypt_git_token(credential.token, key=access.token_key, iv=access.token_iv)
            login = token and Login(
                remote.origin, credential.login or remote.login or "token", token
            )
        elif remote.is_http and remote.password:
            login = Login(remote.origin, remote.login or "token", remote.password)
        if not login:
            return None
        if remote.scheme == "http" and not remote.is_loopback and not access.allow_plain_http:
            raise ExecutorError("git_plain_http", host=remote.shown_host)
        if not (login.name + login.token).isprintable():
            raise ExecutorError(
                "git_login_refused", host=remote.shown_host, repository=remote.path.strip("/")
            )
        access.register_secret(login.token)
        return login


class _CloneGit(Struct, kw_only=True):
    """Git for one clone: which server hears which login, and what its failures mean."""

    git: Git
    access: GitAccess
    staging: Path
    wanted: GitClone
    login: Login | None
    run_id: str
    trusted: tuple[Path, ...]
    stop: asyncio.Event | None
    on_progress: Callable[[str], None]

    async def fetch(self, arguments: Iterable[str], cwd: Path, remote: Remote) -> None:
        """Raises ExecutorError `git_…`."""
        told = self.staging / _TOLD
        settings, variables = login_settings(self.login, told)
        variables |= await self._as_in_the_terminal(remote)
        answer = await self._run(
            list(arguments), cwd, settings=settings, asks_helpers=True, variables=variables
        )
        trouble = await asyncio.to_thread(login_trouble, told)
        await asyncio.to_thread(told.unlink, missing_ok=True)
        if answer.exit_code == 0:
            return
        words = self.access.redact(answer.stderr).replace(str(self.staging), "…")
        failure = clone_failure(words, remote, self.wanted.branch, trouble)
        given = self.wanted.credential
        if failure.code == "git_login_missing" and given and not is_home_of(given.host, remote):
            raise ExecutorError("git_login_elsewhere", host=remote.shown_host, home=given.host)
        raise failure

    async def _as_in_the_terminal(self, remote: Remote) -> dict[str, str]:
        """The way to a server that the user's own settings name."""
        rewritten = await self._run(["ls-remote", "--get-url", "--", remote.url], self.staging)
        url = rewritten.lines[0].decode(errors="replace") if rewritten.lines else remote.url
        variables = {"GIT_ALLOW_PROTOCOL": transports(remote, url)}
        own = await self._run(["config", "--get", "core.sshCommand"], self.staging)
        if own.exit_code == 0 and own.lines:
            variables["GIT_SSH_COMMAND"] = os.fsdecode(own.lines[0])
        return variables

    async def local(self, *arguments: str, cwd: Path) -> list[str]:
        """The NUL-separated answer; empty if git fails."""
        answer = await self._run(
            list(arguments), cwd, variables={"GIT_ALLOW_PROTOCOL": "none"}, max_lines=MAX_TRACKED
        )
        if answer.exit_code != 0:
            return []
        parts = os.fsdecode(b"\n".join(answer.lines)).split("\0")
        return [part for part in parts if part]

    async def _run(self, arguments: Sequence[str], cwd: Path, **more: Any) -> GitAnswer:
        # Above the staging folder, an earlier agent may have left a .git with settings.
        ceiling = {"GIT_CEILING_DIRECTORIES": str(self.staging.parent)}
        more["variables"] = ceiling | more.get("variables", {})
        return await self.git.run(
            arguments,
            cwd=cwd,
            run_id=self.run_id,
            limit_s=CLONE_LIMIT_S,
            on_progress=self.on_progress,
            stop=self.stop,
            **more,
        )


def _check_trust(remote: Remote, trusted: Iterable[Path]) -> None:
    if remote.scheme == "file" and not any(
        Path(remote.path).is_relative_to(root.resolve()) for root in trusted
    ):
        raise ExecutorError("git_not_trusted", path=remote.path)


def _arguments(wanted: GitClone, remote: Remote, name: str) -> list[str]:
    arguments = ["clone", "--progress", "--template=", "--no-recurse-submodules", "--no-local"]
    if wanted.branch:
        arguments += [f"--branch={wanted.branch}", "--single-branch"]
    if wanted.author is not None:
        for key, value in _author(wanted.author):
            arguments.append(f"--config=user.{key}={value}")
    return [*arguments, "--", remote.url, name]


def _author(author: GitAuthor) -> list[tuple[str, str]]:
    """Without what git would cut out of a name anyway, or could not keep on one line."""
    pairs = (("name", author.name), ("email", author.email))
    kept = ((key, re.sub(r"[<>\x00-\x1f\x7f]", "", value).strip()) for key, value in pairs)
    return [(key, value) for key, value in kept if value]


class _Progress:
    """Tells the chat how far a clone is: every ten percent, at most every two seconds."""

    def __init__(self, name: str, emit: Emit, clock: Clock) -> None:
        self._name = name
        self._emit = emit
        self._clock = clock
        self._told = 0
        self._told_at = clock.monotonic()

    def read(self, stderr: str) -> None:
        """Notice what git has said so far."""
        if not (found := _PERCENT.findall(stderr)):
            return
        percent, now = int(found[-1]), self._clock.monotonic()
        if percent < self._told + TOLD_EVERY_PERCENT or now < self._told_at + TOLD_EVERY_S:
            return
        self._told, self._told_at = percent, now
        words = text("notice.git_progress", name=self._name, percent=percent)
        self._emit(Notice(code="git_progress", text=words))


# --- on disk ---------------------------------------------------------------------------------


def _is_there(target: Path) -> bool:
    """True for a repository, False for nothing; anything else is not ours to replace."""
    if target.is_symlink():
        raise ExecutorError("folder_is_link", path=target)
    try:
        names = {entry.name for entry in os.scandir(target)}
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ExecutorError("git_folder_taken", path=target) from error
    if ".git" in names:
        return True
    if names:
        raise ExecutorError("git_folder_taken", path=target)
    return False


def _make_staging(task_folder: Path) -> Path:
    """An empty folder of a name nobody can have prepared; those of crashed clones go."""
    for left in task_folder.glob(STAGING + "[0-9a-f]" * 16):
        _discard(left)
    staging = task_folder.resolve() / f"{STAGING}{secrets.token_hex(8)}"
    try:
        staging.mkdir(mode=0o700)
    except OSError as error:
        raise ExecutorError("folder_failed", path=staging, reason=error.strerror) from error
    return staging


def _put_in_place(made: Path, target: Path) -> None:
    try:
        with contextlib.suppress(FileNotFoundError):
            target.rmdir()  # empty, as was seen; Windows does not rename onto it
        made.rename(target)
    except OSError as error:
        raise ExecutorError("folder_failed", path=target, reason=error.strerror) from error


def _discard(folder: Path) -> None:
    try:
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            remove_tree(folder)
    except OSError as error:
        _log.warning("a half-made clone could not be deleted: %s", error)


# --- submodules and git-lfs -----------------------------------------------------------------------

MAX_DEPTH = 5
MAX_SUBMODULES = 100
_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_POINTER = 1024


async def fetch_submodules(git: _CloneGit, folder: Path, emit: Emit) -> None:
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
                if error.code in _FATAL:
                    raise
                _miss(emit, shown, f"{error.message.title}. {error.message.detail}")
            else:
                waiting.append((inner, depth + 1))


def _miss(emit: Emit, path: str, reason: str) -> None:
    words = text("notice.submodule_missing", path=path, reason=reason)
    emit(Notice(code="submodule_missing", text=words))


async def _submodules(git: _CloneGit, place: Path) -> list[tuple[str, str]]:
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


async def _fetch_one(git: _CloneGit, place: Path, name: str, path: str) -> None:
    await git.local("submodule", "init", "--", path, cwd=place)
    # Git has made an absolute address of one that is relative to the repository's.
    address = await git.local("config", "--null", "--get", f"submodule.{name}.url", cwd=place)
    remote = parse_remote(address[0] if address else "")
    _check_trust(remote, git.trusted)
    await git.fetch(("submodule", "update", "--checkout", "--", path), place, remote)


async def fetch_lfs(git: _CloneGit, folder: Path, remote: Remote, emit: Emit) -> None:
    """The files that git-lfs keeps, where it is there; a notice names those that are missing."""
    if not (pointers := await _pointers(git, folder)):
        return
    reason = text("lfs.not_installed")
    if await git.local("lfs", "version", cwd=folder):
        try:
            await git.fetch(("lfs", "pull"), folder, remote)
            reason = text("lfs.not_delivered")
        except ExecutorError as error:
            if error.code in _FATAL:
                raise
            reason = f"{error.message.title}. {error.message.detail}"
        pointers = await _pointers(git, folder)
    if pointers:
        names = listed(pointers)
        words = text("notice.lfs_missing", count=len(pointers), names=names, reason=reason)
        emit(Notice(code="lfs_missing", text=words))


async def _pointers(git: _CloneGit, folder: Path) -> list[str]:
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
