"""The doctor at work: what the checks look at is gathered here, and what can be put right is done.

It works with and without a running executor, and before anything was configured.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from executor_core.agents import AgentHost, agents_here
from executor_core.agents.host import version_in
from executor_core.agents.install import PACKAGES
from executor_core.clock import Clock
from executor_core.config import options
from executor_core.config.home import InstanceLock
from executor_core.config.keychain import Absent, Found, NoKeychain, system_keychain
from executor_core.config.layers import Config
from executor_core.config.server_url import origin
from executor_core.config.token import TokenSources
from executor_core.control import Control, RemoteControl, Status
from executor_core.control.desk import Check
from executor_core.desk import findings, programs
from executor_core.desk.bundle import bundle_of, write_zip
from executor_core.desk.reach import ask_running
from executor_core.errors import ExecutorError
from executor_core.health import (
    Look,
    ServerLook,
    computer_checks,
    examine,
    look_at_server,
    network_checks,
)
from executor_core.health.examination import look_once
from executor_core.health.server_look import LOOK_LIMIT_S
from executor_core.process import left_behind, sweep
from executor_core.proxies import proxy_for

_T = TypeVar("_T")
LIMIT_S = 15.0
AGENTS_LIMIT_S = 70.0
RUNS_IN_BUNDLE = 200


class Doctor:
    """Implements HealthDesk.

    `control` is the executor in this process; None: one is looked for, at every question. `host` is
    this computer as agents see it. `has_tray` can only be told by a window.
    """

    def __init__(
        self,
        config: Config,
        host: AgentHost,
        clock: Clock,
        *,
        control: Control | None = None,
        has_tray: Callable[[], bool] | None = None,
    ) -> None:
        self._config = config
        self._host = host
        self._clock = clock
        self._control = control
        self._has_tray = has_tray

    async def examine(self) -> AsyncGenerator[Check, None]:
        """See HealthDesk. Takes as long as the slowest look, 70 s at most."""
        async with aclosing(examine(await self._looks())) as checks:
            async for check in checks:
                yield check

    async def fix(self, name: str) -> Check:
        """See HealthDesk."""
        fixes: dict[str, Callable[[], Awaitable[object]]] = {
            "folders": partial(asyncio.to_thread, findings.make_private, self._config.home),
            "files": partial(asyncio.to_thread, findings.mend_files, self._config.home),
            "leftovers": self._sweep,
        }
        look = next((look for look in await self._looks() if look.name == name), None)
        if name not in fixes or look is None or (await look_once(look))[0].fix is None:
            raise ExecutorError("nothing_to_fix", check=name)
        await fixes[name]()
        [check] = await look_once(look)
        return check

    async def bundle(self) -> dict[str, str]:
        """See HealthDesk."""
        checks = [check async for check in self.examine()]
        status = await self._ask(lambda control: control.status())
        runs = await self._ask(lambda control: control.runs(RUNS_IN_BUNDLE)) or ()
        return await bundle_of(self._config, self._clock, checks=checks, status=status, runs=runs)

    async def save_bundle(self, target: Path, files: Mapping[str, str]) -> Path:
        """See HealthDesk."""
        return await asyncio.to_thread(write_zip, target, files)

    async def _looks(self) -> tuple[Look, ...]:
        """Every look, in the order in which they are told."""
        # Before anything else: looking at agents makes the home.
        folders = await asyncio.to_thread(findings.folder_facts, self._config)
        visit = _Visit(self._config, self._host, self._clock, self._ask)
        now = self._clock.now

        async def looked_again() -> tuple[Check]:
            facts = await asyncio.to_thread(findings.folder_facts, self._config)
            return (computer_checks.folders(facts if folders.exists else folders),)

        async def network() -> tuple[Check]:
            return (network_checks.network(await visit.server()),)

        async def tls() -> tuple[Check]:
            return (network_checks.tls(await visit.server(), now()),)

        async def clock() -> tuple[Check]:
            return (network_checks.clock(await visit.server()),)

        async def tray() -> tuple[Check]:
            return (self._tray(),)

        return (
            Look("executor", LIMIT_S, visit.look_at_executor),
            Look("config", LIMIT_S, visit.look_at_config),
            Look("network", LOOK_LIMIT_S, network),
            Look("tls", LOOK_LIMIT_S, tls),
            Look("server", LOOK_LIMIT_S, visit.look_at_server),
            Look("clock", LOOK_LIMIT_S, clock),
            Look("token", LIMIT_S, visit.look_at_token),
            Look("keychain", LIMIT_S, visit.look_at_keychain),
            Look("agent", AGENTS_LIMIT_S, visit.look_at_agents),
            Look("environment", LIMIT_S, visit.look_at_environment),
            Look("git", LIMIT_S, visit.look_at_git),
            Look("path", LIMIT_S, visit.look_at_path),
            Look("folders", LIMIT_S, looked_again),
            Look("files", LIMIT_S, visit.look_at_files),
            Look("disk", LIMIT_S, visit.look_at_disk),
            Look("port", LIMIT_S, visit.look_at_port),
            Look("leftovers", LIMIT_S, visit.look_at_leftovers),
            Look("tray", LIMIT_S, tray),
        )

    def _tray(self) -> Check:
        return computer_checks.tray(
            has_display=programs.has_display(self._config.environment),
            is_installed=programs.sibling(programs.DESKTOP_PROGRAM).is_file(),
            is_shown=self._has_tray() if self._has_tray is not None else None,
        )

    async def _sweep(self) -> None:
        status = await self._ask(lambda control: control.status())
        if status is not None:
            await sweep(self._host.owner, alive=_AliveUnder(status), clock=self._clock)
            return
        # Whoever has the lock may have runs, though it does not answer.
        with InstanceLock.acquire(self._config.home):
            await sweep(self._host.owner, alive=(), clock=self._clock)

    async def _ask(self, question: Callable[[Control], Awaitable[_T]]) -> _T | None:
        """What the running executor answers; None where none runs."""
        if self._control is not None:
            return await question(self._control)
        reach = partial(RemoteControl.of_home, self._config.home.api_json)
        return await ask_running(reach, question)


class _Visit:
    """One examination: what several looks need is found out once."""

    def __init__(
        self,
        config: Config,
        host: AgentHost,
        clock: Clock,
        ask: Callable[[Callable[[Control], Awaitable[object]]], Awaitable[object]],
    ) -> None:
        self._config = config
        self._host = host
        self._clock = clock
        self._ask = ask
        self._keychain = system_keychain()
        self.server = _Once(self._look_at_server)
        self._status = _Once(self._ask_status)
        self._path = _Once(self._ask_path)

    async def _look_at_server(self) -> ServerLook | None:
        server = self._config[options.SERVER_URL]
        if not server:
            return None
        proxy = await asyncio.to_thread(proxy_for, server)
        return await look_at_server(server, proxy, self._clock)

    async def _ask_status(self) -> Status | None:
        status = await self._ask(lambda control: control.status())
        assert status is None or isinstance(status, Status)
        return status

    async def _ask_path(self) -> str:
        await self._host.ready(anew=True)
        return self._host.path

    async def look_at_executor(self) -> tuple[Check]:
        status = await self._status()
        holder = None
        if status is None:
            holder = await asyncio.to_thread(findings.lock_holder, self._config.home)
        return (computer_checks.executor(status, holder),)

    async def look_at_config(self) -> tuple[Check]:
        config = await asyncio.to_thread(self._config.reread)
        for problem in config.problems:
            raise problem
        return (computer_checks.config(config.home.config_toml),)

    async def look_at_server(self) -> tuple[Check]:
        status = await self._status()
        server = self._config[options.SERVER_URL]
        links = status.links if status is not None else ()
        dialect = next((link.dialect for link in links if link.server == server), None)
        return (network_checks.server(await self.server(), dialect),)

    async def look_at_token(self) -> tuple[Check]:
        server = self._config[options.SERVER_URL]
        facts = None
        if server:
            refusal = findings.refusal_of(await self._status(), server)
            sources = TokenSources(self._config, self._keychain)
            token = await asyncio.to_thread(sources.current, server)
            facts = findings.token_facts(token, refusal)
        return (computer_checks.token(facts, self._clock.now()),)

    async def look_at_keychain(self) -> tuple[Check]:
        server = self._config[options.SERVER_URL]
        account = origin(server) if server else "doctor"
        answer = await asyncio.to_thread(self._keychain.read, account)
        match answer:
            case Found() | Absent():
                return (computer_checks.keychain(is_there=True, blocked=None),)
            case NoKeychain():
                return (computer_checks.keychain(is_there=False, blocked=None),)
            case _:
                return (computer_checks.keychain(is_there=True, blocked=answer.reason),)

    async def look_at_agents(self) -> tuple[Check, ...]:
        await self._path()
        self._config.home.create()
        agents = agents_here(self._host, self._config[options.AGENTS_ACP])
        return computer_checks.agents(await agents.availability(), tuple(PACKAGES))

    async def look_at_environment(self) -> tuple[Check]:
        await self._path()
        withheld = self._config[options.AGENTS_ENVIRONMENT_WITHHELD]
        host = self._host
        return (computer_checks.environment(host.variables, withheld, host.silent_shell),)

    async def look_at_git(self) -> tuple[Check]:
        await self._path()
        program = await self._host.find("git")
        version = None
        if program is not None:
            self._config.home.create()
            environment = self._host.environment({})
            answer = await self._host.ask([str(program), "--version"], environment)
            version = version_in(answer.output) if answer.code == 0 else None
        return (computer_checks.git(version, program),)

    async def look_at_path(self) -> tuple[Check]:
        own = self._config.environment.get("PATH", "")
        return (computer_checks.path(own, await self._path()),)

    async def look_at_files(self) -> tuple[Check]:
        is_running = await self._status() is not None
        look = partial(findings.file_facts, self._config.home, is_running=is_running)
        return (computer_checks.files(await asyncio.to_thread(look)),)

    async def look_at_disk(self) -> tuple[Check]:
        free = await asyncio.to_thread(findings.free_space, self._config)
        return (computer_checks.disk(free),)

    async def look_at_port(self) -> tuple[Check]:
        status = await self._status()
        in_use = status.api if status is not None else ""
        facts = await asyncio.to_thread(findings.port_facts, self._config, in_use)
        return (computer_checks.port(facts),)

    async def look_at_leftovers(self) -> tuple[Check]:
        status = await self._status()
        if status is not None:
            alive: Container[str] = _AliveUnder(status)
        elif await asyncio.to_thread(findings.lock_holder, self._config.home) is None:
            alive = ()
        else:
            return (computer_checks.leftovers(None),)
        pids = await asyncio.to_thread(partial(left_behind, self._host.owner, alive=alive))
        return (computer_checks.leftovers(pids),)


class _AliveUnder:
    """The marks that live rightly while an executor runs: its runs, and whatever is no run."""

    def __init__(self, status: Status) -> None:
        self._runs = {run.run_id for run in status.runs}

    def __contains__(self, mark: object) -> bool:
        return mark in self._runs or not str(mark).startswith("run_")


class _Once(Generic[_T]):
    """Something that is found out by whoever asks first."""

    def __init__(self, work: Callable[[], Awaitable[_T]]) -> None:
        self._work = work
        self._lock = asyncio.Lock()
        self._found: list[_T] = []

    async def __call__(self) -> _T:
        async with self._lock:
            if not self._found:
                self._found.append(await self._work())
            return self._found[0]
