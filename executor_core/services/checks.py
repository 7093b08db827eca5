"""The doctor's checks, in the order in which they are told.

Each is one declared function that finds out what it needs, and says what that comes to.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Container, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from executor_core.agents import AgentHost, agents_here
from executor_core.agents.host import version_in
from executor_core.agents.install import PACKAGES
from executor_core.clock import Clock
from executor_core.config import options
from executor_core.config.home import InstanceLock
from executor_core.config.keychain import Blocked, NoKeychain, system_keychain
from executor_core.config.layers import Config
from executor_core.config.server_url import origin
from executor_core.config.token import TokenSources
from executor_core.control import Control, Status
from executor_core.model import TWIN, Availability, LinkState, LinkStatus
from executor_core.process import left_behind, sweep
from executor_core.proxies import proxy_for
from executor_core.services import findings, programs, server_look
from executor_core.services.examination import doctor_check, said
from executor_core.services.findings import FileFacts, FolderFacts, PortFacts, TokenFacts
from executor_core.services.interface import Check, Verdict
from executor_core.services.server_look import LOOK_LIMIT_S, ServerLook, look_at_server
from executor_core.texts import text

_T = TypeVar("_T")
GIB = 2**30
FREE_WARNING_BYTES = 5 * GIB
FREE_FAILURE_BYTES = 1 * GIB
TOKEN_ENDS_SOON = timedelta(hours=24)
AGENTS_LIMIT_S = 70.0
_MOST_FOLDERS = 6


class AskRunning(Protocol):
    """Asks the running executor; None where none runs."""

    async def __call__(self, question: Callable[[Control], Awaitable[_T]], /) -> _T | None: ...


class Examination:
    """One examination: what several checks need is found out once, by whoever asks first."""

    def __init__(
        self,
        config: Config,
        host: AgentHost,
        clock: Clock,
        ask: AskRunning,
        has_tray: Callable[[], bool] | None,
    ) -> None:
        """`ask` asks the running executor; None is its answer where none runs. Blocks shortly."""
        self.config = config
        self.host = host
        self.clock = clock
        self.ask = ask
        self.has_tray = has_tray
        self.keychain = system_keychain()
        self.address = config[options.SERVER_URL]
        # Before anything else: looking at agents makes the home.
        self.folders_before = findings.folder_facts(config)
        self.server = _Once(self._look_at_server)
        self.status = _Once(lambda: ask(lambda control: control.status()))
        self.path = _Once(self._ask_path)

    async def _look_at_server(self) -> ServerLook | None:
        if not self.address:
            return None
        proxy = await asyncio.to_thread(proxy_for, self.address)
        return await look_at_server(self.address, proxy, self.clock)

    async def _ask_path(self) -> str:
        await self.host.ready(anew=True)
        return self.host.path


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


# --- the executor and its server ------------------------------------------------------------------


@doctor_check("executor")
async def _executor(it: Examination) -> Check:
    status, holder = await it.status(), None
    if status is None:
        holder = await asyncio.to_thread(findings.lock_holder, it.config.home)
    return executor(status, holder)


def executor(status: Status | None, holder: str | None) -> Check:
    """Whether an executor runs and is online. `holder` has the home's lock, and does not answer."""
    if status is None:
        if holder is None:
            return said("executor", Verdict.WARNING, "executor.none")
        return said("executor", Verdict.WARNING, "executor.silent", pid=holder)
    worst = next(iter(sorted(status.links, key=_badness, reverse=True)), None)
    if worst is None or worst.state is LinkState.ONLINE:
        case = "executor.draining" if status.draining else "executor.ok"
        case = "executor.paused" if status.paused else case
        used, most = status.slots.used, status.slots.max
        return said("executor", Verdict.OK, case, pid=status.pid, used=used, max=most)
    verdict = Verdict.WARNING if worst.state is LinkState.CONNECTING else Verdict.FAILED
    values = {"server": worst.server, "reason": worst.reason or ""}
    case = TWIN if worst.code == TWIN else worst.state.value
    return said("executor", verdict, f"executor.{case}", **values)


def _badness(link: LinkStatus) -> int:
    order = (LinkState.ONLINE, LinkState.CONNECTING, LinkState.STOPPED, LinkState.OFFLINE)
    return order.index(link.state) if link.state in order else len(order)


@doctor_check("config")
async def _config(it: Examination) -> Check:
    found = await asyncio.to_thread(it.config.reread)
    for problem in found.problems:
        raise problem
    return config(found.home.config_toml)


