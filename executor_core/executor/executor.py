"""The thin shell around the machine: it carries out what the machine decides.

Every accepted run ends in exactly one outcome, which is on disk before anybody is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import assert_never

from msgspec.structs import replace

from executor_core.agents import Agents, forget_secrets
from executor_core.changes import Changes
from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.executor import machine
from executor_core.executor.backlog import Backlog
from executor_core.executor.machine import EndReason, Entry, Table
from executor_core.executor.port import (
    Accepted,
    Admission,
    CancelAnswer,
    Door,
    Duplicate,
    Refused,
)
from executor_core.executor.run import Run, outcome_after_crash
from executor_core.executor.run_folders import tidy
from executor_core.executor.stream import Secrets
from executor_core.jobs import Jobs
from executor_core.journal import Journal, RunRow, follow, read_events, started_in
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Availability,
    Notice,
    Outcome,
    RunEnded,
    RunRequest,
    RunStarted,
    Source,
)
from executor_core.texts import Message
from executor_core.unicode import encodable
from executor_core.workspace import RunChanges, Workspaces, read_changes

_log = logging.getLogger("executor.executor")

PRUNE_EVERY = 20
"""After so many ends, and at start, what is over the bounds of journal and disk is forgotten."""


class Executor:
    """Takes requests from doors, runs them in slots, keeps their outcomes until delivered."""

    def __init__(
        self,
        *,
        journal: Journal,
        agents: Agents,
        workspaces: Workspaces,
        runs_folder: Path,
        slots: int,
        clock: Clock,
        secrets: Secrets,
    ) -> None:
        self._journal = journal
        self._agents = agents
        self._workspaces = workspaces
        self._runs_folder = runs_folder
        self._clock = clock
        self._secrets = secrets
        self._table = Table(slots=slots)
        self._runs: dict[str, Run] = {}
        self._doors: dict[Source, Door] = {}
        self._jobs = Jobs("executor")
        self._backlog = Backlog(clock, self._jobs)
        self._unsaved: dict[str, RunRow] = {}
        """Ended runs on their way to the disk; those in the backlog are told from here."""
        self._unrecorded: set[str] = set()
        """Those of them of which the disk knows nothing, as of requests that were refused."""
        self.ended = 0
        """How many runs have ended since the start."""
        self._may_leave = False
        self.changes = Changes()
        """Told whenever a run, the queue, the outbox or a link stands differently."""
        self.left = asyncio.Event()
        """Set when a drain or stop found nothing left to do."""

    # --- life ------------------------------------------------------------------------------

    def attach(self, source: Source, door: Door) -> None:
        """Runs of this source report to `door` from now on."""
        self._doors[source] = door

    async def start(self) -> None:
        """Give the runs that a crash cut off their outcome, and learn what is undelivered."""
        for row in await self._journal.unfinished():
            events = await asyncio.to_thread(read_events, self._event_file(row.run_id))
            outcome = outcome_after_crash(row, events, self._clock.now())
            await self._journal.settle(row.run_id, outcome)
            forget_secrets(self._runs_folder / row.run_id)
            _log.warning("%s was cut off by a crash and ends as %s", row.run_id, outcome.state)
        undelivered: dict[str, str] = {}
        for source in Source:
            rows = await self._journal.undelivered(source)
            undelivered |= {row.request_key: row.run_id for row in rows}
        self._table = Table(slots=self._table.slots, undelivered=undelivered)
        self._jobs.spawn(self._prune(), "prune")

    async def stop(self, deadline_s: float) -> None:
        """End every run and record its outcome, also of those that are not gone by the deadline."""
        self._apply(machine.StopAsked())
        try:
            async with asyncio.timeout(deadline_s):
                await self.left.wait()
        except TimeoutError:
            _log.error("runs did not end in %.0f s: %s", deadline_s, ", ".join(self._runs))
        await self._jobs.close()
        await self._backlog.close()
        for run in list(self._runs.values()):
            if run.on_disk.is_set():
                # What it came to was decided at the latest by the stop.
                await self._settle(run, run.conclude(AgentResult()))
            run.log.close()

    # --- requests --------------------------------------------------------------------------

    async def submit(self, request: RunRequest) -> Admission:
        """Admit, recognise or refuse a request. An accepted one is on disk when this returns."""
        request = encodable(request)
        entry = Entry(
            run_id=request.run_id,
            request_key=request.request_key,
            conversation_key=request.conversation_key,
            directory_key=self._workspaces.directory_key(request.workspace),
            awaits_delivery=request.address is not None,
        )
        run = self._runs[request.run_id] = self._new_run(request)
        answer: Admission = Accepted(request.run_id)
        for command in self._apply(machine.Offered(entry)):
            match command:
                case machine.Announce(run_id):
                    answer = Duplicate(run_id)
                case machine.Refuse(code=code):
                    limit = self._table.queue_limit
                    answer = Refused(ExecutorError(code, limit=limit))
        if isinstance(answer, Accepted):
            accepting = self._jobs.spawn(self._accept(run), f"accept {request.run_id}")
            if (error := await asyncio.shield(accepting)) is not None:
                return Refused(error)
        else:
            self._forget(run)
        return answer

    async def refuse(self, request: RunRequest, error: Message) -> None:
        """Answer what cannot be accepted as durably as a run: recorded, then delivered.

        Only where the disk does not take it, it is delivered first: no restart contradicts it.
        """
        request = encodable(request)
        key = request.request_key
        keys = [entry.request_key for entry in self._table.entries.values()]
        if key in keys or key in self._table.undelivered:
            return
        run = self._new_run(request)
        outcome = run.conclude(AgentResult(error=error))
        if request.address is not None:
            self._apply(machine.RefusalRecorded(key, request.run_id))
        _log.warning("%s refused: %s", key, error.code)
        await self._save(run, outcome)

    def cancel(self, run_id: str, remark: Notice | None = None) -> CancelAnswer:
        """A person wants the run to end, or nobody wants it any more, as `remark` says."""
        entry = self._table.entries.get(run_id)
        if entry is None:
            return CancelAnswer.UNKNOWN
        if entry.is_settled:
            return CancelAnswer.TOO_LATE
        if remark is not None:
            self._runs[run_id].emit(remark)
        self._apply(machine.EndAsked(run_id, EndReason.CANCELLED))
        return CancelAnswer.CANCELLING

    def pause(self) -> None:
        """Start nothing new; requests wait in the queue."""
        self._apply(machine.PauseSet(True))

    def resume(self) -> None:
        """Take back a pause."""
        self._apply(machine.PauseSet(False))

    def resize(self, slots: int) -> None:
        """Have another number of slots from now on. What runs, runs on."""
        self._apply(machine.SlotsSet(slots))

    def drain(self) -> None:
        """Refuse new work, finish what was accepted; `left` is set at the end."""
        self._apply(machine.DrainAsked())

    # --- questions -------------------------------------------------------------------------

    @property
    def table(self) -> Table:
        """Slots, queue and states, as the machine sees them."""
        return self._table

    @property
    def active(self) -> tuple[RunRow, ...]:
        """Queued and running runs, oldest first."""
        return tuple(
            replace(run.row, state=entry.state, started_at=run.started_at)
            for entry in self._table.entries.values()
            if (run := self._runs.get(entry.run_id)) is not None
        )

    @property
    def folders_in_use(self) -> tuple[str, ...]:
        """Where queued and running runs work."""
        return tuple({entry.directory_key for entry in self._table.entries.values()})

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[AgentEvent]:
        """The events of a run with `seq > after`, past and to come, until it ended.

        Always ends with RunEnded, also where the event file is gone. Raises
        ExecutorError("run_unknown").
        """
        run = self._runs.get(run_id)
        if run is None:
            await self.recorded(run_id)
        last = after
        async for event in follow(self._event_file(run_id), after, run.log if run else None):
            last = event.seq
            yield event
            if isinstance(event, RunEnded):
                return
        # The event file is lost or never was: the run did not start, or the disk was full.
        outcome = (await self.recorded(run_id)).outcome
        if outcome is not None:
            yield RunEnded(seq=last + 1, at=outcome.timings.finished_at, outcome=outcome)

    # --- the outbox ------------------------------------------------------------------------

    async def undelivered(self, source: Source) -> list[RunRow]:
        """Every outcome that a door may tell its server now, oldest first.

        Of a run that is recorded only one that is on disk as well: a crash would give it another.
        """
        rows = {row.run_id: row for row in await self._journal.undelivered(source)}
        rows |= {
            run_id: row
            for run_id, row in self._waiting.items()
            if row.source is source and run_id in self._unrecorded
        }
        # The table knows of deliveries that the disk has not taken yet.
        owed = set(self._table.undelivered.values())
        return [row for run_id, row in rows.items() if run_id in owed]

    async def history(self, limit: int, before: str | None = None) -> list[RunRow]:
        """The newest runs, or those older than the run `before`, in any state.

        Newest first; the newest also has those that the disk did not take.
        """
        found = {row.run_id: row for row in await self._journal.recent(limit, before)}
        found |= {i: row for i, row in self._waiting.items() if before is None or i in found}
        return sorted(found.values(), key=lambda row: row.accepted_at, reverse=True)

    async def recorded(self, run_id: str) -> RunRow:
        """One run as the journal has it, or will have it. Raises ExecutorError("run_unknown")."""
        row = self._waiting.get(run_id) or await self._journal.run(run_id)
        if row is None and (run := self._runs.get(run_id)) is not None:
            row = run.row
        if row is None:
            raise ExecutorError("run_unknown", run_id=run_id)
        return row

    @property
    def waiting_for_disk(self) -> frozenset[str]:
        """Ended runs whose end no server is told before the disk takes it."""
        return frozenset(self._waiting)

    @property
    def _waiting(self) -> dict[str, RunRow]:
        """Ended runs that the disk did not take."""
        return {i: row for i, row in self._unsaved.items() if i in self._backlog}

    async def folder(self, run_id: str) -> str | None:
        """Where the run's agent works or worked; None while it has not started."""
        return await asyncio.to_thread(started_in, self._event_file(run_id))

    def check_agent(self, name: str, extra_args: Sequence[str] = ()) -> None:
        """Raises ExecutorError("agent_unknown") for a name that no agent here has.

        And ("extra_arg_refused") for further arguments of its command that it does not list.
        """
        self._agents.check_extra_args(name, extra_args)

    async def changes_of(self, run_id: str) -> RunChanges:
        """What the run changed, as it was recorded. Raises ExecutorError("run_unknown")."""
        await self.recorded(run_id)
        return await asyncio.to_thread(read_changes, self._runs_folder / run_id)

    async def artifact(self, run_id: str, name: str) -> bytes:
        """A file that the run made. Raises ExecutorError `run_unknown` or `artifact_unknown`."""
        outcome = (await self.recorded(run_id)).outcome
        for artifact in outcome.artifacts if outcome else ():
            if artifact.name == name:
                # Gone with the folder of an old run, which is as good as never there.
                with contextlib.suppress(OSError):
                    return await asyncio.to_thread(Path(artifact.path).read_bytes)
        raise ExecutorError("artifact_unknown", run_id=run_id, name=name)

    async def availability(self) -> tuple[Availability, ...]:
        """All agents of this computer."""
        return await self._agents.availability()

    async def past(self, request_key: str) -> RunRow | None:
        """The latest run of a request, if it has ended, also a delivered one."""
        row = await self._journal.latest(request_key)
        return row if row is not None and row.outcome is not None else None

    async def kept(self, conversation_key: str, name: str) -> str | None:
        """The newest `name` in a `reply_to` of that conversation. Raises "journal_failed"."""
        return await self._journal.kept(conversation_key, name)

    async def delivered(self, row: RunRow, error: str | None = None) -> None:
        """The server acknowledged the outcome, or (`error`) will never take it."""
        self._apply(machine.Delivered(row.request_key))
        run_id = row.run_id
        await self._backlog.write(run_id, lambda: self._journal.delivered(run_id, error))

    # --- RunOwner --------------------------------------------------------------------------

    def on_run_event(self, run: Run, event: AgentEvent) -> None:
        if isinstance(event, RunStarted):
            self._apply(machine.AgentStarting(run.request.run_id))
        elif isinstance(event, AgentResult):
            self._apply(machine.ResultParsed(run.request.run_id))
        if (door := self._doors.get(run.request.source)) is not None:
            door.on_event(run.request, event)

    def on_time_over(self, run: Run) -> None:
        self._apply(machine.EndAsked(run.request.run_id, EndReason.TIME_LIMIT))

    # --- carrying out ----------------------------------------------------------------------

    def _apply(self, event: machine.MachineEvent) -> tuple[machine.Command, ...]:
        before, entries = self._table.standing, self._table.entries
        try:
            self._table, commands = machine.step(self._table, event)
        except machine.UnexpectedEventError as error:
            _log.error("ignored: %s", error)
            return ()
        _note_states(entries, self._table.entries)
        for command in commands:
            self._carry_out(command)
        if self._table.standing != before:
            for door in self._doors.values():
                door.on_active_changed()
        self.changes.tell()
        return commands

    def _carry_out(self, command: machine.Command) -> None:
        match command:
            case machine.Start(run_id):
                self._jobs.spawn(self._live(self._runs[run_id]), run_id)
            case machine.Interrupt(run_id, reason):
                self._runs[run_id].end(reason)
            case machine.Hurry(run_id):
                self._runs[run_id].hurry()
            case machine.Abandon(run_id, reason):
                run = self._runs[run_id]
                run.end(reason)
                self._jobs.spawn(self._abandon(run), f"abandon {run_id}")
            case machine.Leave():
                self._may_leave = True
                self._leave_if_done()
            case machine.Refuse() | machine.Announce():
                pass  # answered by `submit`, which asked
            case _:
                assert_never(command)

    def _new_run(self, request: RunRequest) -> Run:
        folder = self._runs_folder / request.run_id
        self._secrets.hold(request.secrets)
        # It goes to disk and to lists, and nobody reads it before.
        request = replace(request, title=self._secrets.hide(request.title))
        return Run(request, folder=folder, clock=self._clock, owner=self, secrets=self._secrets)

    async def _accept(self, run: Run) -> ExecutorError | None:
        """Record the run; or why it is refused, for without a disk nothing can be promised."""
        request = run.request
        try:
            await self._journal.accept(request)
        except ExecutorError as error:
            return self._withdraw(run, error)
        except Exception:
            # Whatever it was, it must not hold a slot for ever.
            _log.exception("%s could not be recorded", request.run_id)
            return self._withdraw(run, ExecutorError("internal"))
        run.is_recorded = True
        run.on_disk.set()
        _log.info("%s accepted: %s, agent %s", request.run_id, request.request_key, request.agent)
        if (door := self._doors.get(request.source)) is not None:
            door.on_accepted(request)
        return None

    def _withdraw(self, run: Run, error: ExecutorError) -> ExecutorError:
        run_id = run.request.run_id
        _log.error("%s is not accepted: %s", run_id, error)
        if run_id in self._table.entries:
            self._forget(run)
            self._apply(machine.Withdrawn(run_id))
        # Else it was ended while it waited, and is answered as such.
        run.on_disk.set()
        return error

    async def _live(self, run: Run) -> None:
        await run.on_disk.wait()
        if not run.is_recorded:
            return
        run_id = run.request.run_id
        # Beside the agent's start, not before it: a commit takes as long as a process.
        started = self._backlog.write(run_id, lambda: self._journal.start(run_id))
        self._jobs.spawn(started, f"start {run_id}")
        outcome = await run.perform(self._agents, self._workspaces, self._journal)
        await self._settle(run, outcome)

    async def _settle(self, run: Run, outcome: Outcome) -> None:
        await self._save(run, outcome)
        if run.request.run_id in self._table.entries:
            self._apply(machine.Ended(run.request.run_id))

    async def _abandon(self, run: Run) -> None:
        await run.on_disk.wait()
        await self._save(run, run.conclude(AgentResult()))

    async def _save(self, run: Run, outcome: Outcome) -> None:
        """Record the outcome, tell the run's followers, and its door once the disk has it.

        Where nothing of the run is on disk its door is told at once.
        """
        request = run.request
        run_id = request.run_id
        outcome = encodable(outcome)
        row = run.row.ended(outcome)

        async def finish() -> None:
            await self._journal.finish(request, outcome)
            del self._unsaved[run_id]
            self._unrecorded.discard(run_id)
            if run.is_recorded:
                self._tell_outcome(row)

        self._unsaved[run_id] = row
        if not run.is_recorded:
            self._unrecorded.add(run_id)
        await self._backlog.write(run_id, finish)
        run.close(outcome)
        seconds = (outcome.timings.finished_at - outcome.timings.accepted_at).total_seconds()
        reason = f" ({outcome.error.code})" if outcome.error else ""
        _log.info("%s %s%s after %.1f s", run_id, outcome.state, reason, seconds)
        if not run.is_recorded:
            self._tell_outcome(row)
        self._forget(run)
        self._leave_if_done()
        self.ended += 1
        self.changes.tell()
        if self.ended % PRUNE_EVERY == 0 and not self._table.is_stopping:
            self._jobs.spawn(self._prune(), "prune")

    def _tell_outcome(self, row: RunRow) -> None:
        if row.address is not None and (door := self._doors.get(row.source)) is not None:
            door.on_outcome(row)
        self.changes.tell()

    def _forget(self, run: Run) -> None:
        self._runs.pop(run.request.run_id, None)
        self._secrets.release(run.request.secrets)

    def _leave_if_done(self) -> None:
        if self._may_leave and not self._runs:
            self.left.set()

    def _event_file(self, run_id: str) -> Path:
        return self._runs_folder / run_id / "events.jsonl"

    async def _prune(self) -> None:
        known = await self._journal.prune()
        others = known.owed | self._runs.keys() | self._unsaved.keys()
        now = self._clock.now().timestamp()
        await asyncio.to_thread(tidy, self._runs_folder, known.settled, others, now)


def _note_states(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> None:
    if not _log.isEnabledFor(logging.DEBUG):
        return
    for run_id, entry in after.items():
        if run_id not in before or before[run_id].state is not entry.state:
            _log.debug("%s is %s", run_id, entry.state)
    for run_id in before.keys() - after.keys():
        _log.debug("%s has left its place", run_id)
