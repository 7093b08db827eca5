"""What all agents need to know about this computer: programs, environment, probes."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.model import Availability
from executor_core.process import ProcessTree, child_environment, find_program, safe_task_variables

_log = logging.getLogger("executor.agents")

PROBE_LIMIT_S = 10.0
LOGIN_TTL_S = 60.0
"""A login may come and go without any file of ours changing."""


class Probe(Struct, kw_only=True, frozen=True):
    """How to find out whether a CLI can work; `login_command` exits 0 if somebody is signed in."""

    name: str
    title: str
    program: str
    minimum_version: tuple[int, ...]
    login_command: tuple[str, ...]


class AgentHost:
    """This computer, as agents see it.

    `base` is the environment we were started with, `settings` are variables that the user gave us
    for agents (keys from our own configuration), `owner` marks all processes of this <home>.
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
    ) -> None:
        self._base = base
        self._settings = settings
        self._path = path
        self._platform = platform
        self.owner = owner
        self._folder = folder
        self.is_root = is_root
        self.clock = clock
        self._path_is_final = asyncio.Event()
        self._known: dict[str, tuple[tuple[object, ...], float, Availability]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def use_path(self, path: str) -> None:
        """Programs are looked up along `path` from now on: the login shell answered."""
        self._path = path
        self._path_is_final.set()

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
        return child_environment(base, path=self._path, extra=kept, platform=self._platform)

    async def availability(self, probe: Probe) -> Availability:
        """Probe once per state of the binary, one caller at a time."""
        async with self._locks.setdefault(probe.name, asyncio.Lock()):
            program = await self.find(probe.program)
            if program is None:
                problem = ExecutorError(f"{probe.name}_missing").info
                return Availability(
                    name=probe.name, title=probe.title, is_usable=False, problem=problem
                )
            stat = program.stat()
            identity = (program, stat.st_mtime_ns, stat.st_size)
            known_identity, looked_at, known = self._known.get(probe.name, ((), 0.0, None))
            is_fresh = self.clock.monotonic() - looked_at < LOGIN_TTL_S
            if known is None or known_identity != identity or not is_fresh:
                known = await self._look(probe, program)
                self._known[probe.name] = (identity, self.clock.monotonic(), known)
            return known

    async def _look(self, probe: Probe, program: Path) -> Availability:
        found = Availability(name=probe.name, title=probe.title, is_usable=False, path=str(program))
        code, output = await self._ask(program, "--version")
        digits = re.search(r"\d+(\.\d+)+", output)
        if code != 0 or digits is None:
            problem = ExecutorError("agent_broken", agent=probe.title, path=program).info
            return msgspec.structs.replace(found, problem=problem)
        version = digits.group()
        found = msgspec.structs.replace(found, version=version)
        if tuple(map(int, version.split("."))) < probe.minimum_version:
            needed = ".".join(map(str, probe.minimum_version))
            error = ExecutorError(
                "agent_too_old", agent=probe.title, version=version, needed=needed
            )
            return msgspec.structs.replace(found, problem=error.info)
        code, output = await self._ask(program, *probe.login_command)
        if code != 0:
            problem = ExecutorError(f"{probe.name}_not_signed_in").info
            return msgspec.structs.replace(found, problem=problem)
        return msgspec.structs.replace(found, is_usable=True, login=_login(output))

    async def _ask(self, program: Path, *arguments: str) -> tuple[int, str]:
        """Exit code and output of a short command; a hanging one counts as failed."""
        try:
            tree = await ProcessTree.spawn(
                [str(program), *arguments],
                cwd=self._folder,
                env=self.environment({"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}),
                marker=self.marker("probe"),
                clock=self.clock,
            )
        except ExecutorError as error:
            return -1, str(error)
        tree.close_stdin()
        try:
            async with asyncio.timeout(PROBE_LIMIT_S):
                lines = [line async for line in tree.lines()]
                return await tree.wait(), b"\n".join(lines).decode(errors="replace")
        except TimeoutError:
            return -1, ""
        finally:
            await tree.end()


def _login(output: str) -> str | None:
    try:
        answer = msgspec.json.decode(output.encode())
    except msgspec.DecodeError:
        return None
    return str(answer.get("authMethod") or "") or None if isinstance(answer, dict) else None
