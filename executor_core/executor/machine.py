"""Decides which run may start, wait, be refused or end. Pure: no clock, no loop, no files.

`step(table, event)` returns the next table and the commands that the shell must carry out. What a
run does while it lives (folder, agent, text) is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import replace

from executor_core.model import RunState

_IN_SLOT = (RunState.PREPARING, RunState.RUNNING, RunState.STOPPING)


class EndReason(StrEnum):
    """Why a run is ended before its agent said its last word."""

    CANCELLED = "cancelled"
    STOPPED = "stopped"
    TIME_LIMIT = "time_limit"


class Entry(Struct, kw_only=True, frozen=True):
    """A run that was accepted and has not ended.

    `is_settled`: its outcome is decided (result parsed, or told to end); the other of the two
    comes too late. `is_awaited`: a later turn of its conversation waits for its end.
    """

    run_id: str
    request_key: str
    conversation_key: str
    directory_key: str
    awaits_delivery: bool
    state: RunState = RunState.QUEUED
    is_settled: bool = False
    is_awaited: bool = False

    @property
    def holds_slot(self) -> bool:
        return self.state in _IN_SLOT


class WaitReason(StrEnum):
    """What a queued run waits for."""

    PAUSED = "paused"
    SLOT = "slot"
    CONVERSATION = "conversation"
    FOLDER = "folder"


class Waiting(Struct, frozen=True):
    """Why a run waits, and how many others are before it in that."""

    reason: WaitReason
    ahead: int


class Table(Struct, kw_only=True, frozen=True):
    """All the machine knows. `entries` in order of acceptance, `undelivered` by request key."""

    slots: int = 5
    queue_limit: int = 50
    is_paused: bool = False
    is_draining: bool = False
    is_stopping: bool = False
    entries: dict[str, Entry] = {}
    undelivered: dict[str, str] = {}

    @property
    def slots_used(self) -> int:
        return sum(entry.holds_slot for entry in self.entries.values())

    @property
    def queued(self) -> tuple[str, ...]:
        return tuple(e.run_id for e in self.entries.values() if e.state is RunState.QUEUED)

    def waiting(self) -> dict[str, Waiting]:
        """What each queued run waits for, in order of acceptance."""
        found: dict[str, Waiting] = {}
        before: list[Entry] = []
        for entry in self.entries.values():
            if entry.state is RunState.QUEUED:
                found[entry.run_id] = _wait_of(self, entry, before)
            before.append(entry)
        return found

    @property
    def standing(self) -> object:
        """Equal as long as the same runs hold the slots or wait, and for the same."""
        holds = tuple((e.run_id, e.holds_slot) for e in self.entries.values())
        return self.is_paused, self.is_draining, self.slots, holds


# --- events ------------------------------------------------------------------------------------


class Offered(Struct, frozen=True):
    """A door asks for a run. It is accepted where nothing is said against it."""

    entry: Entry


class AgentStarting(Struct, frozen=True):
    """The run's folder is ready."""

    run_id: str


class ResultParsed(Struct, frozen=True):
    """The agent said its last word, or it is certain that it never will."""

    run_id: str


class EndAsked(Struct, frozen=True):
    """A person cancelled the run, or its time is over."""

    run_id: str
    reason: EndReason


class Ended(Struct, frozen=True):
    """The run's outcome is recorded and its processes are gone."""

    run_id: str


class Withdrawn(Struct, frozen=True):
    """The run could not be recorded: it is as if nobody had asked for it."""

    run_id: str


class Delivered(Struct, frozen=True):
    """The server acknowledged the outcome, or will never take it."""

    request_key: str


class RefusalRecorded(Struct, frozen=True):
    """A request was refused, and the refusal awaits its delivery like an outcome."""

    request_key: str
    run_id: str


class PauseSet(Struct, frozen=True):
    """Start nothing new (True) or go on (False)."""

    paused: bool


class DrainAsked(Struct, frozen=True):
    """Refuse new work, finish what was accepted, then leave."""


class StopAsked(Struct, frozen=True):
    """End everything, then leave."""


class SlotsSet(Struct, frozen=True):
    """The user changed the number of slots. What runs, runs on."""

    slots: int


