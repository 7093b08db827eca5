"""The small port between the executor and its front doors."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol, TypeAlias

from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.journal import RunRow
from executor_core.model import AgentEvent, RunRequest


class Door(Protocol):
    """What a front door is told of the runs it asked for. Calls return at once, never raise."""

    def on_accepted(self, request: RunRequest) -> None:
        """The run is on disk; it will end in exactly one outcome."""

    def on_event(self, request: RunRequest, event: AgentEvent) -> None:
        """Something happened in the run; nothing follows `on_outcome`."""

    def on_outcome(self, row: RunRow) -> None:
        """The run ended. Deliver, then tell `Executor.delivered`."""

    def on_active_changed(self) -> None:
        """Other runs hold the slots, or wait, or may not start: see `Executor.table`."""


class Accepted(Struct, frozen=True):
    """The request became the run `run_id`, which may have to wait for a slot."""

    run_id: str


class Duplicate(Struct, frozen=True):
    """The request is already there as `run_id`; its door was told again where it stands."""

    run_id: str


class Refused(Struct, frozen=True):
    """Nothing was accepted, for the reason given."""

    error: ExecutorError


Admission: TypeAlias = Accepted | Duplicate | Refused


class CancelAnswer(StrEnum):
    """What a cancel found."""

    CANCELLING = "cancelling"
    TOO_LATE = "too_late"
    UNKNOWN = "unknown"
