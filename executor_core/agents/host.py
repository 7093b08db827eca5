"""What all agents need to know about this computer: programs, environment, probes."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from executor_core.agents.tested import TESTED, is_newer_than_tested, parts_of
from executor_core.clock import Clock, wait_or
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import Availability, ErrorInfo
from executor_core.process import ProcessTree, child_environment, find_program, safe_task_variables
from executor_core.texts import has_text, text

_log = logging.getLogger("executor.agents")

PROBE_LIMIT_S = 10.0
MAX_PROBE_LINES = 200
LOGIN_TTL_S = 60.0
"""A login may come and go without any file of ours changing."""


class Probe(Struct, kw_only=True, frozen=True):
    """How to find out whether a CLI can work; `login_command` exits 0 if somebody is signed in.

    With `must_answer` it also has to print something. It sees `login_variables` on top. One without
    arguments is not asked: whether somebody is signed in, only a run can tell. `below_version` is
    the first that works in another way than we know.
    """

    name: str
    title: str
    program: str
    minimum_version: tuple[int, ...]
    login_command: tuple[str, ...] = ()
    login_variables: Mapping[str, str] = {}
    must_answer: bool = False
    below_version: tuple[int, ...] = ()


class Answer(NamedTuple):
    """What a short command said: the first lines of its output, the last of its stderr.

    The code is -1 for one that did not start, or did not end in time.
    """

    code: int
    output: str
    errors: str


class AgentHost:
    """This computer, as agents see it.

    `base` is the environment we were started with, `settings` are variables that the user gave us
    for agents (keys from our own configuration), `owner` marks all processes of this <home>.
    Commands that an agent leaves in the background are waited for up to `background_wait_s`.
    """

    def __init__(
        self,
        *,
        base: Mapping[str, str],
        settings: Mapping[str, str],
        path: str,
        platform: str,
        owner: str,
        is_root: bool,
        folder: Path,
        clock: Clock,
        background_wait_s: float = 600.0,
    ) -> None:
        self._base = base
        self._settings = settings
        self._path = path
        self.platform = platform
        self.owner = owner
        self._folder = folder
        self.is_root = is_root
        self.clock = clock
        self.background_wait_s = background_wait_s
        self._path_is_final = asyncio.Event()
        self._known: dict[str, tuple[tuple[object, ...], float, Availability]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def use_path(self, path: str) -> None:
        """Programs are looked up along `path` from now on: the login shell answered."""
        self._path = path
        self._path_is_final.set()

    @property
    def path(self) -> str:
        """Where programs are looked up, as a PATH."""
        return self._path

    async def find(self, program: str) -> Path | None:
        """The absolute path of `program`, where the user's own shell would find it.

        Waits for the login shell only where the program is not on our own PATH.
        """
        found = find_program(program, self._path)
        if found is None and not self._path_is_final.is_set():
            await self._path_is_final.wait()
            found = find_program(program, self._path)
        return found

    def marker(self, run_id: str) -> str:
        """The value that every process of the run carries in its environment."""
        return f"{self.owner}:{run_id}"

    def environment(
        self, extra: Mapping[str, str], without: re.Pattern[str] | None = None
    ) -> dict[str, str]:
        """The environment of an agent: the user's own, less what matches `without`, plus `extra`.

        Names in `extra` that could change how programs are loaded are refused.
        """
        kept, refused = safe_task_variables(extra)
        if refused:
            _log.warning("variables not passed to an agent: %s", ", ".join(sorted(refused)))
        base = {**self._base, **self._settings}
        if without is not None:
            base = {name: value for name, value in base.items() if not without.match(name)}
        return child_environment(base, path=self._path, extra=kept, platform=self.platform)

    def inherited(self, prefix: str) -> dict[str, str]:
        """The variables we were started with whose names begin so, in any case."""
        return {
            name: value
            for name, value in self._base.items()
            if name.lower().startswith(prefix.lower())
        }

    async def availability(self, probe: Probe) -> Availability:
        """Probe once per state of the binary, one caller at a time."""
        async with self._locks.setdefault(probe.name, asyncio.Lock()):
            program = await self.find(probe.program)
            if program is None:
                return msgspec.structs.replace(_unseen(probe), problem=_missing(probe))
            stat = program.stat()
            identity = (program, stat.st_mtime_ns, stat.st_size)
            known_identity, looked_at, known = self._known.get(probe.name, ((), 0.0, None))
            is_fresh = self.clock.monotonic() - looked_at < LOGIN_TTL_S
            if known is None or known_identity != identity or not is_fresh:
                known = await self._look(probe, program)
                self._known[probe.name] = (identity, self.clock.monotonic(), known)
            return known

    def known_version(self, name: str) -> tuple[int, ...]:
        """The version of an agent when it was last looked at; empty where it never was."""
        known = self._known.get(name)
        version = known[2].version if known else None
        return parts_of(version) if version else ()

    async def version_of(self, name: str, program: Path) -> str | None:
        """The version of an agent: as it was last looked at, else as its program tells it now."""
        if known := self.known_version(name):
            return ".".join(map(str, known))
        code, output = await self._ask(program, "--version")
        return version_in(output) if code == 0 else None

    async def _look(self, probe: Probe, program: Path) -> Availability:
        found = msgspec.structs.replace(_unseen(probe), path=str(program))
        code, output = await self._ask(program, "--version")
        version = version_in(output)
        if code != 0 or version is None:
            problem = ExecutorError("agent_broken", agent=probe.title, path=program).info
            return msgspec.structs.replace(found, problem=problem)
        found = msgspec.structs.replace(found, version=version)
        if probe.below_version and parts_of(version) >= probe.below_version:
            return msgspec.structs.replace(found, problem=too_new(probe.title, version).info)
        if is_newer_than_tested(probe.name, version):
            words = text("agents.newer_than_tested", tested=TESTED[probe.name].newest)
            found = msgspec.structs.replace(found, remark=words)
        if parts_of(version) < probe.minimum_version:
            error = ExecutorError(
                "agent_too_old", agent=probe.title, version=version, needed=found.minimum_version
            )
            return msgspec.structs.replace(found, problem=error.info)
        if not probe.login_command:
            return msgspec.structs.replace(found, is_usable=True)
        code, output = await self._ask(
            program, *probe.login_command, variables=probe.login_variables
        )
        if code != 0 or (probe.must_answer and not output.strip()):
            return msgspec.structs.replace(found, problem=_not_signed_in(probe))
        return msgspec.structs.replace(found, is_usable=True, login=_login(output))

    async def _ask(
        self, program: Path, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Exit code and first lines of a short command; a hanging one counts as failed."""
        quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", **(variables or {})}
        answer = await self.ask([str(program), *arguments], self.environment(quiet))
        return answer.code, answer.output

    async def ask(
        self, argv: Sequence[str], env: Mapping[str, str], limit_s: float = PROBE_LIMIT_S
    ) -> Answer:
        """Run a command to its end without any input. Nothing of it is left afterwards."""
        try:
            tree = await ProcessTree.spawn(
                argv,
                cwd=self._folder,
                env=env,
                # Its own mark: two probes at once must not end each other.
                marker=self.marker(f"probe-{secrets.token_hex(4)}"),
                clock=self.clock,
            )
        except ExecutorError as error:
            return Answer(-1, "", str(error))
        tree.close_stdin()
        code, lines = -1, list[bytes]()
        is_over = asyncio.Event()

        async def listen() -> None:
            nonlocal code
            async for line in tree.lines():
                if len(lines) < MAX_PROBE_LINES:
                    lines.append(line)
            code = await tree.wait()
            is_over.set()

        jobs = Jobs("probe")
        jobs.spawn(listen(), "listen")
        try:
            await wait_or(is_over, self.clock, limit_s)
        finally:
            await jobs.close()
            await tree.end()
        return Answer(code, b"\n".join(lines).decode(errors="replace"), tree.stderr_tail)


