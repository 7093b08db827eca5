"""The life of one run between its acceptance and its outcome."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from executor_core.agents import Agent, Agents, Assignment, Remedy, remedy, with_usable_images
from executor_core.agents.agent import named, task_variables
from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.executor.machine import EndReason
from executor_core.executor.stream import EventRedactor, Gathering, Repeats, Secrets
from executor_core.jobs import Jobs, is_first
from executor_core.journal import EventLog, Journal, RunRow, row_of
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Artifact,
    Folder,
    GitClone,
    ModelConfig,
    Notice,
    Outcome,
    RunEnded,
    RunRequest,
    RunStarted,
    RunState,
    SessionStarted,
    TextDelta,
    Timings,
    ToolStarted,
)
from executor_core.texts import Message, paragraph, text
from executor_core.workspace import Beginning, Recorder, Site, Workspaces

_log = logging.getLogger("executor.executor")

MAX_TEXT = 16 * 2**20
"""Characters of an answer that are kept; past it a notice says that the rest is left out."""
RECORD_AFTER_END_S = 3.0
"""What the record of changes may take once somebody waits for the end of the run."""
RECORD_AT_STOP_S = 8.0
"""From the moment the executor is told to stop to the end of the record of changes."""


class RunOwner(Protocol):
    """Who is told what happens in a run, as it happens."""

    def on_run_event(self, run: Run, event: AgentEvent) -> None:
        """`event` is on file."""

    def on_time_over(self, run: Run) -> None:
        """The run reached its time limit and should be ended."""


class Run:
    """One accepted request: its events, its text, its end."""

    def __init__(
        self,
        request: RunRequest,
        *,
        folder: Path,
        clock: Clock,
        owner: RunOwner,
        secrets: Secrets,
    ) -> None:
        self.request = request
        self.log = EventLog(folder / "events.jsonl", clock)
        self.on_disk = asyncio.Event()
        self.row = row_of(request, clock.now())
        self.started_at: datetime | None = None
        self.is_recorded = False
        """Whether the journal has it: after a crash it then gets an end, unless it has one."""
        self._folder = folder
        self._clock = clock
        self._owner = owner
        self._stop = asyncio.Event()
        self._end_reason: EndReason | None = None
        self._is_awaited = asyncio.Event()
        self._has_follower = asyncio.Event()
        self._leaves_at = math.inf
        self._artifacts: tuple[Artifact, ...] = ()
        self._text: list[str] = []
        self._text_length = 0
        self._first_text_at: datetime | None = None
        self._last_event_at = clock.monotonic()
        self._session_id: str | None = None
        self._result: AgentResult | None = None
        self._repeats = Repeats()
        self._redactor = EventRedactor(secrets)
        self._gathering = Gathering(self._happened)

    def end(self, reason: EndReason) -> None:
        """End the agent. The run is decided by the first reason, or by its last word before it."""
        self._gathering.flush()
        if self._result is None and self._end_reason is None:
            for event in self._redactor.rest():
                self._write(event)
            self._end_reason = reason
        if reason is EndReason.STOPPED:
            self._leaves_at = min(self._leaves_at, self._clock.monotonic() + RECORD_AT_STOP_S)
        if reason is not EndReason.TIME_LIMIT:
            self._is_awaited.set()
        self._stop.set()

    def hurry(self) -> None:
        """The next turn of the conversation is there: behind its answer the agent waits no more."""
        self._has_follower.set()

    async def perform(self, agents: Agents, workspaces: Workspaces, journal: Journal) -> Outcome:
        """Folder, agent, outcome. Raises nothing but the cancellation of its own job."""
        jobs = Jobs(self.request.run_id)
        self.started_at = self._clock.now()
        self._last_event_at = self._clock.monotonic()
        try:
            self.log.open()
            jobs.spawn(self._watch_time(), "watch time")
            result = await self._work(agents, workspaces, journal)
        except ExecutorError as error:
            _log.warning("%s: %s", self.request.run_id, error)
            result = AgentResult(error=error.message)
        except OSError as error:
            _log.exception("%s: the system refused what it needs", self.request.run_id)
            # Who writes into an open file is not told its name; ours are in the run's folder.
            place, reason = error.filename or self._folder, error.strerror or type(error).__name__
            failure = ExecutorError("files_failed", path=place, reason=reason)
            result = AgentResult(error=failure.message)
        except Exception:
            _log.exception("%s failed unexpectedly", self.request.run_id)
            result = AgentResult(error=ExecutorError("internal").message)
        finally:
            await jobs.close()
        # Of an agent that failed before it spoke this is the last word; it comes to nothing where
        # another was said or the run was ended.
        self.emit(result)
        return self.conclude(self._result or AgentResult(usage=result.usage))

    async def _work(self, agents: Agents, workspaces: Workspaces, journal: Journal) -> AgentResult:
        request = self.request
        for remark in request.remarks:
            self.emit(remark)
        agents.get(request.agent)  # nothing is fetched for one that is not there
        folder = await workspaces.prepare(
            request.workspace, run_id=request.run_id, emit=self.emit, stop=self._stop
        )
        agent = await self._choose(agents)
        agents.check_permission(agent.name, request.permission)
        if self._stop.is_set():
            return AgentResult()
        if request.new_session:
            await journal.forget_session(request.conversation_key)
        session_id = request.session_id
        if session_id is None:
            session_id = await journal.session(request.conversation_key, agent.name)
        # Agents of other packages need not know of either.
        goes_on = getattr(agent, "can_fork", False) and not session_id and not request.new_session
        inherited = request.inherited_session if goes_on else None
        if request.members and not getattr(agent, "takes_members", False):
            words = text("notice.members_ignored", count=len(request.members))
            self.emit(Notice(code="members_ignored", text=words))
        model = self._model_for(agent)
        assignment = Assignment(
            run_id=request.run_id,
            prompt=request.prompt,
            images=request.images,
            folder=folder,
            scratch=self._folder,
            private_home=self._private_home(workspaces, agent.name),
            session_id=session_id or inherited,
            is_fork=inherited is not None,
            members=request.members,
            model=replace(model, env=request.variables | model.env),
            system_prompt=request.system_prompt,
            permission=request.permission,
            mcp_servers=request.mcp_servers,
            extra_args=request.extra_args,
            is_trusted=await asyncio.to_thread(workspaces.is_trusted, folder),
            is_awaited=self._has_follower,
        )
        site = Site(
            folder=folder,
            task_folder=self._task_folder,
            scratch=self._folder,
            agent=agent.name,
            private_home=assignment.private_home,
        )
        is_follow_up = session_id is not None
        fetched = workspaces.with_files(
            request, site, is_follow_up=is_follow_up, emit=self.emit, stop=self._stop
        )
        async with fetched as told, self._recording(workspaces.recorder, folder):
            if self._stop.is_set():
                return AgentResult()
            self.emit(RunStarted(agent=agent.name, folder=str(folder)))
            assignment, notices = await asyncio.to_thread(
                with_usable_images, replace(assignment, prompt=told.prompt, images=told.images)
            )
            for notice in notices:
                self.emit(notice)
            return await self._converse(agent, assignment, journal)

    @asynccontextmanager
    async def _recording(self, recorder: Recorder | None, folder: Path) -> AsyncIterator[None]:
        """What becomes of the repository that `folder` lies in, inside the block, is recorded.

        Nobody waits for it: a run that is ended meanwhile does without.
        """
        if recorder is None:
            yield
            return
        begun: Beginning | None = None

        async def begin() -> None:
            nonlocal begun
            begun = await recorder.begin(folder, self._folder, self.emit)

        async def finish(begun: Beginning) -> None:
            self._artifacts = await recorder.finish(begun)

        await is_first(begin(), self._stop.wait())
        try:
            yield
        finally:
            if begun is not None:
                await is_first(finish(begun), self._patience())

    async def _patience(self) -> None:
        await self._is_awaited.wait()
        left_s = min(RECORD_AFTER_END_S, self._leaves_at - self._clock.monotonic())
        await self._clock.sleep(max(left_s, 0.3))

    async def _choose(self, agents: Agents) -> Agent:
        agent = agents.get(self.request.agent)
        if self.request.model.brings_access:
            return agent
        if (stand_in := await agents.stand_in_for(agent.name)) is None:
            return agent
        chosen, missing = stand_in
        reason = missing.problem.title if missing.problem else ""
        words = text("notice.stand_in", agent=missing.title, reason=reason)
        self.emit(Notice(code="stand_in", text=words))
        return chosen

    def _model_for(self, agent: Agent) -> ModelConfig:
        """What the task says of its model, with those of its variables that it may set."""
        # Agents of other packages need not have a list.
        names: Collection[str] = getattr(agent, "task_variables", ())
        found = task_variables(names, self.request.model.env)
        if found.refused:
            values = {"names": named(found.refused), "agent": agent.name}
            words = text("notice.variables_refused", **values)
            if not names:
                words = text("notice.variables_refused_all", **values)
            self.emit(Notice(code="variables_refused", text=words))
        return replace(self.request.model, env=found.kept)

    async def _converse(
        self, agent: Agent, assignment: Assignment, journal: Journal
    ) -> AgentResult:
        """Run the agent; a session that it cannot go on with is replaced by a new one, once.

        Work that was begun is not done a second time: then only the next turn gets the new session.
        """
        saving: list[asyncio.Task[None]] = []
        jobs = Jobs(f"{self.request.run_id} session")
        is_resumed = assignment.session_id is not None
        has_begun = False

        def emit(event: AgentEvent) -> None:
            nonlocal has_begun
            has_begun = has_begun or isinstance(event, TextDelta | ToolStarted)
            if isinstance(event, SessionStarted):
                save = journal.save_session(
                    self.request.conversation_key, agent.name, event.session_id
                )
                saving.append(jobs.spawn(save, "save"))
            if not (may_repeat() and _spoils_session(event)):
                self.emit(event)

        def may_repeat() -> bool:
            return is_resumed and not has_begun and not self._stop.is_set()

        try:
            result = await agent.run(assignment, emit, self._stop)
            if _spoils_session(result):
                forget = journal.forget_session(self.request.conversation_key, agent.name)
                saving.append(jobs.spawn(forget, "forget"))
                await asyncio.gather(*saving, return_exceptions=True)
                if may_repeat():
                    self.emit(_new_session(result))
                    is_resumed = False
                    afresh = replace(assignment, session_id=None, is_fork=False)
                    result = await agent.run(afresh, emit, self._stop)
            return result
        finally:
            await asyncio.gather(*saving, return_exceptions=True)
            await jobs.close()

    def _private_home(self, workspaces: Workspaces, agent: str) -> Path | None:
        if not self.request.model.brings_access:
            return None
        return workspaces.private_home(self._task_folder, agent)

    @property
    def _task_folder(self) -> str:
        match self.request.workspace:
            case Folder():
                return str(self.request.task_id or self.request.run_id)
            case GitClone(task_folder=name):
                return name
            case task:
                return task.name

    def emit(self, event: AgentEvent) -> None:
        """Write down what the agent did and pass it on, unless the run is decided already."""
        self._gathering.take(event)

    def _happened(self, event: AgentEvent) -> None:
        self._last_event_at = self._clock.monotonic()
        self._record(event)
        if (reason := self._repeats.is_stuck(event, self._last_event_at)) is not None:
            error = ExecutorError("same_error_again", count=self._repeats.count, reason=reason)
            self._record(AgentResult(error=error.message))
            self._stop.set()

    def _record(self, event: AgentEvent) -> None:
        for visible in self._redactor.through(event):
            self._write(visible)

    def _write(self, event: AgentEvent) -> None:
        if self._end_reason is not None or self._result is not None:
            return
        match event:
            case TextDelta(text=words):
                if self._text_length > MAX_TEXT:
                    return
                if self._first_text_at is None:
                    self._first_text_at = self._clock.now()
                self._text.append(words)
                self._text_length += len(words)
                if self._text_length > MAX_TEXT:
                    self._write(Notice(code="text_cut", text=text("notice.text_cut")))
            case SessionStarted(session_id=session_id):
                self._session_id = session_id
            case AgentResult():
                self._result = event
        self._owner.on_run_event(self, self.log.append(event))

    def conclude(self, result: AgentResult) -> Outcome:
        """The outcome, given the agent's last word and whether somebody ended the run before it."""
        error = result.error
        state = RunState.FAILED if error else RunState.COMPLETED
        match self._end_reason:
            case EndReason.CANCELLED:
                state, error = RunState.CANCELLED, None
            case EndReason.STOPPED:
                state, error = RunState.FAILED, ExecutorError("device_stopped").message
            case EndReason.TIME_LIMIT:
                state = RunState.FAILED
                time = _duration(self.request.limits.total_s)
                error = ExecutorError("time_limit", time=time).message
        return Outcome(
            state=state,
            text=result.answer("".join(self._text)),
            error=error,
            usage=result.usage,
            session_id=self._session_id,
            artifacts=self._artifacts,
            timings=Timings(
                accepted_at=self.row.accepted_at,
                started_at=self.started_at,
                first_text_at=self._first_text_at,
                finished_at=self._clock.now(),
            ),
        )

    def close(self, outcome: Outcome) -> None:
        """The outcome is recorded: say so to whoever follows the run."""
        self.log.append(RunEnded(outcome=outcome))
        self.log.close()

    async def _watch_time(self) -> None:
        """Warn when the agent is silent for long; end the run when its time is over."""
        limits = self.request.limits
        ends_at = self._clock.monotonic() + limits.total_s
        silent_since, warnings = self._last_event_at, 0
        while (now := self._clock.monotonic()) < ends_at:
            if self._last_event_at != silent_since:
                silent_since, warnings = self._last_event_at, 0
            warn_at = silent_since + (warnings + 1) * limits.silence_warning_s
            if now >= warn_at:
                warnings += 1
                words = text("notice.silent", minutes=int((now - silent_since) // 60))
                self._record(Notice(code="silent", text=words))
            else:
                await self._clock.sleep(min(ends_at, warn_at) - now)
        self._owner.on_time_over(self)


def _duration(seconds: float) -> Message:
    if seconds >= 7200:
        return Message("duration.hours", {"count": f"{seconds / 3600:g}"})
    if seconds >= 120:
        return Message("duration.minutes", {"count": f"{seconds / 60:g}"})
    return Message("duration.seconds", {"count": f"{seconds:g}"})


def _spoils_session(event: AgentEvent) -> bool:
    return isinstance(event, AgentResult) and remedy(event.error) is Remedy.NEW_SESSION


def _new_session(result: AgentResult) -> Notice:
    assert result.error is not None
    if result.error.code == "session_not_found":
        return Notice(code="session_lost", text=text("notice.session_lost"))
    reason = paragraph(result.error.title, result.error.detail)
    return Notice(code="session_replaced", text=text("notice.session_replaced", reason=reason))


def outcome_after_crash(row: RunRow, events: Iterable[AgentEvent], now: datetime) -> Outcome:
    """What became of a run that a crash cut off, decided from its event file alone.

    The agent's result if it was already said, else a failure that keeps the text so far.
    """
    words: list[str] = []
    first_text_at = session_id = None
    result: AgentResult | None = None
    for event in events:
        match event:
            case RunEnded(outcome=outcome):
                return outcome
            case TextDelta(text=more):
                words.append(more)
                first_text_at = first_text_at or event.at
            case SessionStarted():
                session_id = event.session_id
            case AgentResult():
                result = result or event
    if result is None:
        result = AgentResult(error=ExecutorError("interrupted").message)
    return Outcome(
        state=RunState.FAILED if result.error else RunState.COMPLETED,
        text=result.answer("".join(words)),
        error=result.error,
        usage=result.usage,
        session_id=session_id,
        timings=Timings(
            accepted_at=row.accepted_at,
            started_at=row.started_at,
            first_text_at=first_text_at,
            finished_at=now,
        ),
    )
