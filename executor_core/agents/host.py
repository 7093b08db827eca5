"""What all agents need to know about this computer: programs, environment, probes."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from executor_core.agents.agent import Assignment, Dialogue, Emit
from executor_core.agents.drive import drive
from executor_core.clock import Clock, wait_or
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import AgentResult, Availability
from executor_core.process import (
    Login,
    ProcessTree,
    child_environment,
    find_program,
    owners_environment,
    worth_telling,
)
from executor_core.texts import Message, text

_log = logging.getLogger("executor.agents")

PROBE_LIMIT_S = 20.0
"""A cold disk or a virus scanner takes its time; what takes longer is asked again."""
MAX_PROBE_LINES = 200
LATE = "agent_late"
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
    missing: str = "agent_missing"
    not_signed_in: str = "agent_not_signed_in"


class Answer(NamedTuple):
    """What a short command said: the first lines of its output, the last of its stderr.

    The code is -1 for one that did not start, or, which `is_late` says, did not end in time.
    """

    code: int
    output: str
    errors: str
    is_late: bool = False


class _Known(NamedTuple):
    """What a probe came to, when, and of which program in which environment."""

    identity: tuple[object, ...]
    checked_at: float
    found: Availability


def is_late(found: Availability) -> bool:
    """Whether nothing is known yet because an answer takes long."""
    return found.problem is not None and found.problem.code == LATE


class AgentHost:
    """This computer, as agents see it.

    `base` is the environment we were started with, `settings` are variables that the user gave us
    for agents (keys from our own configuration), `withheld` names what they must not get. `ask`
    asks the login shell; without it `path` is where programs are looked up. `owner` marks all
    processes of this <home>.
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
        withheld: Collection[str] = (),
        ask: Callable[[], Awaitable[Login]] | None = None,
        background_wait_s: float = 600.0,
    ) -> None:
        self._base = base
        self._settings = settings
        self.platform = platform
        self.owner = owner
        self._folder = folder
        self.is_root = is_root
        self.clock = clock
        self._withheld = withheld
        self._ask_login = ask
        self._asking = asyncio.Lock()
        self._ask_again_at = -math.inf
        self.use_login(Login(path))
        self._known: dict[str, _Known] = {}
        self.background_wait_s = background_wait_s
        self._locks: dict[str, asyncio.Lock] = {}

    async def ready(self, *, anew: bool = False) -> None:
        """Return when the login shell was asked; `anew`: asked now, for what may have changed.

        One that was silent is asked again after a minute: the disk may have been cold.
        """
        async with self._asking:
            is_due = self.clock.monotonic() >= self._ask_again_at
            if self._ask_login is not None and (anew or is_due):
                self.use_login(await self._ask_login())
                pause_s = LOGIN_TTL_S if self.silent_shell else math.inf
                self._ask_again_at = self.clock.monotonic() + pause_s

    def use_login(self, login: Login) -> None:
        """From now on the variables and the PATH are those of `login`."""
        self._path = login.path
        self.silent_shell = login.silent
        """The login shell, if it gave no answer."""
        self._owners = owners_environment(
            self._base,
            {**login.variables, **self._settings},
            withheld=self._withheld,
            ignore_case=self.platform == "win32",
        )

    @property
    def path(self) -> str:
        """Where programs are looked up, as a PATH."""
        return self._path

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of what agents get of the owner's environment, beyond what all programs get."""
        return worth_telling(self._owners)

    async def find(self, program: str) -> Path | None:
        """The absolute path of `program`, where the user's own shell would find it.

        The environment is complete when this returns.
        """
        await self.ready()
        return find_program(program, self._path)

    def marker(self, run_id: str) -> str:
        """The value that every process of the run carries in its environment."""
        return f"{self.owner}:{run_id}"

    def environment(
        self, extra: Mapping[str, str], without: re.Pattern[str] | None = None
    ) -> dict[str, str]:
        """The environment of an agent: the owner's, less what matches `without`, plus `extra`.

        Complete once `ready`. `extra` is not looked at: what a task says must not stand in it
        unless its name is one of `task_variables`.
        """
        owners = self._owners
        if without is not None:
            owners = {name: value for name, value in owners.items() if not without.match(name)}
        return child_environment(owners, path=self._path, extra=extra, platform=self.platform)

    async def program(self, name: str, missing: ExecutorError) -> Path:
        """The same; raises `missing` where there is none."""
        if (found := await self.find(name)) is None:
            raise missing
        return found

    async def drive(
        self,
        dialogue: Dialogue,
        argv: Sequence[str],
        assignment: Assignment,
        emit: Emit,
        stop: asyncio.Event,
        *,
        env: Mapping[str, str],
        closes_input: bool = False,
        may_outlast_answer: bool = False,
    ) -> AgentResult:
        """Run `argv` for `assignment`, in its folder, to the agent's last word.

        `may_outlast_answer` is for one that works on behind it until somebody waits for its end.
        """
        return await drive(
            dialogue,
            argv,
            cwd=assignment.folder,
            env=env,
            marker=self.marker(assignment.run_id),
            clock=self.clock,
            emit=emit,
            stop=stop,
            closes_input=closes_input,
            is_awaited=assignment.is_awaited if may_outlast_answer else None,
        )

    async def availability(self, probe: Probe) -> Availability:
        """Probe once per state of the binary, one caller at a time.

        What is not found out in time is asked again the next time, and changes nothing that is
        known.
        """
        async with self._locks.setdefault(probe.name, asyncio.Lock()):
            program = await self.find(probe.program)
            if program is None:
                return self._told(msgspec.structs.replace(_unseen(probe), problem=_missing(probe)))
            stat = program.stat()
            identity = (program, stat.st_mtime_ns, stat.st_size, self._owners)
            known = self._known.get(probe.name)
            if known is not None and known.identity != identity:
                known = None
            if known is not None and self.clock.monotonic() - known.checked_at < LOGIN_TTL_S:
                return known.found
            found = self._told(await self._check(probe, program))
            if is_late(found):
                return found if known is None else known.found
            self._known[probe.name] = _Known(identity, self.clock.monotonic(), found)
            return found

    def _told(self, found: Availability) -> Availability:
        return msgspec.structs.replace(found, variables=self.variables)

    def known_version(self, name: str) -> tuple[int, ...]:
        """The version of an agent when it was last looked at; empty where it never was."""
        known = self._known.get(name)
        version = known.found.version if known else None
        return parts_of(version) if version else ()

    async def version_of(self, name: str, program: Path) -> str | None:
        """The version of an agent: as it was last looked at, else as its program tells it now."""
        if known := self.known_version(name):
            return ".".join(map(str, known))
        answer = await self._ask(program, "--version")
        return version_in(answer.output) if answer.code == 0 else None

    async def _check(self, probe: Probe, program: Path) -> Availability:
        found = msgspec.structs.replace(_unseen(probe), path=str(program))
        late = ExecutorError(LATE, agent=probe.title, path=program).message
        answer = await self._ask(program, "--version")
        version = version_in(answer.output)
        if answer.is_late:
            return msgspec.structs.replace(found, problem=late)
        if answer.code != 0 or version is None:
            problem = ExecutorError("agent_broken", agent=probe.title, path=program).message
            return msgspec.structs.replace(found, problem=problem)
        found = msgspec.structs.replace(found, version=version)
        if probe.below_version and parts_of(version) >= probe.below_version:
            return msgspec.structs.replace(found, problem=too_new(probe.title, version).message)
        if is_newer_than_tested(probe.name, version):
            words = text("agents.newer_than_tested", tested=TESTED[probe.name].newest)
            found = msgspec.structs.replace(found, remark=words)
        if parts_of(version) < probe.minimum_version:
            error = ExecutorError(
                "agent_too_old", agent=probe.title, version=version, needed=found.minimum_version
            )
            return msgspec.structs.replace(found, problem=error.message)
        if not probe.login_command:
            return msgspec.structs.replace(found, is_usable=True)
        answer = await self._ask(program, *probe.login_command, variables=probe.login_variables)
        if answer.is_late:
            return msgspec.structs.replace(found, problem=late)
        if answer.code != 0 or (probe.must_answer and not answer.output.strip()):
            return msgspec.structs.replace(found, problem=_not_signed_in(probe))
        return msgspec.structs.replace(found, is_usable=True, login=_login(answer.output))

    async def _ask(
        self, program: Path, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> Answer:
        quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", **(variables or {})}
        return await self.ask([str(program), *arguments], self.environment(quiet))

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
        code, lines, is_late = -1, list[bytes](), False
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
            is_late = not await wait_or(is_over, self.clock, limit_s)
        finally:
            await jobs.close()
            await tree.end()
        output = b"\n".join(lines).decode(errors="replace")
        return Answer(code, output, tree.stderr_tail, is_late)


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


def _missing(probe: Probe) -> Message:
    """How to get it, where we know."""
    return ExecutorError(probe.missing, agent=probe.title, program=probe.program).message


def _not_signed_in(probe: Probe) -> Message:
    command = " ".join((probe.program, *probe.login_command))
    return ExecutorError(probe.not_signed_in, agent=probe.title, reason=command).message


def _login(output: str) -> str | None:
    """The kind of login, or the name of the variable that holds the key."""
    try:
        answer = msgspec.json.decode(output.encode())
    except msgspec.DecodeError:
        return None
    if not isinstance(answer, dict):
        return None
    return str(answer.get("apiKeySource") or answer.get("authMethod") or "") or None


class Tested(Struct, frozen=True):
    """The oldest and the newest version of an agent that all our tests run with."""

    oldest: str
    newest: str


TESTED = {
    "claude_code": Tested("2.1.197", "2.1.332"),
    "codex": Tested("0.169.0", "0.171.0"),
    "opencode": Tested("1.18.33", "1.18.33"),
}


def is_newer_than_tested(name: str, version: str) -> bool:
    """Whether we have not seen this version of the agent; one that is in no table never is."""
    tested = TESTED.get(name)
    return tested is not None and parts_of(version) > parts_of(tested.newest)


def parts_of(version: str) -> tuple[int, ...]:
    """`2.1.197` as numbers, to be compared."""
    return tuple(map(int, version.split(".")))
