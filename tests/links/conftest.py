"""A device of the tests: real link, real executor, real journal; the agent does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents import Agent, Agents
from executor_core.agents.agent import Assignment, Emit
from executor_core.clock import Clock, SystemClock
from executor_core.config.redaction import Redactor
from executor_core.errors import ExecutorError
from executor_core.executor import Executor
from executor_core.journal import Journal
from executor_core.links.device import DeviceLink, LinkTiming, Registration
from executor_core.links.login import Credential, Credentials
from executor_core.model import AgentResult, Availability, LinkState, RunState, TextDelta
from executor_core.workspace import Workspaces
from tests.support import canaries
from tests.support.device_server import DeviceServer

TOKEN = "wg-token-that-must-not-be-told"
QUICK = LinkTiming(
    heartbeat_interval_s=0.1,
    heartbeat_timeout_s=1.2,
    reconnect_delay_s=0.02,
    reconnect_max_delay_s=0.05,
)


class Turn:
    """One run of the agent, held by the test."""

    def __init__(self, assignment: Assignment, emit: Emit) -> None:
        self.assignment = assignment
        self.emit = emit
        self.result: asyncio.Future[AgentResult] = asyncio.get_running_loop().create_future()

    def say(self, text: str) -> None:
        self.emit(TextDelta(text=text))

    def finish(self, **more: Any) -> None:
        result = AgentResult(**more)
        self.emit(result)
        self.result.set_result(result)


class HeldAgent(Agent):
    """Stands in for Claude Code. `turns` has every run that began, in order."""

    def __init__(self) -> None:
        self.turns: asyncio.Queue[Turn] = asyncio.Queue()
        self.begun: list[str] = []

    @property
    def name(self) -> str:
        return "claude_code"

    async def availability(self) -> Availability:
        return Availability(name=self.name, title="Held", is_usable=True)

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        turn = Turn(assignment, emit)
        self.begun.append(assignment.prompt)
        self.turns.put_nowait(turn)
        told_to_stop = asyncio.Task(stop.wait())
        try:
            either: set[asyncio.Future[Any]] = {turn.result, told_to_stop}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return turn.result.result() if turn.result.done() else AgentResult()
        finally:
            told_to_stop.cancel()
            await asyncio.gather(told_to_stop, return_exceptions=True)

    async def next_turn(self) -> Turn:
        async with asyncio.timeout(5):
            return await self.turns.get()


class Tokens(Credentials):
    """Tokens that the test sets; those that were refused are passed over."""

    def __init__(self) -> None:
        self.values = [Credential(TOKEN, "17")]
        self.refusals: list[Credential] = []
        self.settlements: list[str] = []
        self.problem: ExecutorError | None = None
        self.unavailable: ExecutorError | None = None

    async def current(self) -> Credential | None:
        if self.unavailable is not None:
            raise self.unavailable
        fresh = [one for one in self.values if one not in self.refusals]
        return next(iter(fresh or self.values), None)

    def refused(self, credential: Credential) -> None:
        self.refusals.append(credential)

    async def settled(self, credential: Credential, account: str) -> None:
        self.settlements.append(account)
        if self.problem is not None:
            raise self.problem


class Device:
    """An executor with one device link, on a folder of its own."""

    def __init__(self, folder: Path, server: str, timing: LinkTiming, clock: Clock) -> None:
        self.agent = HeldAgent()
        self.tokens = Tokens()
        self.journal = Journal(folder / "journal.db", clock)
        self.executor = Executor(
            journal=self.journal,
            agents=Agents([self.agent]),
            workspaces=Workspaces(folder / "workspace", ()),
            runs_folder=folder / "runs",
            slots=2,
            secrets=Redactor(),
            clock=clock,
        )
        self.link = DeviceLink(
            server=server,
            origin="origin",
            credentials=self.tokens,
            executor=self.executor,
            registration=Registration(device_id="hw-1", name="Linux - test", version="9.9"),
            timing=timing,
            clock=clock,
            jitter=lambda _low, high: high,
        )

    async def start(self, *, with_link: bool = True) -> None:
        await self.journal.open()
        await self.executor.start()
        if with_link:
            await self.link.start()

    async def stop(self, flush_s: float = 0.2) -> None:
        await self.executor.stop(2)
        await self.link.stop(flush_s)
        await self.journal.close()

    async def until(self, state: LinkState) -> None:
        async with asyncio.timeout(10):
            while self.link.status.state is not state:
                await asyncio.sleep(0.002)

    def states(self) -> list[RunState]:
        return [active.state for active in self.executor.active]


MakeDevice = Callable[..., Awaitable[Device]]
MakeServer = Callable[..., Awaitable[DeviceServer]]


@pytest.fixture
async def make_server() -> AsyncIterator[MakeServer]:
    """`await make_server("R")`."""
    made: list[DeviceServer] = []

    async def make(dialect: str = "R") -> DeviceServer:
        server = DeviceServer(dialect)
        await server.start()
        made.append(server)
        return server

    yield make
    for server in made:
        await server.stop()


@pytest.fixture
async def make_device(tmp_path: Path, make_server: MakeServer) -> AsyncIterator[MakeDevice]:
    """`await make_device(url)`: a started device; all of them end before the servers do."""
    made: list[Device] = []

    async def make(
        url: str,
        *,
        timing: LinkTiming = QUICK,
        clock: Clock | None = None,
        with_link: bool = True,
    ) -> Device:
        device = Device(tmp_path / str(len(made)), url, timing, clock or SystemClock())
        made.append(device)
        await device.start(with_link=with_link)
        return device

    yield make
    for device in made:
        await device.stop()


def execute(task_id: int = 1, subtask_id: int = 2, prompt: str = "go", **more: Any) -> Any:
    """A small `task:execute` that every generation could have sent."""
    bot = [{"id": 9, "shell_type": "ClaudeCode", "agent_config": {}}]
    secrets = {"auth_token": canaries.TASK, "task_token": canaries.TASK}
    user = {"id": 17, "git_domain": "git.example.com", "git_token": canaries.GIT}
    ids = {"task_id": task_id, "subtask_id": subtask_id}
    return {**ids, **secrets, "prompt": prompt, "user": user, "bot": bot, **more}
