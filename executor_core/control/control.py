"""What can be asked of a running executor, and the frozen answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.executor import CancelAnswer
from executor_core.model import (
    AgentEvent,
    Availability,
    LinkStatus,
    Outcome,
    Resources,
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


class Control(Protocol):
    """Async methods returning frozen structs. Each may raise ExecutorError."""

    async def status(self) -> Status:
        """The executor at a glance."""

    def changes(self) -> AsyncIterator[Status]:
        """The status now, and again whenever something a person sees of it is different.

        Changes that come within `STATUS_GAP_S` are told together; what runs use is told every
        `STATUS_REFRESH_S`. A reader who is slow misses what was in between, never the last.
        `executor_lost` when the executor ends.
        """

    async def runs(self, limit: int = 50, before: str | None = None) -> tuple[RunSummary, ...]:
        """All active runs and the newest `limit` of all, newest first.

        With `before`, a run id, only the newest `limit` of those older than that run: none if it is
        the oldest, or forgotten.
        """

    async def run(self, run_id: str) -> RunDetail:
        """One run. `run_unknown` if there is none."""

    def events(self, run_id: str, after: int = 0) -> AsyncIterator[AgentEvent]:
        """What happened and happens in a run, from `seq` > `after`, until RunEnded.

        RunEnded comes in every case, also where `after` lies behind it. `run_unknown` if there is
        no such run, `executor_lost` if the executor ended before the run did.
        """

    async def submit(self, submission: Submission) -> str:
        """Ask for a run; returns its run id.

        Refused with `prompt_empty`, `prompt_too_long`, `agent_unknown`, `extra_arg_refused`,
        `bad_value`, `queue_full`, `draining`, or `journal_failed` where the disk takes no record.
        """

    async def retry(self, run_id: str) -> str:
        """Ask once more for what this run was asked; the new run's id.

        Only for runs that this computer asked for: else `retry_elsewhere` names where. Refused with
        `run_unknown`, `retry_too_early` before it ended, `retry_not_kept` for one of more than
        `MAX_KEPT_BYTES`, or as by `submit`.
        """

    async def cancel(self, run_id: str) -> CancelAnswer:
        """End a run. `run_unknown` if there is none."""

    async def changes_of(self, run_id: str) -> RunChanges:
        """What a run changed in a repository; empty while it runs. `run_unknown` if there is none.

        The patch in it is for reading; all of it is the artifact `changes.patch`.
        """

    async def artifact(self, run_id: str, name: str) -> bytes:
        """A file that a run made, as its outcome names it. `run_unknown`, `artifact_unknown`."""

    async def folders_in_use(self) -> tuple[str, ...]:
        """Where queued and running runs work: nobody else may delete or rewrite what is there."""

    async def agents(self, *, anew: bool = False) -> tuple[Availability, ...]:
        """Which agents can work here; `anew`: the login shell is asked again before."""

    async def pause(self, for_s: float | None = None, reason: str | None = None) -> Status:
        """Start nothing new, for a while (`LONGEST_PAUSE_S` at most) or until `resume`.

        The last call counts.
        """

    async def resume(self) -> Status:
        """Take back a pause."""

    async def resize(self, slots: int) -> Status:
        """Have another number of slots (1 to `MOST_SLOTS`) until the executor ends.

        What runs, runs on.
        """

    async def drain(self) -> Status:
        """Refuse new work, finish what was accepted, then end the executor."""

    async def stop(self) -> None:
        """End all runs, then the executor."""

    async def console(self) -> str | None:
        """A fresh address of the console that signs in its first visitor; None without a hub."""

    async def try_links(self) -> None:
        """Links that wait for their next attempt make it now."""

    async def credential_changed(self) -> None:
        """A token was entered or removed: links use it at once."""
