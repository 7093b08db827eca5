"""What can be asked of a running executor, and the frozen answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Protocol

from msgspec import Meta, Struct

from executor_core.control.endpoint import (
    BODY_LIMIT_BYTES,
    endpoint,
    event_stream,
    said,
)
from executor_core.errors import ExecutorError
from executor_core.executor import CancelAnswer
from executor_core.model import (
    AgentEvent,
    Availability,
    LinkStatus,
    Outcome,
    Resources,
    RunEnded,
    RunState,
    Source,
)
from executor_core.workspace import RunChanges

LONGEST_RUN_S = 24 * 3600.0
LONGEST_PAUSE_S = 30 * 24 * 3600.0
MOST_SLOTS = 32
STATUS_GAP_S = 0.25
STATUS_REFRESH_S = 5.0
MAX_KEPT_BYTES = 32 * 1024
MAX_PROMPT_BYTES = 4 * 2**20
"""More than any model reads at once."""
PROMPT_BODY_BYTES = 6 * MAX_PROMPT_BYTES + BODY_LIMIT_BYTES
"""Room for the longest prompt, also where JSON spells each byte of it in six."""
MAX_LIST = 500
SIGN_LIMIT_S = 5.0
"""For what an executor answers at once: without that it hangs."""
AGENTS_LIMIT_S = 75.0
"""A login shell and an agent may both take their time."""
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def checked_run_id(run_id: str) -> str:
    """`run_id`, which may name a path or a folder. Raises ExecutorError `run_unknown`."""
    if not _RUN_ID.fullmatch(run_id):
        raise ExecutorError("run_unknown", run_id=run_id)
    return run_id


def check_prompt(prompt: str) -> None:
    """Raises ExecutorError `prompt_empty` or `prompt_too_long`."""
    if not prompt.strip():
        raise ExecutorError("prompt_empty")
    if len(prompt.encode(errors="replace")) > MAX_PROMPT_BYTES:
        raise ExecutorError("prompt_too_long", limit=MAX_PROMPT_BYTES // 2**20)


class Slots(Struct, kw_only=True, frozen=True):
    """How many runs live, and how many may."""

    used: int
    max: int


class RunSummary(Struct, kw_only=True, frozen=True):
    """A run in a list. `resources` only while processes of it live.

    With `waits_for_disk` it ended, but its end is not recorded yet, and no server is told of it.
    """

    run_id: str
    source: Source
    task_id: int | None
    subtask_id: int | None
    agent: str
    state: RunState
    started_at: datetime | None
    accepted_at: datetime
    title: str = ""
    finished_at: datetime | None = None
    error: str | None = None
    waits_for_disk: bool = False
    resources: Resources | None = None


class RunDetail(Struct, kw_only=True, frozen=True):
    """One run, its outcome, and whether the server has it (None: no server asked for it).

    `folder` is where its agent works or worked; None while it has not started.
    """

    run: RunSummary
    outcome: Outcome | None
    delivered: bool | None
    folder: str | None = None


class Status(Struct, kw_only=True, frozen=True):
    """The executor at a glance. Its JSON is a contract: fields may be added, never renamed."""

    version: str
    pid: int
    device_id: str
    device_name: str
    paused: bool
    draining: bool
    links: tuple[LinkStatus, ...]
    slots: Slots
    queued: int
    outbox_pending: int
    api: str
    runs: tuple[RunSummary, ...]
    paused_until: datetime | None = None
    pause_reason: str | None = None
    program_path: str = ""
    """Where agents are looked up, as a PATH: that of the user's login shell, once it answered."""
    ended: int = 0
    """How many runs have ended since it started; with this a run too short to be seen is told."""


class Submission(Struct, kw_only=True, frozen=True):
    """A run asked for on this computer. No `folder` means a fresh one.

    `time_limit_s` is more than nothing and at most `LONGEST_RUN_S`, which is also the default.
    The run is cancelled once the process `for_process` of this computer is gone.
    """

    prompt: str
    agent: str = "claude_code"
    folder: str | None = None
    model: str | None = None
    time_limit_s: float | None = None
    extra_args: tuple[str, ...] = ()
    for_process: int | None = None


class RunId(Struct):
    """The run that was accepted."""

    run_id: str


class Cancelled(Struct):
    """What the cancel found."""

    answer: CancelAnswer


class Done(Struct):
    """It was done."""

    done: bool = True


class Stopping(Struct):
    """The executor is about to end."""

    stopping: bool = True


class Console(Struct):
    """Where the console is, with a ticket that signs in once; null without a hub."""

    url: str | None


_PauseLength = Annotated[float, said(exclusiveMinimum=0, maximum=LONGEST_PAUSE_S)]
_Reason = Annotated[str, Meta(max_length=1000)]
_SlotCount = Annotated[int, said(minimum=1, maximum=MOST_SLOTS)]
_ListLength = Annotated[int, Meta(ge=1, le=MAX_LIST)]
_AnyRun = Annotated[str, Meta(max_length=100)]
NO_RUN = {"run_unknown": 404}
NOT_ACCEPTED = {"prompt_too_long": 413, "queue_full": 503, "draining": 503, "journal_failed": 507}
_NO_RETRY = {"retry_elsewhere": 409, "retry_not_kept": 409, "retry_too_early": 409}