MachineEvent: TypeAlias = (
    Offered
    | AgentStarting
    | ResultParsed
    | EndAsked
    | Ended
    | Withdrawn
    | Delivered
    | RefusalRecorded
    | PauseSet
    | DrainAsked
    | StopAsked
    | SlotsSet
)


# --- commands ----------------------------------------------------------------------------------


class Refuse(Struct, frozen=True):
    """Answer with the error `code`; nothing was accepted."""

    run_id: str
    code: str


class Announce(Struct, frozen=True):
    """The request is already there as `run_id`: tell its door again where it stands."""

    run_id: str


class Start(Struct, frozen=True):
    """Begin the run's life."""

    run_id: str


class Interrupt(Struct, frozen=True):
    """End the run's agent now. What the run came to before that is kept."""

    run_id: str
    reason: EndReason


class Hurry(Struct, frozen=True):
    """Someone waits for the end of the run: it need not wait for what is in the background."""

    run_id: str


class Abandon(Struct, frozen=True):
    """Record the outcome of a run that never started."""

    run_id: str
    reason: EndReason


class Leave(Struct, frozen=True):
    """Nothing is left and nothing will come: the executor may end."""


Command: TypeAlias = Refuse | Announce | Start | Interrupt | Hurry | Abandon | Leave


class UnexpectedEventError(Exception):
    """An event that cannot happen in this state; carries both for the log."""

    def __init__(self, event: MachineEvent, entry: Entry | None) -> None:
        super().__init__(f"{event} does not fit {entry}")


def step(table: Table, event: MachineEvent) -> tuple[Table, tuple[Command, ...]]:
    """What follows from `event`. Raises UnexpectedEventError if it cannot be."""
    table, commands = _react(table, event)
    table, started = _fill_slots(table)
    table, hurried = _hurry(table)
    commands += started + hurried
    leaving = table.is_draining or table.is_stopping
    if (
        leaving
        and not table.entries
        and isinstance(event, DrainAsked | StopAsked | Ended | EndAsked | Withdrawn)
    ):
        commands += (Leave(),)
    return table, commands


def _react(table: Table, event: MachineEvent) -> tuple[Table, tuple[Command, ...]]:
    match event:
        case Offered(entry):
            return _admit(table, entry)
        case AgentStarting(run_id):
            entry = _expect(table, event, run_id, RunState.PREPARING, RunState.STOPPING)
            if entry.state is RunState.STOPPING:
                return table, ()
            return _put(table, replace(entry, state=RunState.RUNNING)), ()
        case ResultParsed(run_id):
            entry = _expect(table, event, run_id, *_IN_SLOT)
            return _put(table, replace(entry, is_settled=True)), ()
        case EndAsked(run_id, reason):
            return _end(table, run_id, reason)
        case Ended(run_id):
            return _retire(table, _expect(table, event, run_id, *_IN_SLOT)), ()
        case Withdrawn(run_id):
            return _without(table, run_id), ()
        case Delivered(request_key):
            rest = {k: v for k, v in table.undelivered.items() if k != request_key}
            return replace(table, undelivered=rest), ()
        case RefusalRecorded(request_key, run_id):
            return replace(table, undelivered={**table.undelivered, request_key: run_id}), ()
        case PauseSet(paused):
            return replace(table, is_paused=paused), ()
        case DrainAsked():
            # A pause would keep what was accepted waiting for ever.
            return replace(table, is_draining=True, is_paused=False), ()
        case StopAsked():
            table = replace(table, is_stopping=True)
            commands: tuple[Command, ...] = ()
            for run_id, entry in table.entries.items():
                if entry.is_settled:
                    # Its end stands; its process and its record only must not take their time.
                    commands += (Interrupt(run_id, EndReason.STOPPED),)
                table, more = _end(table, run_id, EndReason.STOPPED)
                commands += more
            return table, commands
        case SlotsSet(slots):
            return replace(table, slots=slots), ()
        case _:
            assert_never(event)


def _admit(table: Table, entry: Entry) -> tuple[Table, tuple[Command, ...]]:
    known = next(
        (e.run_id for e in table.entries.values() if e.request_key == entry.request_key),
        table.undelivered.get(entry.request_key),
    )
    if known is not None:
        return table, (Announce(known),)
    if table.is_draining or table.is_stopping:
        return table, (Refuse(entry.run_id, "draining"),)
    if len(table.queued) >= table.queue_limit:
        return table, (Refuse(entry.run_id, "queue_full"),)
    return _put(table, replace(entry, state=RunState.QUEUED)), ()


