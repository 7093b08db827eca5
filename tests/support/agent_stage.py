"""A stage for one run of any agent: a computer with a home, an assignment, and what is heard."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

from executor_core.agents.agent import Agent, Assignment
from executor_core.agents.host import AgentHost
from executor_core.clock import SystemClock
from executor_core.jobs import Jobs
from executor_core.model import AgentEvent, AgentResult, SessionStarted, TextDelta
from tests.process.children import carriers_of, told_by

SHELL_PATH = "/usr/local/bin:/usr/bin:/bin"

E = TypeVar("E", bound=AgentEvent)


def agent_host(folder: Path, *programs: Path, **base: str) -> AgentHost:
    """A computer with its home in `folder` on which the `programs` can be found."""
    path = ":".join([*(str(program.parent) for program in programs), SHELL_PATH])
    host = AgentHost(
        base={"HOME": str(folder), "LANG": "C.UTF-8"} | base,
        settings={},
        path=path,
        platform=sys.platform,
        owner="tests",
        is_root=hasattr(os, "geteuid") and os.geteuid() == 0,
        folder=folder,
        clock=SystemClock(),
    )
    return host


def assignment(folder: Path, prompt: str = "Hello", **more: Any) -> Assignment:
    """A run in `folder`/ws, with a folder for scratch beside it."""
    for name in ("ws", "scratch"):
        (folder / name).mkdir(exist_ok=True)
    fields: dict[str, Any] = {"run_id": f"run_{folder.name}", "prompt": prompt}
    fields |= {"folder": folder / "ws", "scratch": folder / "scratch"}
    return Assignment(**fields | more)


class Run:
    """One run, from its start on."""

    def __init__(self, agent: Agent, host: AgentHost, task: Assignment) -> None:
        self.events: list[AgentEvent] = []
        self.stop = asyncio.Event()
        self.marker = host.marker(task.run_id)
        self._news = asyncio.Event()
        self._jobs = Jobs("test run")
        self._job = self._jobs.spawn(agent.run(task, self._emit, self.stop), "run")

    def _emit(self, event: AgentEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def result(self, limit_s: float = 60) -> AgentResult:
        async with asyncio.timeout(limit_s):
            return await self._job

    async def until(self, holds: Callable[[], bool], limit_s: float = 40) -> None:
        """Wait for the event with which `holds` becomes true."""
        async with asyncio.timeout(limit_s):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def cancel(self) -> float:
        """Stop it; how many seconds it took."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.stop.set()
        await self.result()
        return loop.time() - started

    async def close(self) -> None:
        self.stop.set()
        await self._jobs.close()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.of(TextDelta))

    @property
    def session_id(self) -> str:
        return self.of(SessionStarted)[0].session_id

    def processes(self) -> list[str]:
        """The living processes that carry the run's marker."""
        return told_by(carriers_of(self.marker), psutil.Process.name)


@asynccontextmanager
async def running(agent: Agent, host: AgentHost, task: Assignment) -> AsyncIterator[Run]:
    """A run that has ended, one way or the other, when the block is left."""
    run = Run(agent, host, task)
    try:
        yield run
    finally:
        await run.close()