def config(file: Path) -> Check:
    """The options; what is wrong with them says so itself."""
    return said("config", Verdict.OK, "config.ok", file=file)


@doctor_check("network", limit_s=LOOK_LIMIT_S)
async def _network(it: Examination) -> Check:
    return server_look.network(await it.server())


@doctor_check("tls", limit_s=LOOK_LIMIT_S)
async def _tls(it: Examination) -> Check:
    return server_look.tls(await it.server(), it.clock.now())


@doctor_check("server", limit_s=LOOK_LIMIT_S)
async def _server(it: Examination) -> Check:
    status = await it.status()
    links = status.links if status is not None else ()
    dialect = next((link.dialect for link in links if link.server == it.address), None)
    return server_look.server(await it.server(), dialect)


@doctor_check("clock", limit_s=LOOK_LIMIT_S)
async def _clock(it: Examination) -> Check:
    return server_look.clock(await it.server())


@doctor_check("token")
async def _token(it: Examination) -> Check:
    facts = None
    if it.address:
        refusal = findings.refusal_of(await it.status(), it.address)
        sources = TokenSources(it.config, it.keychain)
        found = await asyncio.to_thread(sources.current, it.address)
        facts = findings.token_facts(found, refusal)
    return token(facts, it.clock.now())


def token(facts: TokenFacts | None, now: datetime) -> Check:
    """Whether there is a token that can be good. None: no server is configured."""
    if facts is None:
        return said("token", Verdict.SKIPPED, "no_server")
    if facts.place is None:
        return said("token", Verdict.FAILED, "token.missing")
    if facts.refusal is not None:
        return said("token", Verdict.FAILED, "token.refused", reason=facts.refusal)
    if facts.expires_at is None:
        return said("token", Verdict.OK, "token.ok", place=facts.place)
    at = facts.expires_at.astimezone().strftime("%Y-%m-%d %H:%M")
    if facts.expires_at <= now:
        return said("token", Verdict.FAILED, "token.expired", at=at, place=facts.place)
    is_soon = facts.expires_at - now < TOKEN_ENDS_SOON
    verdict = Verdict.WARNING if is_soon else Verdict.OK
    case = "token.ends_soon" if is_soon else "token.ok_until"
    return said("token", verdict, case, at=at, place=facts.place)


@doctor_check("keychain")
async def _keychain(it: Examination) -> Check:
    account = origin(it.address) if it.address else "doctor"
    answer = await asyncio.to_thread(it.keychain.read, account)
    is_there = not isinstance(answer, NoKeychain)
    return keychain(
        is_there=is_there, blocked=answer.reason if isinstance(answer, Blocked) else None
    )


def keychain(*, is_there: bool, blocked: str | None) -> Check:
    """Whether secrets can be kept by the system. `blocked` is why it did not answer."""
    if blocked is not None:
        return said("keychain", Verdict.WARNING, "keychain.blocked", reason=blocked)
    if not is_there:
        return said("keychain", Verdict.SKIPPED, "keychain.none")
    return said("keychain", Verdict.OK, "keychain.ok")


# --- programs -------------------------------------------------------------------------------------


@doctor_check("agent", limit_s=AGENTS_LIMIT_S)
async def _agents(it: Examination) -> tuple[Check, ...]:
    await it.path()
    it.config.home.create()
    here = agents_here(it.host, it.config[options.AGENTS_ACP])
    return agents(await here.availability(), tuple(PACKAGES))


def agents(found: Sequence[Availability], installable: Sequence[str]) -> tuple[Check, ...]:
    """One check per agent. One that works is enough; where none does, every one has failed.

    One that is there and only lacks a login works for tasks that bring their own.
    """
    can_work = any(agent.is_usable or _only_lacks_login(agent) for agent in found)
    worse = Verdict.WARNING if can_work else Verdict.FAILED
    return tuple(_agent(one, worse, is_installable=one.name in installable) for one in found)


def _agent(found: Availability, worse: Verdict, *, is_installable: bool) -> Check:
    name = f"agent.{found.name}"
    if found.is_usable or found.problem is None:
        facts = ", ".join(
            fact for fact in (found.version, found.path, found.login, found.remark) if fact
        )
        return said(name, Verdict.OK, "agent.ok", facts=facts)
    if found.path is None and is_installable:
        return said(name, worse, "agent.missing", agent=found.name)
    problem = found.problem
    if _only_lacks_login(found):
        facts = ", ".join(fact for fact in (found.version, found.path) if fact)
        return said(name, Verdict.WARNING, "agent.no_login", facts=facts, advice=problem.hint)
    reason = " ".join(part for part in (problem.title + ":", problem.detail) if part)
    return said(name, worse, "agent.unusable", reason=reason.rstrip(":"), advice=problem.hint)


