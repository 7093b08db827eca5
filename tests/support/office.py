"""A real executor with a scripted agent, behind both of its control surfaces."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec

from executor_core import api
from executor_core.agents import Agents
from executor_core.config.kept import kept_json
from executor_core.config.redaction import Redactor
from executor_core.control import (
    Address,
    Control,
    LocalControl,
    Pause,
    Presence,
    RemoteControl,
    Submission,
)
from executor_core.errors import ExecutorError
from executor_core.executor import Executor
from executor_core.journal import Journal
from executor_core.model import (
    AgentEvent,
    FileChanged,
    LinkState,
    LinkStatus,
    Notice,
    Outcome,
    ReasoningDelta,
    RunEnded,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
    UsageReported,
)
from executor_core.services.interface import Check, Device, Installed, InstallPlan, LogLine, Verdict
from executor_core.web import Listener, User, Users
from executor_core.workspace import Workspaces
from tests.support.clock import JumpingClock
from tests.support.scripted_agent import Performance, ScriptedAgent

TOKEN = "owner-token-of-the-tests"
RICH: tuple[AgentEvent, ...] = (
    SessionStarted(session_id="s-1", model="m"),
    ReasoningDelta(text="hm"),
    TextDelta(text="Hé\n"),
    Notice(code="model_retry", text="again"),
    ToolStarted(call_id="t1", name="Write", input={"path": "a.txt"}),
    ToolFinished(call_id="t1", output="ok"),
    FileChanged(path="a.txt", change="written"),
    UsageReported(usage=Usage(input_tokens=3, output_tokens=4)),
    TextDelta(text="llo"),
)
"""One event of every kind that an agent emits before its last word."""


class StillLink:
    """A link that is online and counts how often its credential changed."""

    def __init__(self) -> None:
        self.changes = 0
        self.tries = 0
        self.status = LinkStatus(
            kind="device",
            state=LinkState.ONLINE,
            server="https://wegent.example.com",
            since=datetime(2026, 1, 29, tzinfo=UTC),
            dialect="R",
        )

    def credential_changed(self) -> None:
        self.changes += 1

    def try_now(self) -> None:
        self.tries += 1


class StillServices:
    """Devices, health and log that stand still; a new line of the log comes by `grown`.

    An installation waits for `may_install`, and fails where there is an `install_reason`.
    """

    def __init__(self) -> None:
        self.default: str | None = "hw-1"
        self.removed: list[str] = []
        self.grown = asyncio.Event()
        self.installing = asyncio.Event()
        self.may_install = asyncio.Event()
        self.has_given_up = asyncio.Event()
        self.install_reason = ""

    async def devices(self) -> tuple[Device, ...]:
        is_default = self.default == "hw-1"
        return (Device(device_id="hw-1", name="A", status="online", is_default=is_default),)

    async def make_default(self, device_id: str) -> None:
        if device_id != "hw-1":
            raise ExecutorError("unknown_device", device_id=device_id)
        self.default = device_id

    async def clear_default(self) -> None:
        self.default = None

    async def remove(self, device_id: str) -> None:
        self.removed.append(device_id)

    def installable(self) -> tuple[str, ...]:
        return ("codex",)

    async def plan(self, name: str) -> InstallPlan:
        if name != "codex":
            raise ExecutorError(
                "agent_not_installable", agent=name, how="", known="codex", others=0
            )
        return InstallPlan(name=name, title="Codex", folder="/x", command="npm install codex")

    async def install(self, name: str, say: Callable[[str], None]) -> Installed:
        say("Fetching it.")
        self.installing.set()
        try:
            await self.may_install.wait()
        except asyncio.CancelledError:
            self.has_given_up.set()
            raise
        if self.install_reason:
            raise ExecutorError("install_failed", agent="Codex", reason=self.install_reason)
        say("Placing it.")
        return Installed(name=name, version="1.2.3", path="/x/bin/codex")

    async def examine(self) -> AsyncIterator[Check]:
        yield Check(name="git", title="Git", verdict=Verdict.OK)
        yield Check(name="disk", title="Disk", verdict=Verdict.WARNING, reason="almost full")

    async def fix(self, name: str) -> Check:
        raise ExecutorError("internal")

    async def bundle(self) -> dict[str, str]:
        return {}

    async def save_bundle(self, target: Path, files: Mapping[str, str]) -> Path:
        return target

    @property
    def path(self) -> Path:
        return Path("executor.log")

    async def lines(self, last: int, *, follow: bool = False) -> AsyncIterator[LogLine]:
        for number in range(3)[3 - min(last, 3) :]:
            yield LogLine(at="now", level="INFO", logger="executor.app", text=f"line {number}")
        if follow:
            await self.grown.wait()
            yield LogLine(at="now", level="INFO", logger="executor.app", text="new")


class Office:
    """`local` is the executor in this process, `remote` the same over its listener."""

    def __init__(self, folder: Path, clock: JumpingClock) -> None:
        self.folder = folder
        self.clock = clock
        self.agent = ScriptedAgent("claude_code")
        self.link = StillLink()
        self.leaving = asyncio.Event()
        self.reloads = 0
        self.shells_asked = 0
        self.api_json = folder / "api.json"
        self._journal = Journal(folder / "journal.db", clock)
        self.executor = Executor(
            journal=self._journal,
            agents=Agents([self.agent]),
            workspaces=Workspaces(folder / "workspace", ()),
            runs_folder=folder / "runs",
            slots=2,
            secrets=Redactor(),
            clock=clock,
        )
        self.listener = Listener(port=0, token=TOKEN, clock=clock)
        self.users = Users(kept_json(folder / "users.json", dict[str, User]), nullcontext, clock)
        self.services = StillServices()
        self.local = LocalControl(
            executor=self.executor,
            links=[self.link],
            presence=Presence(version="1.2.3", pid=os.getpid(), device_id="hw-1", device_name="A"),
            api=lambda: self.listener.base_url,
            leave=self.leaving.set,
            reload_credentials=self._reload,
            console=lambda: None,
            measure=dict,
            ask_login_shell=self._ask_login_shell,
            clock=clock,
            pauses=kept_json(folder / "pause.json", Pause),
        )
        self._undo = AsyncExitStack()

    async def _ask_login_shell(self) -> None:
        self.shells_asked += 1

    async def _reload(self) -> None:
        self.reloads += 1

    async def open(self) -> None:
        await self._journal.open()
        self._undo.push_async_callback(self._journal.close)
        await self.executor.start()
        self._undo.push_async_callback(self.local.close)
        self._undo.push_async_callback(self.executor.stop, 5.0)
        services = self.services
        api.attach(
            self.listener,
            self.local,
            users=self.users,
            devices=services,
            health=services,
            log=services,
            install=services,
        )
        write_address(self.api_json, await self.listener.start())
        self._undo.push_async_callback(self.listener.stop)
        self.remote = await self._undo.enter_async_context(RemoteControl.of_home(self.api_json))

    async def close(self) -> None:
        await self._undo.aclose()

    async def client(self, token: str | None = None) -> aiohttp.ClientSession:
        """A client of the listener, closed with it."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        session = aiohttp.ClientSession(self.listener.base_url, headers=headers)
        return await self._undo.enter_async_context(session)

    async def begin(self, control: Control | None = None, prompt: str = "do it") -> str:
        """A run that waits for the test to play it; its performance is `playing`."""
        run_id = await (control or self.local).submit(Submission(prompt=prompt))
        self.playing: Performance = await self.agent.started()
        return run_id

    async def complete(self, *events: AgentEvent) -> str:
        """A whole run with these events; its id."""
        run_id = await self.begin()
        for event in events:
            self.playing.emit(event)
        self.playing.finish()
        await outcome(self.local, run_id)
        return run_id


def write_address(api_json: Path, url: str, pid: int | None = None) -> None:
    """What an executor says about itself; by default it is this process."""
    address = Address(url=url, token=TOKEN, pid=os.getpid() if pid is None else pid)
    api_json.write_bytes(msgspec.json.encode(address))


async def outcome(control: Control, run_id: str) -> Outcome:
    """Wait for the end of a run."""
    last = (await story(control, run_id))[-1]
    assert isinstance(last, RunEnded)
    return last.outcome


async def story(control: Control, run_id: str, after: int = 0) -> list[AgentEvent]:
    """All events of a run after one of them, to its end."""
    async with asyncio.timeout(10):
        return [event async for event in control.events(run_id, after)]
