"""An executor with everything real but its agent and its door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from executor_core.agents import Agent, Agents
from executor_core.clock import Clock
from executor_core.config.redaction import Redactor
from executor_core.executor import Accepted, Door, Executor
from executor_core.journal import Journal, RunRow
from executor_core.model import (
    AgentEvent,
    Outcome,
    RunRequest,
    Source,
    TaskFolder,
    TextDelta,
)
from executor_core.workspace import Workspaces
from tests.support.scripted_agent import ScriptedAgent


def request(number: int = 1, **fields: Any) -> RunRequest:
    """Turn `number` of task `number`: another one is another conversation in another folder."""
    wanted: dict[str, Any] = {
        "run_id": f"run_{number}",
        "source": Source.DEVICE,
        "request_key": f"server/task/{number}/subtask/{number}",
        "conversation_key": f"server/task/{number}/bot/0",
        "workspace": TaskFolder(name=str(number)),
        "address": "server",
        "reply_to": {"task_id": number, "subtask_id": number},
        "agent": "scripted",
        "prompt": "Do it.",
        "task_id": number,
        "subtask_id": number,
    }
    return RunRequest(**wanted | fields)


class RecordingDoor(Door):
    """Remembers what it is told, in order: `told` holds (run id, word or event or delivery)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | AgentEvent | RunRow]] = []
        self.active_changes = 0
        self._news = asyncio.Event()

    def _tell(self, run_id: str, what: str | AgentEvent | RunRow) -> None:
        self.told.append((run_id, what))
        self._news.set()

    def on_accepted(self, request: RunRequest) -> None:
        self._tell(request.run_id, "accepted")

    def on_event(self, request: RunRequest, event: AgentEvent) -> None:
        self._tell(request.run_id, event)

    def on_outcome(self, row: RunRow) -> None:
        self._tell(row.run_id, row)

    def on_active_changed(self) -> None:
        self.active_changes += 1

    def deliveries(self, run_id: str = "run_1") -> list[RunRow]:
        return [what for run, what in self.told if run == run_id and isinstance(what, RunRow)]

    def events(self, run_id: str = "run_1") -> list[AgentEvent]:
        return [
            what for run, what in self.told if run == run_id and not isinstance(what, str | RunRow)
        ]

    def kinds(self, run_id: str = "run_1") -> list[str]:
        """What the run's story was, in short."""
        return [
            what if isinstance(what, str) else type(what).__name__
            for run, what in self.told
            if run == run_id
        ]

    async def until(self, is_so: Callable[[], bool], limit_s: float = 10) -> None:
        """Wait until what was told fulfils `is_so`."""
        async with asyncio.timeout(limit_s):
            while not is_so():
                self._news.clear()
                await self._news.wait()

    async def outcome(self, run_id: str = "run_1") -> Outcome:
        """Wait for the outcome of the run."""
        await self.until(lambda: bool(self.deliveries(run_id)))
        return self.deliveries(run_id)[0].end

    async def delivery(self, run_id: str = "run_1") -> RunRow:
        await self.outcome(run_id)
        return self.deliveries(run_id)[0]


class Room:
    """The executor, its agent, its door and its disk."""

    def __init__(
        self, folder: Path, clock: Clock, *agents: Agent, stand_in: str | None = None
    ) -> None:
        self.folder = folder
        self.agent = ScriptedAgent()
        self.door = RecordingDoor()
        self.journal = Journal(folder / "journal.db", clock)
        self.root = folder / "workspace"
        self.executor = Executor(
            journal=self.journal,
            agents=Agents(agents or (self.agent,), stand_in=stand_in),
            workspaces=Workspaces(self.root, ()),
            runs_folder=folder / "runs",
            slots=5,
            secrets=Redactor(),
            clock=clock,
        )
        self.executor.attach(Source.DEVICE, self.door)
        self.patience_s = 10.0
        """How long the end of the room waits for its runs."""

    async def open(self) -> None:
        await self.journal.open()
        await self.executor.start()

    async def close(self) -> None:
        await self.executor.stop(self.patience_s)
        await self.journal.close()

    async def submit(self, wanted: RunRequest | None = None) -> str:
        """Have it accepted; the run id."""
        answer = await self.executor.submit(wanted or request())
        assert isinstance(answer, Accepted), answer
        return answer.run_id

    async def deliver(self, run_id: str = "run_1") -> None:
        """The server has the outcome."""
        await self.executor.delivered(await self.door.delivery(run_id))

    async def complete(self, wanted: RunRequest | None = None) -> Outcome:
        """A whole run, to its outcome."""
        run_id = await self.submit(wanted)
        (await self.agent.started()).finish("Done.")
        return await self.door.outcome(run_id)

    def texts(self, run_id: str = "run_1") -> list[str]:
        return [e.text for e in self.door.events(run_id) if isinstance(e, TextDelta)]


@asynccontextmanager
async def opened(
    folder: Path, clock: Clock, *agents: Agent, stand_in: str | None = None
) -> AsyncIterator[Room]:
    room = Room(folder, clock, *agents, stand_in=stand_in)
    await room.open()
    try:
        yield room
    finally:
        await room.close()