def _only_lacks_login(found: Availability) -> bool:
    return found.problem is not None and found.problem.code.endswith("not_signed_in")


@doctor_check("environment")
async def _environment(it: Examination) -> Check:
    await it.path()
    withheld = it.config[options.AGENTS_ENVIRONMENT_WITHHELD]
    return environment(it.host.variables, withheld, it.host.silent_shell)


def environment(names: Sequence[str], withheld: Sequence[str], silent: str | None) -> Check:
    """What agents get of the owner's environment, by name; `silent` is a shell without answer."""
    if silent is not None:
        return said("environment", Verdict.WARNING, "environment.silent", shell=silent)
    if withheld:
        case, kept = "environment.withheld", ", ".join(withheld)
        return said("environment", Verdict.OK, case, names=_listed(names), withheld=kept)
    return said("environment", Verdict.OK, "environment.ok", names=_listed(names))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or text("check.environment.none")


@doctor_check("git")
async def _git(it: Examination) -> Check:
    await it.path()
    program, version = await it.host.find("git"), None
    if program is not None:
        it.config.home.create()
        answer = await it.host.ask([str(program), "--version"], it.host.environment({}))
        version = version_in(answer.output) if answer.code == 0 else None
    return git(version, program)


def git(version: str | None, path: Path | None) -> Check:
    """Whether tasks that bring a repository can work."""
    if path is None:
        return said("git", Verdict.WARNING, "git.missing")
    if version is None:
        return said("git", Verdict.FAILED, "git.broken", path=path)
    return said("git", Verdict.OK, "git.ok", version=version, path=path)


@doctor_check("path")
async def _path(it: Examination) -> Check:
    return path(it.config.environment.get("PATH", ""), await it.path())


def path(own: str, used: str) -> Check:
    """Along which folders programs are looked up, and what our own PATH lacks of them."""
    ours = own.split(os.pathsep)
    folders = [folder for folder in used.split(os.pathsep) if folder]
    more = [folder for folder in folders if folder not in ours]
    shown = _some(folders)
    if more:
        return said("path", Verdict.OK, "path.more", folders=shown, more=_some(more))
    return said("path", Verdict.OK, "path.same", folders=shown)


def _some(folders: Sequence[str]) -> str:
    left = ["…"] if len(folders) > _MOST_FOLDERS else []
    return os.pathsep.join([*folders[:_MOST_FOLDERS], *left])


# --- folders, files and what else is here ---------------------------------------------------------


async def _make_private(it: Examination) -> None:
    await asyncio.to_thread(findings.make_private, it.config.home)


@doctor_check("folders", fixable="folders.open", fix=_make_private)
async def _folders(it: Examination) -> Check:
    now = await asyncio.to_thread(findings.folder_facts, it.config)
    return folders(now if it.folders_before.exists else it.folders_before)


def folders(facts: FolderFacts) -> Check:
    """Whether the home is there and private, and our folders can be written to."""
    if facts.unwritable:
        path, reason = facts.unwritable[0]
        return said("folders", Verdict.FAILED, "folders.unwritable", path=path, reason=reason)
    if facts.readable_by_others:
        names = ", ".join(map(str, facts.readable_by_others[:_MOST_FOLDERS]))
        return said("folders", Verdict.FAILED, "folders.open", names=names, home=facts.home)
    case = "folders.ok" if facts.exists else "folders.none"
    return said("folders", Verdict.OK, case, home=facts.home)


async def _mend_files(it: Examination) -> None:
    await asyncio.to_thread(findings.mend_files, it.config.home)


@doctor_check("files", fixable="files.damaged", fix=_mend_files)
async def _files(it: Examination) -> Check:
    is_running = await it.status() is not None
    look = partial(findings.file_facts, it.config.home, is_running=is_running)
    return files(await asyncio.to_thread(look))


def files(facts: FileFacts) -> Check:
    """Whether the files of the home can be used."""
    if facts.unusable:
        names = ", ".join(f"{path} ({reason})" for path, reason in facts.unusable[:_MOST_FOLDERS])
        return said("files", Verdict.FAILED, "files.damaged", names=names)
    if facts.newer:
        names = ", ".join(map(str, facts.newer))
        return said("files", Verdict.FAILED, "files.newer", names=names)
    if facts.aside:
        names = ", ".join(map(str, facts.aside[:_MOST_FOLDERS]))
        return said("files", Verdict.WARNING, "files.aside", names=names)
    return said("files", Verdict.OK, "files.ok", home=facts.home)