def version_in(output: str) -> str | None:
    """The first version number in what a program printed."""
    found = re.search(r"\d+(\.\d+)+", output)
    return found.group() if found else None


def too_new(title: str, version: str) -> ExecutorError:
    """Of an agent whose newer generation we do not know how to lead."""
    return ExecutorError("agent_too_new", agent=title, version=version)


def _unseen(probe: Probe) -> Availability:
    """What is known before the program is looked at."""
    needed = ".".join(map(str, probe.minimum_version)) or None
    return Availability(name=probe.name, title=probe.title, is_usable=False, minimum_version=needed)


def _missing(probe: Probe) -> ErrorInfo:
    """How to get it, where we know; agents of other packages have no words of their own here."""
    code = f"{probe.name}_missing"
    if has_text(f"error.{code}.title"):
        return ExecutorError(code).info
    return ExecutorError("agent_missing", agent=probe.title, program=probe.program).info


def _not_signed_in(probe: Probe) -> ErrorInfo:
    code = f"{probe.name}_not_signed_in"
    if has_text(f"error.{code}.title"):
        return ExecutorError(code).info
    command = " ".join((probe.program, *probe.login_command))
    return ExecutorError("agent_not_signed_in", agent=probe.title, reason=command).info


def _login(output: str) -> str | None:
    """The kind of login, or the name of the variable that holds the key."""
    try:
        answer = msgspec.json.decode(output.encode())
    except msgspec.DecodeError:
        return None
    if not isinstance(answer, dict):
        return None
    return str(answer.get("apiKeySource") or answer.get("authMethod") or "") or None
