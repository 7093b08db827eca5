"""What can be installed, from where, and what both ways of installing share."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct

from executor_core.agents.acp import load_protocol
from executor_core.agents.catalog import AcpDefinition, known_agent
from executor_core.agents.host import AgentHost, Answer, version_in
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.texts import text

Say: TypeAlias = Callable[[str], None]

INSTALL_LIMIT_S = 15 * 60.0
SHORT_LIMIT_S = 60.0

# Scripts of packages run meanwhile; they need none of the user's keys.
_SECRETS = re.compile(
    r"(?!npm_config_|pip_|uv_)"  # their own settings, which name their registry
    r"(.*_(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)|ANTHROPIC_|OPENAI_|AWS_|AZURE_|GOOGLE_)",
    re.I,
)


class Package(Struct, kw_only=True, frozen=True):
    """An agent as npm or PyPI knows it. `repair` completes it where npm ran no scripts.

    One with a `definition` shows by the handshake of the Agent Client Protocol that it starts, the
    others by `--version`.
    """

    agent: str
    title: str
    name: str
    program: str
    repair: str | None = None
    is_pypi: bool = False
    definition: AcpDefinition | None = None

    @property
    def wanted(self) -> str:
        """What npm is asked for."""
        return f"{self.name}@latest"


PACKAGES = {
    package.agent: package
    for package in (
        Package(
            agent="claude_code",
            title="Claude Code",
            name="@anthropic-ai/claude-code",
            program="claude",
            repair="install.cjs",
        ),
        Package(agent="codex", title="Codex", name="@openai/codex", program="codex"),
        Package(
            agent="opencode",
            title="OpenCode",
            name="opencode-ai",
            program="opencode",
            repair="postinstall.mjs",
        ),
    )
}


def package_of(name: str) -> Package | None:
    """What installs the agent `name`; None where neither npm nor PyPI has it."""
    if name in PACKAGES:
        return PACKAGES[name]
    known = known_agent(name)
    source = known and (known.install.npm or known.install.pypi)
    if known is None or not source:
        return None
    return Package(
        agent=known.name,
        title=known.title,
        name=source,
        program=known.command[0],
        is_pypi=known.install.npm is None,
        definition=known,
    )


async def starts_rightly(host: AgentHost, definition: AcpDefinition, program: Path) -> bool:
    """Whether `program` answers the handshake; whether somebody is signed in does not matter."""
    await load_protocol()
    from executor_core.agents.acp_dialogue import offer_of

    argv = [str(program), *definition.command[1:]]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            await offer_of(host, definition.title, argv, definition.env, Path(folder))
        except ExecutorError:
            return False
    return True


def install_environment(host: AgentHost) -> dict[str, str]:
    """The user's own, with the settings of what installs, and without keys."""
    return host.environment({}, without=_SECRETS)


def install_failed(package: Package, reason: str) -> ExecutorError:
    return ExecutorError("install_failed", agent=package.title, reason=reason)


PROGRESS_EVERY_S = 5.0
LEFTOVER_AGE_S = 2 * INSTALL_LIMIT_S
"""What is younger may belong to an installation that is at work."""
MIB = 2**20

_PARTIAL = ".wegent-install-"
_BEFORE, _PLACES = "before", "places.json"
"""Inside such a folder: what was replaced, by number, and where it belongs."""

_NPM = ("install", "--global", "--no-audit", "--no-fund", "--no-update-notifier")
_REASONS = (
    (r"\bE404\b", "missing"),
    (r"\bENOSPC\b", "full"),
    (r"\b(EACCES|EPERM|EROFS)\b", "denied"),
    (r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH)\b", "unreachable"),
    (r"\b(E401|E403)\b", "refused"),
    (r"\b(SELF_SIGNED_CERT\w*|UNABLE_TO_\w+_CERT\w*|CERT_\w+)\b", "certificate"),
)
# What npm says before and behind the sentence that counts.
_NO_REASON = ("code ", "errno ", "syscall ", "path ", "A complete log ")


class Prefix(Struct, frozen=True):
    """A folder that npm installs globally into, and where things lie in it."""

    folder: Path
    is_windows: bool

    def package(self, package: Package) -> Path:
        """The folder of a package with all that it needs."""
        modules = "node_modules" if self.is_windows else "lib/node_modules"
        return self.folder / modules / package.name

    @property
    def programs(self) -> Path:
        return self.folder if self.is_windows else self.folder / "bin"

    def program(self, package: Package) -> Path:
        """What is started."""
        return self.programs / (package.program + (".cmd" if self.is_windows else ""))

    def launchers(self, package: Package) -> list[Path]:
        """All that npm makes to start it, whether or not it is there."""
        suffixes = ("", ".cmd", ".ps1") if self.is_windows else ("",)
        return [self.programs / (package.program + suffix) for suffix in suffixes]


