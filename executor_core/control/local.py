"""The executor in this process."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from executor_core.clock import Clock, wait_or
from executor_core.control import pause
from executor_core.control.control import (
    LONGEST_PAUSE_S,
    LONGEST_RUN_S,
    MAX_KEPT_BYTES,
    MOST_SLOTS,
    STATUS_GAP_S,
    STATUS_REFRESH_S,
    RunDetail,
    RunSummary,
    Slots,
    Status,
    Submission,
    check_prompt,
)
from executor_core.control.pause import Pause, PauseFile
from executor_core.errors import ExecutorError
from executor_core.executor import CancelAnswer, Executor, Refused
from executor_core.jobs import Jobs
from executor_core.journal import RunRow
from executor_core.model import (
    AgentEvent,
    Availability,
    Folder,
    Limits,
    LinkStatus,
    ModelConfig,
    Notice,
    Resources,
    RunRequest,
    RunState,
    Source,
    TaskFolder,
    Workspace,
    new_run_id,
)
from executor_core.texts import text
from executor_core.unicode import encodable
from executor_core.workspace import RunChanges

if TYPE_CHECKING:
    import psutil

_log = logging.getLogger("executor.control")

LOOK_EVERY_S = 2.0
"""How soon it is noticed that the process is gone that asked for a run."""
_MAX_TITLE = 80
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,199}")


class Link(Protocol):
    """What the control surface needs of any link."""

    @property
    def status(self) -> LinkStatus:
        """Where it stands."""

    def credential_changed(self) -> None:
        """Use the new token at once."""

    def try_now(self) -> None:
        """Do not wait for the next attempt."""


class Presence(Struct, kw_only=True, frozen=True):
    """Who this executor is."""

    version: str
    pid: int
    device_id: str
    device_name: str


class LocalControl:
    """Implements Control. `leave` ends the program in the way a SIGTERM does.

    `measure` tells what each run uses, by run id; it blocks for some milliseconds.
    `ask_login_shell` looks again at what the owner's terminal has.
    """

    def __init__(
        self,
        *,
        executor: Executor,
        links: Sequence[Link],
        presence: Presence,
        api: Callable[[], str],
        leave: Callable[[], None],
        reload_credentials: Callable[[], Awaitable[None]],
        console: Callable[[], str | None],
        measure: Callable[[], Mapping[str, Resources]],
        clock: Clock,
        program_path: Callable[[], str] = str,
        ask_login_shell: Callable[[], Awaitable[None]],
        pauses: PauseFile | None = None,
    ) -> None:
        self._program_path = program_path
        self._ask_login_shell = ask_login_shell
        self._executor = executor
        self._links = links
        self._presence = presence
        self._api = api
        self._leave = leave
        self._reload_credentials = reload_credentials
        self._console = console
        self._measure = measure
        self._clock = clock
        self._jobs = Jobs("control")
        self._pauses = pauses
        self._keeping = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None
        self._paused = Pause()
        """How long and why, while it is paused."""

    async def close(self) -> None:
        """End a running pause timer."""
        await self._jobs.close()

    async def status(self) -> Status:
        used = await self._resources()
        table = self._executor.table
        return Status(
            program_path=self._program_path(),
            version=self._presence.version,
            pid=self._presence.pid,
            device_id=self._presence.device_id,
            device_name=self._presence.device_name,
            paused=table.is_paused,
            draining=table.is_draining or table.is_stopping,
            links=tuple(link.status for link in self._links),
            slots=Slots(used=table.slots_used, max=table.slots),
            queued=len(table.queued),
            outbox_pending=len(table.undelivered),
            api=self._api(),
            runs=tuple(self._summary(row, used) for row in self._executor.active),
            paused_until=self._paused.until,
            pause_reason=self._paused.reason,
            ended=self._executor.ended,
        )

    async def changes(self) -> AsyncIterator[Status]:
        told: Status | None = None
        while True:
            changed = self._executor.changes.next
            status = await self.status()
            if status != told:
                told = status
                yield status
            await self._clock.sleep(STATUS_GAP_S)
            if status.runs:
                await wait_or(changed, self._clock, STATUS_REFRESH_S)
            else:
                await changed.wait()

    async def runs(self, limit: int = 50, before: str | None = None) -> tuple[RunSummary, ...]:
        used = await self._resources()
        rows = await self._executor.history(limit, before)
        found = {row.run_id: self._summary(row) for row in rows}
        active = {row.run_id: self._summary(row, used) for row in self._executor.active}
        found |= {i: run for i, run in active.items() if before is None or i in found}
        return tuple(sorted(found.values(), key=lambda run: run.accepted_at, reverse=True))

    async def run(self, run_id: str) -> RunDetail:
        used = await self._resources()
        row = await self._executor.recorded(run_id)
        active = {row.run_id: self._summary(row, used) for row in self._executor.active}
        is_asked_for = row.awaits_delivery or row.delivered_at is not None
        return RunDetail(
            run=active.get(run_id) or self._summary(row),
            outcome=row.outcome,
            delivered=not row.awaits_delivery if is_asked_for else None,
            folder=await self._executor.folder(run_id),
        )

    def _summary(self, row: RunRow, used: Mapping[str, Resources] = {}) -> RunSummary:
        outcome = row.outcome
        return RunSummary(
            run_id=row.run_id,
            source=row.source,
            task_id=row.task_id,
            subtask_id=row.subtask_id,
            agent=row.agent,
            state=RunState(row.state),
            started_at=row.started_at,
            accepted_at=row.accepted_at,
            title=row.title,
            finished_at=outcome.timings.finished_at if outcome else None,
            error=outcome.error.code if outcome and outcome.error else None,
            waits_for_disk=row.run_id in self._executor.waiting_for_disk,
            resources=used.get(row.run_id),
        )

    async def _resources(self) -> Mapping[str, Resources]:
        if not self._executor.active:
            return {}
        return await asyncio.to_thread(self._measure)

    def events(self, run_id: str, after: int = 0) -> AsyncIterator[AgentEvent]:
        return self._executor.follow(run_id, after)

    async def submit(self, submission: Submission) -> str:
        submission = encodable(submission)
        _check(submission)
        self._executor.check_agent(submission.agent, submission.extra_args)
        run_id = new_run_id()
        workspace: Workspace = TaskFolder(name=run_id)
        if submission.folder is not None:
            # Whoever holds the owner's token speaks for the owner.
            workspace = Folder(path=submission.folder, is_owners_choice=True)
        request = RunRequest(
            run_id=run_id,
            source=Source.API,
            request_key=run_id,
            conversation_key=run_id,
            agent=submission.agent,
            prompt=submission.prompt,
            workspace=workspace,
            model=ModelConfig(model=submission.model),
            limits=Limits(total_s=submission.time_limit_s or LONGEST_RUN_S),
            title=_title(submission.prompt),
            reply_to=_kept(submission),
            extra_args=submission.extra_args,
        )
        answer = await self._executor.submit(request)
        if isinstance(answer, Refused):
            raise answer.error
        if submission.for_process is not None:
            watching = self._cancel_without(submission.for_process, run_id)
            self._jobs.spawn(watching, f"watch who asked for {run_id}")
        return run_id

    async def _cancel_without(self, pid: int, run_id: str) -> None:
        """Whoever was killed could not cancel what it asked for, and nobody else waits for it."""
        process = await asyncio.to_thread(_process, pid)
        while any(row.run_id == run_id for row in self._executor.active):
            if process is None or not await asyncio.to_thread(_lives, process):
                _log.warning(
                    "%s is cancelled: process %d, which asked for it, is gone", run_id, pid
                )
                words = text("notice.asker_gone")
                self._executor.cancel(run_id, Notice(code="asker_gone", text=words))
                return
            await self._clock.sleep(LOOK_EVERY_S)

    async def retry(self, run_id: str) -> str:
        row = await self._executor.recorded(run_id)
        if row.source is not Source.API:
            place = (row.address or row.source).partition("#")[0]
            raise ExecutorError("retry_elsewhere", run_id=run_id, place=place)
        if row.outcome is None:
            raise ExecutorError("retry_too_early", run_id=run_id)
        if "submission" not in row.reply_to:
            raise ExecutorError("retry_not_kept", run_id=run_id)
        return await self.submit(msgspec.convert(row.reply_to["submission"], Submission))

    async def cancel(self, run_id: str) -> CancelAnswer:
        answer = self._executor.cancel(run_id)
        if answer is CancelAnswer.UNKNOWN:
            await self._executor.recorded(run_id)
            return CancelAnswer.TOO_LATE
        return answer

    async def changes_of(self, run_id: str) -> RunChanges:
        return await self._executor.changes_of(run_id)

    async def artifact(self, run_id: str, name: str) -> bytes:
        return await self._executor.artifact(run_id, name)

    async def folders_in_use(self) -> tuple[str, ...]:
        return self._executor.folders_in_use

    async def agents(self, *, anew: bool = False) -> tuple[Availability, ...]:
        if anew:
            await self._ask_login_shell()
        return await self._executor.availability()

    async def pause(self, for_s: float | None = None, reason: str | None = None) -> Status:
        if for_s is not None:
            _check_duration("for_s", for_s, LONGEST_PAUSE_S)
        until = None if for_s is None else self._clock.now() + timedelta(seconds=for_s)
        self._begin_pause(Pause(until=until, reason=reason))
        await self._keep_pause()
        return await self.status()

    async def restore_pause(self) -> None:
        """Go on with the pause of the last time, unless its end has come."""
        kept = await pause.kept_in(self._pauses)
        if kept is None:
            return
        if kept.until is not None and kept.until <= self._clock.now():
            await self._keep_pause()
            return
        self._begin_pause(kept)
        end = f"until {kept.until:%Y-%m-%d %H:%M} UTC" if kept.until else "until it is taken back"
        why = f" ({kept.reason})" if kept.reason else ""
        _log.warning("still paused, as before the start, %s%s: nothing new is begun", end, why)

    def _begin_pause(self, wanted: Pause) -> None:
        self._end_timer()
        self._executor.pause()
        self._paused = wanted
        if wanted.until is not None:
            left_s = (wanted.until - self._clock.now()).total_seconds()
            self._timer = self._jobs.spawn(self._resume_after(left_s), "end of pause")

    async def _keep_pause(self) -> None:
        async with self._keeping:  # what holds at the end is what is written last
            is_paused = self._executor.table.is_paused
            await pause.keep(self._paused if is_paused else None, self._pauses)

    async def resume(self) -> Status:
        self._end_timer()
        self._executor.resume()
        await self._keep_pause()
        return await self.status()

    async def _resume_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._paused, self._timer = Pause(), None
        self._executor.resume()
        await self._keep_pause()

    def _end_timer(self) -> None:
        # Without waiting for it, so that of two calls at once one timer is left, not two.
        self._paused = Pause()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def resize(self, slots: int) -> Status:
        if not 1 <= slots <= MOST_SLOTS:
            raise ExecutorError("bad_value", name="slots", allowed=f"1 … {MOST_SLOTS}")
        self._executor.resize(slots)
        return await self.status()

    async def drain(self) -> Status:
        self._executor.drain()
        return await self.status()

    async def stop(self) -> None:
        self._leave()

    async def console(self) -> str | None:
        return self._console()

    async def try_links(self) -> None:
        for link in self._links:
            link.try_now()

    async def credential_changed(self) -> None:
        await self._reload_credentials()
        for link in self._links:
            link.credential_changed()


def _check(submission: Submission) -> None:
    """Raise ExecutorError for what no agent could be started with."""
    check_prompt(submission.prompt)
    if submission.folder is not None and not _is_path(submission.folder):
        raise ExecutorError("folder_missing", path=submission.folder)
    if submission.model is not None and not _MODEL.fullmatch(submission.model):
        raise ExecutorError("bad_value", name="model", allowed=_MODEL.pattern)
    if submission.time_limit_s is not None:
        _check_duration("time_limit_s", submission.time_limit_s, LONGEST_RUN_S)


def _check_duration(name: str, seconds: float, longest: float) -> None:
    if not 0 < seconds <= longest:
        raise ExecutorError("bad_value", name=name, allowed=f"0 < {name} ≤ {longest:.0f}")


def _title(prompt: str) -> str:
    """The first line of a prompt, cut to what fits a list."""
    line = prompt.strip().splitlines()[0].strip()
    return line if len(line) <= _MAX_TITLE else f"{line[: _MAX_TITLE - 1].rstrip()}…"


def _process(pid: int) -> psutil.Process | None:
    """That very process, whoever has its number later; None if it is gone."""
    import psutil

    with suppress(psutil.Error, ValueError, OverflowError):
        return psutil.Process(pid)
    return None


def _lives(process: psutil.Process) -> bool:
    import psutil

    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _kept(submission: Submission) -> dict[str, Any]:
    """What `retry` needs, unless it is too long to keep. It is for nobody in particular."""
    submission = replace(submission, for_process=None)
    if len(msgspec.json.encode(submission)) > MAX_KEPT_BYTES:
        return {}
    return {"submission": msgspec.to_builtins(submission)}


def _is_path(path: str) -> bool:
    """Whether the system can look for it; what it finds there shows when the run starts."""
    try:
        return bool(Path(path).expanduser().parts) and "\0" not in path
    except RuntimeError:  # the home of a user who does not exist
        return False
