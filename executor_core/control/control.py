"""What can be asked of a running executor, and the frozen answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from msgspec import Struct

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

LONGEST_RUN_S = 24 * 3600.0
LONGEST_PAUSE_S = 30 * 24 * 3600.0


class Slots(Struct, kw_only=True, frozen=True):
    """How many runs live, and how many may."""

    used: int
    max: int


class RunSummary(Struct, kw_only=True, frozen=True):
    """A run in a list. `resources` only while processes of it live."""

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
    resources: Resources | None = None


class RunDetail(Struct, kw_only=True, frozen=True):
    """One run, its outcome, and whether the server has it (None: no server asked for it)."""

    run: RunSummary
    outcome: Outcome | None
    delivered: bool | None


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


class Submission(Struct, kw_only=True, frozen=True):
    """A run asked for on this computer. No `folder` means a fresh one.

    `time_limit_s` is more than nothing and at most `LONGEST_RUN_S`, which is also the default.
    """

    prompt: str
    agent: str = "claude_code"
    folder: str | None = None
    model: str | None = None
    time_limit_s: float | None = None


class Control(Protocol):
    """Async methods returning frozen structs. Each may raise ExecutorError."""

    async def status(self) -> Status:
        """The executor at a glance."""

    async def runs(self, limit: int = 50) -> tuple[RunSummary, ...]:
        """All active runs and the newest `limit` of all, newest first."""

    async def run(self, run_id: str) -> RunDetail:
        """One run. `run_unknown` if there is none."""

    def events(self, run_id: str, after: int = 0) -> AsyncIterator[AgentEvent]:
        """What happened and happens in a run, from `seq` > `after`, until RunEnded.

        RunEnded comes in every case, also where `after` lies behind it. `run_unknown` if there is
        no such run, `executor_lost` if the executor ended before the run did.
        """

    async def submit(self, submission: Submission) -> str:
        """Ask for a run; returns its run id.

        Refused with `prompt_empty`, `agent_unknown`, `bad_value`, `queue_full` or `draining`.
        """

    async def cancel(self, run_id: str) -> CancelAnswer:
        """End a run. `run_unknown` if there is none."""

    async def agents(self) -> tuple[Availability, ...]:
        """Which agents can work here."""

    async def pause(self, for_s: float | None = None, reason: str | None = None) -> Status:
        """Start nothing new, for a while (`LONGEST_PAUSE_S` at most) or until `resume`.

        The last call counts.
        """

    async def resume(self) -> Status:
        """Take back a pause."""

    async def drain(self) -> Status:
        """Refuse new work, finish what was accepted, then end the executor."""

    async def stop(self) -> None:
        """End all runs, then the executor."""

    async def console(self) -> str | None:
        """A fresh address of the console that signs in its first visitor; None without a hub."""

    async def credential_changed(self) -> None:
        """A token was entered or removed: links use it at once."""
