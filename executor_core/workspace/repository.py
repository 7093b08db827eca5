"""Where a repository lies, and a small one of our own that borrows what is in it.

An agent may have written anything into `.git/config`, and much of it names programs that git then
starts. Git therefore works in a repository of ours, which has its own settings, index, objects and
references, and reads the objects of the other. Nothing there is changed by it.

It has two faces. The plain one sees files as the repository would keep them, with its line ends:
what is shown and committed. The raw one sees the bytes on the disk: what is put back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.workspace.files import Entry, NotUnderstood, read_plain, remove_tree
from executor_core.workspace.git import Git, GitAnswer, GitHost

_MAX_LINK = 4096
_SETTINGS = re.compile(
    r"core\.(autocrlf|eol|excludesfile|filemode|ignorecase|longpaths|precomposeunicode|symlinks)"
    r"|extensions\.objectformat"
)
"""What says which bytes a file has and which files are ignored; none of it starts a program."""
_CONVERTING = ("core.autocrlf", "core.eol")
RAW = "raw"
"""The folder of the raw face in the store."""
_NO_COMMIT = "ref: refs/heads/none"
_NO_FILTERS = "* -text -crlf -eol -filter -ident -working-tree-encoding\n"
"""In `info/attributes`, which wins over every other file of attributes."""
PIPES_AFTER_S = 2.0
"""So long may git be silent before somebody looks whether a pipe holds it up."""


class Repository(Struct, frozen=True):
    """`top` is where its files begin, `git_dir` has its index, `common_dir` its objects."""

    top: Path
    git_dir: Path
    common_dir: Path


def find_repository(folder: Path, not_in: Iterable[Path]) -> Repository | None:
    """The repository that `folder` belongs to; none that begins at or above a path of `not_in`."""
    limits = {above for place in not_in for above in (place, *place.parents)}
    for place in (folder, *folder.parents):
        if place in limits:
            return None
        if os.path.lexists(place / ".git"):
            return _repository_at(place)
    return None


def _repository_at(top: Path) -> Repository | None:
    try:
        git_dir = top / ".git"
        if not git_dir.is_dir():
            kind, _, target = _link(git_dir).partition(": ")
            if kind != "gitdir":
                return None
            git_dir = top / target
        common = git_dir / "commondir"
        common_dir = git_dir / _link(common) if common.exists() else git_dir
        if (git_dir / "HEAD").exists() and (common_dir / "objects").is_dir():
            return Repository(top, git_dir.resolve(), common_dir.resolve())
    except (NotUnderstood, OSError, ValueError):
        pass  # not as git makes it, so it is none
    return None


def _link(file: Path) -> str:
    return os.fsdecode(read_plain(file, _MAX_LINK)).rstrip("\r\n")


class Mirror:
    """Our own repository in the folder `store`. `make` it once; later ones find it again.

    All its commands together may take `limit_s`; the one at its end raises `git_time_limit`.
    """

    def __init__(self, host: GitHost, repository: Repository, store: Path, limit_s: float) -> None:
        self.repository = repository
        self.store = store
        self._host = host
        self._git = Git(host)
        self._clock = host.clock
        self._limit_s = limit_s
        self._ends_at = host.clock.monotonic() + limit_s

    def anew(self) -> Mirror:
        """The same, with its whole limit ahead."""
        return Mirror(self._host, self.repository, self.store, self._limit_s)

    async def settings(self) -> dict[str, str]:
        """What holds in the repository of the settings that we share; reading starts nothing."""
        return await self._configured(_SETTINGS.pattern)

    async def author(self) -> dict[str, str]:
        """`user.name` and `user.email`, as far as they are set."""
        return await self._configured(r"user\.(name|email)")

    async def _configured(self, pattern: str) -> dict[str, str]:
        found = await self._real("config", "--null", "--get-regexp", f"^({pattern})$")
        told = b"\n".join(found.lines).decode("utf-8", "surrogateescape")
        pairs = (part.partition("\n") for part in told.split("\0"))
        return {name: value for name, _, value in pairs if re.fullmatch(pattern, name) and value}

    async def head(self) -> str | None:
        """The commit that is checked out."""
        answer = await self._real("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return answer.lines[0].decode() if answer.exit_code == 0 and answer.lines else None

    async def point(self, branch: str, commit: str) -> GitAnswer:
        """Make a branch in the repository itself; it must not be there yet."""
        nothing = "0" * len(commit)
        return await self._real("update-ref", f"refs/heads/{branch}", commit, nothing)

    async def _real(self, *arguments: str) -> GitAnswer:
        """Git on the repository itself: only commands that start no program of its settings."""
        return await self._git.run(
            arguments,
            cwd=self.repository.top,
            run_id=_mark(),
            limit_s=self._left_s(),
            variables={"GIT_DIR": str(self.repository.git_dir), "GIT_ALLOW_PROTOCOL": "none"},
        )

    def _left_s(self) -> float:
        left = self._ends_at - self._clock.monotonic()
        if left <= 0:
            raise ExecutorError("git_time_limit", minutes=f"{self._limit_s / 60:g}")
        return left

    def make(self, settings: dict[str, str], head: str | None) -> None:
        """Blocks. Raises NotUnderstood or OSError."""
        shutil.rmtree(self.store, ignore_errors=True)
        (self.store / "objects").mkdir(mode=0o700, parents=True)
        raw = {name: value for name, value in settings.items() if name not in _CONVERTING}
        _make_face(self.repository, self.store, settings, head)
        _make_face(self.repository, self.store / RAW, raw, head)
        (self.store / RAW / "info" / "attributes").write_text(_NO_FILTERS)

    async def ask(
        self,
        *arguments: str,
        data: bytes = b"",
        is_wanted: Callable[[bytes], bool] = lambda _: True,
        max_lines: int = 1,
        index: str = "index",
        is_raw: bool = False,
        variables: Mapping[str, str] = {},
    ) -> list[bytes]:
        """The lines that git answers on the files of the repository, with all else our own.

        `is_raw` says by which face they are seen. Raises NotUnderstood when it fails.
        """
        git_dir = self.store / RAW if is_raw else self.store
        jobs = Jobs("git")
        jobs.spawn(self._feed_pipes(), "feed pipes")
        try:
            answer = await self._git.run(
                arguments,
                cwd=self.repository.top,
                run_id=_mark(),
                limit_s=self._left_s(),
                settings=(("core.quotePath", "false"), ("core.safecrlf", "false")),
                variables={**self._variables(git_dir, index), **variables},
                data=data,
                is_wanted=is_wanted,
                max_lines=max_lines,
            )
        finally:
            await jobs.close()
        if answer.exit_code != 0:
            raise NotUnderstood(answer.stderr)
        return answer.lines

    def _variables(self, git_dir: Path, index: str) -> dict[str, str]:
        source = self.repository
        return {
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(source.common_dir / "objects"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_DIR": str(git_dir),
            "GIT_INDEX_FILE": str(git_dir / index),
            "GIT_OBJECT_DIRECTORY": str(self.store / "objects"),
            "GIT_OPTIONAL_LOCKS": "1",  # the index is ours: what git has found out may stay in it
            "GIT_WORK_TREE": str(source.top),
        }

    async def _feed_pipes(self) -> None:
        """A pipe in place of a file that git reads by itself would let it wait for ever."""
        while True:
            await self._clock.sleep(PIPES_AFTER_S)
            await asyncio.to_thread(_feed_pipes, self.repository.top)


def _make_face(
    source: Repository, git_dir: Path, settings: dict[str, str], head: str | None
) -> None:
    for name in ("objects", "refs", "info"):
        (git_dir / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    (git_dir / "HEAD").write_text(f"{head or _NO_COMMIT}\n")
    (git_dir / "config").write_text(_config(settings), encoding="utf-8")
    for name in ("info/exclude", "info/attributes"):
        if os.path.lexists(source.common_dir / name):
            (git_dir / name).write_bytes(read_plain(source.common_dir / name))
    for index in (source.git_dir / "index", *source.git_dir.glob("sharedindex.*")):
        if os.path.lexists(index):
            (git_dir / index.name).write_bytes(read_plain(index))
            # Git trusts no file that is as young as the index: ours must not look younger.
            status = index.stat()
            os.utime(git_dir / index.name, ns=(status.st_atime_ns, status.st_mtime_ns))


def _feed_pipes(top: Path) -> None:
    """Let whoever waits for the writer of such a pipe come to its end at once."""
    for place, folders, names in os.walk(top):
        if ".git" in folders:
            folders.remove(".git")
        for name in {".gitignore", ".gitattributes"}.intersection(names):
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):  # gone, or nobody waits for it
                if stat.S_ISFIFO(os.lstat(path).st_mode):
                    os.close(os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0)))


_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPED = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_ESCAPED[b"v"] = b"\v"


def unquoted(name: bytes) -> bytes:
    """A path as it is, of one that git may have put in quotes."""

    def plain(found: re.Match[bytes]) -> bytes:
        sign = found[1]
        return bytes([int(sign, 8)]) if len(sign) == 3 else _ESCAPED.get(sign, sign)

    if len(name) < 2 or not (name.startswith(b'"') and name.endswith(b'"')):
        return name
    return _ESCAPE.sub(plain, name[1:-1])


def _config(settings: dict[str, str]) -> str:
    version = 1 if "extensions.objectformat" in settings else 0
    lines = [f"[core]\n\trepositoryformatversion = {version}\n\tbare = false\n"]
    for name, value in settings.items():
        section, _, key = name.partition(".")
        if value.isprintable():
            lines.append(f"[{section}]\n\t{key} = {_quoted(value)}\n")
    return "".join(lines)


def _quoted(value: str | Path) -> str:
    """As git reads it in settings, and in lists of folders."""
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _mark() -> str:
    return f"git-{secrets.token_hex(8)}"


# --- trees of raw bytes ---------------------------------------------------------------------------

MAX_CHANGES = 100_000
_NOTHING = "000000"


class Change(Struct, frozen=True):
    """What was at a path and what is there then; None where nothing is."""

    path: str
    before: Entry | None
    after: Entry | None


def terminated(names: Iterable[str]) -> bytes:
    """As git takes paths with `-z`."""
    return b"".join(os.fsencode(name) + b"\0" for name in names)


async def changes_between(mirror: Mirror, before: str, after: str) -> tuple[Change, ...]:
    """How the two trees differ, by path. Raises NotUnderstood."""
    lines = await mirror.ask(
        *("diff-tree", "-r", "--raw", "--no-renames", "--ignore-submodules=all", before, after),
        max_lines=MAX_CHANGES,
        is_raw=True,
    )
    return tuple(_change(line) for line in lines)


def _change(line: bytes) -> Change:
    """Of `:MODE MODE OBJECT OBJECT LETTER<tab>PATH`."""
    facts, _, name = line.partition(b"\t")
    mode, mode_then, made, made_then, _ = facts.removeprefix(b":").decode().split()
    return Change(os.fsdecode(unquoted(name)), _entry(mode, made), _entry(mode_then, made_then))


def _entry(mode: str, made: str) -> Entry | None:
    return None if mode == _NOTHING else Entry(mode, made)


async def tree_of(mirror: Mirror, entries: Mapping[str, Entry], base: str | None = None) -> str:
    """The tree with these entries, and else what is in `base`. Raises NotUnderstood."""
    async with _index(mirror, entries, base) as index:
        (tree,) = await mirror.ask("write-tree", index=index, is_raw=True)
        return tree.decode()


async def stored(mirror: Mirror, paths: Iterable[str]) -> None:
    """Keep the bytes of these files, as they are now, among our objects. Raises NotUnderstood."""
    if data := terminated(paths):
        async with _index(mirror, {}) as index:
            await mirror.ask(
                *("update-index", "-z", "--add", "--remove", "--replace", "--stdin"),
                data=data,
                index=index,
                is_raw=True,
            )


@asynccontextmanager
async def laid_out(mirror: Mirror, entries: Mapping[str, Entry]) -> AsyncIterator[Path]:
    """A folder of ours that has these files, byte for byte, inside the block."""
    folder = mirror.store / f"out-{secrets.token_hex(8)}"
    await asyncio.to_thread(folder.mkdir, 0o700)
    try:
        async with _index(mirror, entries) as index:
            await mirror.ask(
                *("checkout-index", "-f", "-z", "--stdin", f"--prefix={folder}/"),
                data=terminated(entries),
                index=index,
                is_raw=True,
            )
        yield folder
    finally:
        await asyncio.to_thread(remove_tree, folder)


@asynccontextmanager
async def _index(
    mirror: Mirror, entries: Mapping[str, Entry], base: str | None = None
) -> AsyncIterator[str]:
    index = f"index-{secrets.token_hex(8)}"
    lines = (
        f"{entry.mode} {entry.object} 0\t".encode() + terminated([path])
        for path, entry in entries.items()
    )
    try:
        start = ("read-tree", base) if base else ("read-tree", "--empty")
        await mirror.ask(*start, index=index, is_raw=True)
        if entries:
            await mirror.ask(
                *("update-index", "-z", "--replace", "--index-info"),
                data=b"".join(lines),
                index=index,
                is_raw=True,
            )
        yield index
    finally:
        with contextlib.suppress(FileNotFoundError):  # git did not come to it
            (mirror.store / RAW / index).unlink()