class Installer:
    """The user's npm and the folder that it will install into; made by `find`."""

    def __init__(self, host: AgentHost, npm: Path, prefix: Prefix) -> None:
        self._host = host
        self._npm = npm
        self.prefix = prefix

    @classmethod
    async def find(cls, host: AgentHost) -> Installer:
        """Look for npm and choose the folder. Raises ExecutorError("npm_missing").

        That is npm's own global one if it belongs to the user and is on the PATH, else `~/.local`,
        where agents are always looked for. Never one that would need an administrator.
        """
        npm = await host.program("npm", ExecutorError("npm_missing"))
        env = install_environment(host)
        answer = await host.ask([str(npm), "prefix", "--global"], env, SHORT_LIMIT_S)
        own = answer.output.strip().splitlines()[-1:] if answer.code == 0 else []
        is_windows = host.platform == "win32"
        return cls(
            host, npm, _chosen([Prefix(Path(line), is_windows) for line in own], env, is_windows)
        )

    @property
    def folder(self) -> Path:
        return self.prefix.folder

    def program(self, package: Package) -> Path:
        """What is started, where it is looked for."""
        return self.prefix.program(package)

    def command(self, package: Package) -> str:
        """What will be run, for people."""
        folder = str(self.prefix.folder)
        return " ".join(("npm", *_NPM[:2], "--prefix", folder, package.wanted))

    async def install(self, package: Package, say: Say) -> tuple[str, Path]:
        """Install the newest `package`, or update it.

        Returns its version, and the program that is now found on the PATH: maybe another one.
        `say` is told each step in a sentence. Raises ExecutorError, and then everything is as it
        was: `install_failed`, or `install_in_the_way` where another installer put the program.
        """
        await asyncio.to_thread(_clear, [self.prefix.folder], self._host.clock.now().timestamp())
        self._check_free(package)
        partial = self.prefix.folder / f"{_PARTIAL}{secrets.token_hex(4)}"
        made: list[Path] = []
        version = None
        try:
            _make(partial, made)
            version = await self._install(
                package, Prefix(partial, self.prefix.is_windows), say, made
            )
            return version, await self._host.find(package.program) or self.prefix.program(package)
        except OSError as error:
            raise install_failed(package, error.strerror or str(error)) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
            if version is None:
                for folder in reversed(made):
                    with suppress(OSError):  # somebody else has put something there
                        folder.rmdir()

    def _check_free(self, package: Package) -> None:
        """Another installer's program is its own business."""
        program, folder = self.prefix.program(package), self.prefix.package(package)
        if not os.path.lexists(program):
            return
        is_link_elsewhere = not self.prefix.is_windows and not program.resolve().is_relative_to(
            folder.resolve()
        )
        if is_link_elsewhere or not folder.exists():
            raise ExecutorError("install_in_the_way", agent=package.title, path=program)

    async def _install(self, package: Package, fresh: Prefix, say: Say, made: list[Path]) -> str:
        say(text("install.fetching", package=package.wanted))
        await self._fetch(package, fresh, say)
        say(text("install.checking"))
        if await self._version(package, fresh) is None:
            await self._repair(package, fresh)
            if await self._version(package, fresh) is None:
                raise install_failed(package, text("install.reason.no_answer"))
        say(text("install.placing", folder=self.prefix.folder))
        return await self._replace(package, fresh, made)

    async def _fetch(self, package: Package, fresh: Prefix, say: Say) -> None:
        """npm's own work, which it does without a word, so that we say how far it is."""
        jobs = Jobs(f"install {package.agent}")

        async def report() -> None:
            last = 0
            while True:
                await self._host.clock.sleep(PROGRESS_EVERY_S)
                size = await asyncio.to_thread(_size, fresh.folder)
                if size > last:
                    say(text("install.progress", megabytes=size // MIB))
                last = size

        jobs.spawn(report(), "report")
        try:
            argv = [str(self._npm), *_NPM, "--prefix", str(fresh.folder), package.wanted]
            answer = await self._run(argv, INSTALL_LIMIT_S)
        finally:
            await jobs.close()
        if answer.code != 0:
            raise install_failed(package, reason_of(answer.errors))

    async def _repair(self, package: Package, prefix: Prefix) -> None:
        """Without its script the program is a stub that only explains itself."""
        node = await self._host.find("node")
        if package.repair is None or node is None:
            return
        script = prefix.package(package) / package.repair
        await self._run([str(node), str(script)], INSTALL_LIMIT_S)

    async def _version(self, package: Package, prefix: Prefix) -> str | None:
        program = prefix.program(package)
        if package.definition is not None:
            manifest = prefix.package(package) / "package.json"
            starts = await starts_rightly(self._host, package.definition, program)
            return await asyncio.to_thread(_version_in, manifest) if starts else None
        answer = await self._run([str(program), "--version"], SHORT_LIMIT_S)
        return version_in(answer.output) if answer.code == 0 else None

    async def _replace(self, package: Package, fresh: Prefix, made: list[Path]) -> str:
        """Put what is in `fresh` in its place; what was there returns where that fails."""
        target = self.prefix
        moves = [(fresh.package(package), target.package(package))]
        moves += zip(fresh.launchers(package), target.launchers(package), strict=True)
        kept = fresh.folder / _BEFORE
        kept.mkdir()
        # If we are killed on the way, the next installation or start can put it back.
        (kept / _PLACES).write_bytes(msgspec.json.encode([str(place) for _, place in moves]))
        version = None
        done: list[tuple[Path, Path]] = []
        try:
            for number, (new, place) in enumerate(moves):
                if not os.path.lexists(new):
                    continue
                _make(place.parent, made)
                old = kept / str(number)
                done.append((place, old))
                if os.path.lexists(place):
                    place.rename(old)
                new.rename(place)
            version = await self._version(package, target)
        finally:
            # Also when this is cancelled: better the old one than half of the new one.
            if version is None:
                _put_back(done, fresh.folder / "withdrawn")
        if version is None:
            raise install_failed(package, text("install.reason.no_answer"))
        return version

    async def _run(self, argv: Sequence[str], limit_s: float) -> Answer:
        return await self._host.ask(argv, install_environment(self._host), limit_s)


def _version_in(manifest: Path) -> str | None:
    """The version in a package's own description."""
    try:
        found = msgspec.json.decode(manifest.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, str) else None


def clear_leftovers(host: AgentHost) -> None:
    """Put right what installations left that were killed, wherever ours may have been. Blocks."""
    env = install_environment(host)
    home = Path(env.get("USERPROFILE") or env.get("HOME") or Path.home())
    folders = {home / ".local"}
    for place in map(Path, env["PATH"].split(os.pathsep)):
        folder = place if host.platform == "win32" else place.parent
        if folder.is_relative_to(home):
            folders.add(folder)
    _clear(folders, host.clock.now().timestamp())


def _clear(folders: Iterable[Path], now_s: float) -> None:
    for folder in folders:
        for partial in folder.glob(f"{_PARTIAL}*"):
            with suppress(OSError):  # somebody else clears it as well, or it is not ours
                if now_s - partial.stat().st_mtime > LEFTOVER_AGE_S:
                    _return_what_was_there(partial / _BEFORE)
                    shutil.rmtree(partial)


def _return_what_was_there(kept: Path) -> None:
    """The old version goes back to each place that stands empty."""
    try:
        places = msgspec.json.decode((kept / _PLACES).read_bytes(), type=list[str])
    except (OSError, msgspec.MsgspecError):
        return  # it was killed before it replaced anything
    for number, place in enumerate(map(Path, places)):
        old = kept / str(number)
        if os.path.lexists(old) and not os.path.lexists(place):
            old.rename(place)


def _put_back(done: Sequence[tuple[Path, Path]], withdrawn: Path) -> None:
    withdrawn.mkdir()
    for number, (place, old) in reversed(list(enumerate(done))):
        if os.path.lexists(place):
            place.rename(withdrawn / str(number))
        if os.path.lexists(old):
            old.rename(place)


def _chosen(own: Sequence[Prefix], env: Mapping[str, str], is_windows: bool) -> Prefix:
    """npm's own folder, if the user may write there without help and programs are found there."""
    home = Path(env.get("USERPROFILE" if is_windows else "HOME") or Path.home())
    places = env["PATH"].split(os.pathsep)
    for prefix in own:
        is_the_users = prefix.folder.resolve().is_relative_to(home.resolve())
        is_writable = prefix.folder.is_dir() and os.access(prefix.folder, os.W_OK)
        if is_the_users and is_writable and str(prefix.programs) in places:
            return prefix
    if is_windows:
        return Prefix(Path(env.get("APPDATA") or home / "AppData/Roaming") / "npm", is_windows)
    return Prefix(home / ".local", is_windows)


def _make(folder: Path, made: list[Path]) -> None:
    """Make `folder` and what it lies in; those that were not there are added to `made`."""
    if not folder.exists():
        _make(folder.parent, made)
        folder.mkdir()
        made.append(folder)


def _size(folder: Path) -> int:
    total = 0
    for root, _, files in os.walk(folder, onerror=None):
        for name in files:
            path = os.path.join(root, name)
            if os.path.lexists(path):
                total += os.lstat(path).st_size
    return total


def reason_of(output: str) -> str:
    """Why npm failed, in a sentence for the user."""
    for pattern, name in _REASONS:
        if re.search(pattern, output):
            return text(f"install.reason.{name}")
    errors = [
        line.partition(" ")[2].removeprefix("error ").removeprefix("ERR! ")
        for line in output.splitlines()
        if line.startswith(("npm error ", "npm ERR! "))
    ]
    told = [line for line in errors if not line.startswith(_NO_REASON)]
    last = output.strip().splitlines()[-1:]
    return (told or errors or last or [text("install.reason.silent")])[0][:300]