@doctor_check("disk")
async def _disk(it: Examination) -> Check:
    return disk(await asyncio.to_thread(findings.free_space, it.config))


def disk(free: Sequence[tuple[Path, int]]) -> Check:
    """Whether there is room: by the fullest of the disks that we write to."""
    where, least_bytes = min(free, key=lambda one: one[1])
    values = {"path": where, "free": f"{least_bytes / GIB:.1f}"}
    if least_bytes < FREE_FAILURE_BYTES:
        return said("disk", Verdict.FAILED, "disk.full", **values)
    if least_bytes < FREE_WARNING_BYTES:
        return said("disk", Verdict.WARNING, "disk.low", **values)
    return said("disk", Verdict.OK, "disk.ok", **values)


@doctor_check("port")
async def _port(it: Examination) -> Check:
    status = await it.status()
    in_use = status.api if status is not None else ""
    return port(await asyncio.to_thread(findings.port_facts, it.config, in_use))


def port(facts: PortFacts) -> Check:
    """Whether the local API is, or would be, where it was configured to be."""
    values = {"address": facts.address, "in_use": facts.in_use, "reason": facts.refusal}
    if facts.refusal is not None:
        return said("port", Verdict.FAILED, "port.refused", **values)
    if facts.holder is None:
        case = "port.free" if facts.in_use is None else "port.ok"
        return said("port", Verdict.OK, case, **values)
    who = "known" if facts.holder else "unknown"
    if facts.in_use is not None:
        case = f"port.other_{who}"
    else:
        case = f"port.fixed_{who}" if facts.is_fixed else f"port.taken_{who}"
    is_fatal = facts.is_fixed and facts.in_use is None
    verdict = Verdict.FAILED if is_fatal else Verdict.WARNING
    return said("port", verdict, case, holder=facts.holder, **values)


async def _sweep(it: Examination) -> None:
    status = await it.ask(lambda control: control.status())
    if status is not None:
        await sweep(it.host.owner, alive=_AliveUnder(status), clock=it.clock)
        return
    # Whoever has the lock may have runs, though it does not answer.
    with InstanceLock.acquire(it.config.home):
        await sweep(it.host.owner, alive=(), clock=it.clock)


@doctor_check("leftovers", fixable="leftovers.some", fix=_sweep)
async def _leftovers(it: Examination) -> Check:
    status = await it.status()
    if status is not None:
        alive: Container[str] = _AliveUnder(status)
    elif await asyncio.to_thread(findings.lock_holder, it.config.home) is None:
        alive = ()
    else:
        return leftovers(None)
    return leftovers(await asyncio.to_thread(partial(left_behind, it.host.owner, alive=alive)))


class _AliveUnder:
    """The marks that live rightly while an executor runs: its runs, and whatever is no run."""

    def __init__(self, status: Status) -> None:
        self._runs = {run.run_id for run in status.runs}

    def __contains__(self, mark: object) -> bool:
        return mark in self._runs or not str(mark).startswith("run_")


def leftovers(pids: Sequence[int] | None) -> Check:
    """Whether processes of runs that have ended still live. None: whose they are cannot be told."""
    if pids is None:
        return said("leftovers", Verdict.SKIPPED, "leftovers.unknown")
    if not pids:
        return said("leftovers", Verdict.OK, "leftovers.none")
    shown = ", ".join(map(str, pids[:20]))
    return said("leftovers", Verdict.WARNING, "leftovers.some", count=len(pids), pids=shown)


@doctor_check("tray")
async def _tray(it: Examination) -> Check:
    return tray(
        has_display=programs.has_display(it.config.environment),
        is_installed=programs.sibling(programs.DESKTOP_PROGRAM).is_file(),
        is_shown=it.has_tray() if it.has_tray is not None else None,
    )


def tray(*, has_display: bool, is_installed: bool, is_shown: bool | None) -> Check:
    """Whether the desktop shows our icon. `is_shown` is None where nobody can tell."""
    if not has_display:
        return said("tray", Verdict.SKIPPED, "tray.no_display")
    if is_shown is None:
        case = "tray.not_asked" if is_installed else "tray.not_installed"
        return said("tray", Verdict.SKIPPED, case)
    verdict = Verdict.OK if is_shown else Verdict.WARNING
    return said("tray", verdict, "tray.ok" if is_shown else "tray.none")
