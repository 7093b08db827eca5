"""An agent without a process: each of its runs does what the test says, step by step."""

from __future__ import annotations

import asyncio
from typing import Any

from executor_core.agents import Agent, Assignment
from executor_core.agents.agent import Emit
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import AgentResult, Availability, SessionStarted, TextDelta
from executor_core.texts import Message


class Performance:
    """One run of a ScriptedAgent, from its start to the return of `run`."""

    def __init__(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> None:
        self.assignment = assignment
        self.emit = emit
        self.stop = stop
        self.end: asyncio.Future[AgentResult] = asyncio.get_running_loop().create_future()

    def say(self, *texts: str) -> None:
        for text in texts:
            self.emit(TextDelta(text=text))

    def name_session(self, session_id: str) -> None:
        self.emit(SessionStarted(session_id=session_id))

    def conclude(self, final_text: str = "", *, error: Message | None = None) -> AgentResult:
        """Say the last word, but stay, like a process that does not leave."""
        result = AgentResult(final_text=final_text, error=error)
        self.emit(result)
        return result

    def finish(self, final_text: str = "", *, error: Message | None = None) -> None:
        """Say the last word and leave."""
        self.leave(self.conclude(final_text, error=error))

    def leave(self, result: AgentResult | None = None) -> None:
        self.end.set_result(result or AgentResult())

    def fail(self, error: BaseException) -> None:
        self.end.set_exception(error)


class ScriptedAgent(Agent):
    """`await agent.started()` hands over its next run; a stopped run leaves by itself.

    One that is `stubborn` stays after a stop until the test lets it leave.
    """

    def __init__(self, name: str = "scripted", *, stubborn: bool = False) -> None:
        self._name = name
        self._stubborn = stubborn
        self._started: asyncio.Queue[Performance] = asyncio.Queue()
        self.missing: ExecutorError | None = None
        self.looking: asyncio.Event | None = None
        """Set it to an event to keep `availability` waiting for it."""

    @property
    def name(self) -> str:
        return self._name

    async def started(self, limit_s: float = 10) -> Performance:
        """The next run, in the order in which they started."""
        async with asyncio.timeout(limit_s):
            return await self._started.get()

    @property
    def is_waiting(self) -> bool:
        """True if a run has started that the test has not taken yet."""
        return not self._started.empty()

    async def availability(self) -> Availability:
        if self.looking is not None:
            await self.looking.wait()
        problem = self.missing.message if self.missing else None
        title = self._name.capitalize()
        return Availability(
            name=self._name, title=title, is_usable=problem is None, problem=problem
        )

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        performance = Performance(assignment, emit, stop)
        self._started.put_nowait(performance)
        if self._stubborn:
            return await performance.end
        jobs = Jobs("scripted agent")
        stopped = jobs.spawn(stop.wait(), "stop")
        try:
            ends: set[asyncio.Future[Any]] = {performance.end, stopped}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return performance.end.result() if performance.end.done() else AgentResult()
        finally:
            performance.end.cancel()
            await jobs.close()