class Control(Protocol):
    """Async methods returning frozen structs. Each may raise ExecutorError.

    The row above a method is how it is asked over HTTP: its route, its description and its stub in
    `RemoteControl` are made of that.
    """

    @endpoint("GET", "/api/status", limit_s=SIGN_LIMIT_S)
    async def status(self) -> Status:
        """The executor at a glance."""

    @event_stream("/api/status/events", event="status")
    def changes(self) -> AsyncIterator[Status]:
        """The status now, and again whenever something a person sees of it is different.

        Changes that come within `STATUS_GAP_S` are told together; what runs use is told every
        `STATUS_REFRESH_S`. A reader who is slow misses what was in between, never the last.
        `executor_lost` when the executor ends.
        """

    @endpoint("GET", "/api/runs")
    async def runs(
        self, limit: _ListLength = 50, before: _AnyRun | None = None
    ) -> tuple[RunSummary, ...]:
        """The active runs and the newest.

        All active ones and the newest `limit` of all, newest first. With `before`, a run id, only
        the newest `limit` of those older than that run: none if it is the oldest, or forgotten.
        """

    @endpoint("GET", "/api/runs/{run_id}", errors=NO_RUN)
    async def run(self, run_id: str) -> RunDetail:
        """One run. `run_unknown` if there is none."""

    @event_stream("/api/runs/{run_id}/agent-events", last=RunEnded, check="run", errors=NO_RUN)
    def events(self, run_id: str, after: int = 0) -> AsyncIterator[AgentEvent]:
        """What happened and happens in a run, until it ends.

        From `seq` > `after`, until RunEnded, which comes in every case, also where `after` lies
        behind it. `run_unknown` if there is no such run, `executor_lost` if the executor ended
        before the run did.
        """

    @endpoint(
        "POST",
        "/api/submissions",
        envelope=RunId,
        errors=NOT_ACCEPTED,
        body_limit=PROMPT_BODY_BYTES,
    )
    async def submit(self, submission: Submission) -> str:
        """Ask for a run; returns its run id.

        Refused with `prompt_empty`, `prompt_too_long`, `agent_unknown`, `extra_arg_refused`,
        `bad_value`, `queue_full`, `draining`, or `journal_failed` where the disk takes no record.
        """

    @endpoint(
        "POST",
        "/api/runs/{run_id}/retry",
        envelope=RunId,
        errors=NO_RUN | NOT_ACCEPTED | _NO_RETRY,
    )
    async def retry(self, run_id: str) -> str:
        """Ask once more for what this run was asked; the new run's id.

        Only for runs that this computer asked for: else `retry_elsewhere` names where. Refused with
        `run_unknown`, `retry_too_early` before it ended, `retry_not_kept` for one of more than
        `MAX_KEPT_BYTES`, or as by `submit`.
        """

    @endpoint("POST", "/api/runs/{run_id}/cancel", envelope=Cancelled, errors=NO_RUN)
    async def cancel(self, run_id: str) -> CancelAnswer:
        """End a run. `run_unknown` if there is none."""

    @endpoint("GET", "/api/runs/{run_id}/patch", errors=NO_RUN)
    async def changes_of(self, run_id: str) -> RunChanges:
        """What a run changed in a repository; empty while it runs. `run_unknown` if there is none.

        The patch in it is for reading; all of it is the artifact `changes.patch`.
        """

    @endpoint(
        "GET", "/api/runs/{run_id}/artifacts/{name}", errors=NO_RUN | {"artifact_unknown": 404}
    )
    async def artifact(self, run_id: str, name: str) -> bytes:
        """A file that a run made, as its outcome names it. `run_unknown`, `artifact_unknown`."""

    @endpoint("GET", "/api/folders-in-use")
    async def folders_in_use(self) -> tuple[str, ...]:
        """Where queued and running runs work: nobody else may delete or rewrite what is there."""

    @endpoint("GET", "/api/agents", limit_s=AGENTS_LIMIT_S)
    async def agents(self, *, anew: bool = False) -> tuple[Availability, ...]:
        """Which agents can work here; `anew`: the login shell is asked again before."""

    @endpoint("POST", "/api/pause")
    async def pause(
        self, for_s: _PauseLength | None = None, reason: _Reason | None = None
    ) -> Status:
        """Start nothing new, for a while or until it is resumed.

        `for_s` is `LONGEST_PAUSE_S` at most. The last call counts.
        """

    @endpoint("POST", "/api/resume")
    async def resume(self) -> Status:
        """Take back a pause."""

    @endpoint("POST", "/api/slots")
    async def resize(self, slots: _SlotCount) -> Status:
        """Have another number of slots until the executor ends.

        1 to `MOST_SLOTS`. What runs, runs on.
        """

    @endpoint("POST", "/api/drain")
    async def drain(self) -> Status:
        """Refuse new work, finish what was accepted, then end the executor."""

    @endpoint("POST", "/api/stop", envelope=Stopping, limit_s=SIGN_LIMIT_S)
    async def stop(self) -> None:
        """End all runs, then the executor."""

    @endpoint("POST", "/api/console", envelope=Console)
    async def console(self) -> str | None:
        """A fresh address of the console that signs in its first visitor; None without a hub."""

    @endpoint("POST", "/api/links/try", envelope=Done)
    async def try_links(self) -> None:
        """Links that wait for their next attempt make it now."""

    @endpoint("POST", "/api/credential", envelope=Done)
    async def credential_changed(self) -> None:
        """A token was entered or removed: links use it at once."""