def _end(table: Table, run_id: str, reason: EndReason) -> tuple[Table, tuple[Command, ...]]:
    entry = table.entries.get(run_id)
    if entry is None or entry.is_settled:
        return table, ()
    if entry.state is RunState.QUEUED:
        return _retire(table, entry), (Abandon(run_id, reason),)
    stopping = replace(entry, state=RunState.STOPPING, is_settled=True)
    return _put(table, stopping), (Interrupt(run_id, reason),)


def _fill_slots(table: Table) -> tuple[Table, tuple[Command, ...]]:
    """Start what may start, oldest first; a blocked run lets younger ones pass."""
    commands: tuple[Command, ...] = ()
    while (entry := next(_startable(table), None)) is not None:
        table = _put(table, replace(entry, state=RunState.PREPARING))
        commands += (Start(entry.run_id),)
    return table, commands


def _hurry(table: Table) -> tuple[Table, tuple[Command, ...]]:
    """Tell each run, once, that the next turn of its conversation is there."""
    queued = {e.conversation_key for e in table.entries.values() if e.state is RunState.QUEUED}
    commands: tuple[Command, ...] = ()
    for entry in table.entries.values():
        if entry.holds_slot and not entry.is_awaited and entry.conversation_key in queued:
            table = _put(table, replace(entry, is_awaited=True))
            commands += (Hurry(entry.run_id),)
    return table, commands


def _startable(table: Table) -> Iterator[Entry]:
    if table.is_paused or table.is_stopping or table.slots_used >= table.slots:
        return
    active = [e for e in table.entries.values() if e.holds_slot]
    conversations = {e.conversation_key for e in active}
    directories = {e.directory_key for e in active}
    for entry in table.entries.values():
        if (
            entry.state is RunState.QUEUED
            and entry.conversation_key not in conversations
            and entry.directory_key not in directories
        ):
            yield entry


def _wait_of(table: Table, entry: Entry, before: list[Entry]) -> Waiting:
    active = [e for e in table.entries.values() if e.holds_slot]
    queued = sum(e.state is RunState.QUEUED for e in before)
    if table.is_paused:
        return Waiting(WaitReason.PAUSED, queued)
    if any(e.conversation_key == entry.conversation_key for e in active):
        same = sum(e.conversation_key == entry.conversation_key for e in before)
        return Waiting(WaitReason.CONVERSATION, same)
    if any(e.directory_key == entry.directory_key for e in active):
        return Waiting(
            WaitReason.FOLDER, sum(e.directory_key == entry.directory_key for e in before)
        )
    return Waiting(WaitReason.SLOT, queued)


def _expect(table: Table, event: MachineEvent, run_id: str, *states: RunState) -> Entry:
    entry = table.entries.get(run_id)
    if entry is None or entry.state not in states:
        raise UnexpectedEventError(event, entry)
    return entry


def _put(table: Table, entry: Entry) -> Table:
    return replace(table, entries={**table.entries, entry.run_id: entry})


def _without(table: Table, run_id: str) -> Table:
    return replace(table, entries={k: v for k, v in table.entries.items() if k != run_id})


def _retire(table: Table, entry: Entry) -> Table:
    undelivered = table.undelivered
    if entry.awaits_delivery:
        undelivered = {**undelivered, entry.request_key: entry.run_id}
    return replace(_without(table, entry.run_id), undelivered=undelivered)


def check_invariants(table: Table) -> None:
    """Raise AssertionError where the table contradicts itself; tests call it after every step."""
    active = [e for e in table.entries.values() if e.holds_slot]
    keys = [e.request_key for e in table.entries.values()]
    assert len(table.queued) <= table.queue_limit
    assert len({e.conversation_key for e in active}) == len(active)
    assert len({e.directory_key for e in active}) == len(active)
    assert len(set(keys)) == len(keys)
    assert not set(keys) & set(table.undelivered)
    assert all(run_id == e.run_id for run_id, e in table.entries.items())
    assert all(e.is_settled for e in active if e.state is RunState.STOPPING)
