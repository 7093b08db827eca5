"""Playbooks of the machine: given a table, when an event comes, what follows."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from executor_core.executor.machine import (
    Abandon,
    AgentStarting,
    Announce,
    Command,
    Delivered,
    DrainAsked,
    EndAsked,
    Ended,
    EndReason,
    Entry,
    Interrupt,
    Leave,
    MachineEvent,
    Offered,
    PauseSet,
    RefusalRecorded,
    Refuse,
    ResultParsed,
    SlotsSet,
    Start,
    StopAsked,
    Table,
    UnexpectedEventError,
    Waiting,
    WaitReason,
    Withdrawn,
    check_invariants,
    step,
)
from executor_core.model import RunState

QUEUED, PREPARING, RUNNING, STOPPING = (
    RunState.QUEUED,
    RunState.PREPARING,
    RunState.RUNNING,
    RunState.STOPPING,
)
SETTLED = "settled"
CANCEL = EndAsked("a", EndReason.CANCELLED)


def entry(run_id: str, **fields: Any) -> Entry:
    wanted: dict[str, Any] = {
        "run_id": run_id,
        "request_key": f"key {run_id}",
        "conversation_key": f"conversation {run_id}",
        "directory_key": f"folder {run_id}",
        "awaits_delivery": True,
    }
    return Entry(**wanted | fields)


def table(*entries: Entry, **fields: Any) -> Table:
    return Table(entries={e.run_id: e for e in entries}, **fields)


def play(table: Table, *events: MachineEvent) -> tuple[Table, list[Command]]:
    said: list[Command] = []
    for event in events:
        table, commands = step(table, event)
        check_invariants(table)
        said += commands
    return table, said


def in_state(state: RunState | str) -> Table:
    """A table whose one run, `a`, is in that state; queued means held back by a pause."""
    if state == SETTLED:
        return table(entry("a", state=RUNNING, is_settled=True))
    given = RunState(state)
    one = entry("a", state=given, is_settled=given is STOPPING)
    return table(one, is_paused=given is QUEUED)


STATES = (QUEUED, PREPARING, RUNNING, SETTLED, STOPPING)
UNEXPECTED = "unexpected"
INTERRUPTED = (Interrupt("a", EndReason.CANCELLED),)

# What each event does to a run in each state: the state after it (None: it is gone) and the
# commands, or that it cannot be.
PLAYBOOK: dict[tuple[str, str], tuple[RunState | str | None, tuple[Command, ...]] | str] = {
    (QUEUED, "starting"): UNEXPECTED,
    (PREPARING, "starting"): (RUNNING, ()),
    (RUNNING, "starting"): UNEXPECTED,
    (SETTLED, "starting"): UNEXPECTED,
    (STOPPING, "starting"): (STOPPING, ()),
    (QUEUED, "result"): UNEXPECTED,
    (PREPARING, "result"): (PREPARING, ()),
    (RUNNING, "result"): (SETTLED, ()),
    (SETTLED, "result"): (SETTLED, ()),
    (STOPPING, "result"): (STOPPING, ()),
    (QUEUED, "cancel"): (None, (Abandon("a", EndReason.CANCELLED),)),
    (PREPARING, "cancel"): (STOPPING, INTERRUPTED),
    (RUNNING, "cancel"): (STOPPING, INTERRUPTED),
    (SETTLED, "cancel"): (SETTLED, ()),
    (STOPPING, "cancel"): (STOPPING, ()),
    (QUEUED, "ended"): UNEXPECTED,
    (PREPARING, "ended"): (None, ()),
    (RUNNING, "ended"): (None, ()),
    (SETTLED, "ended"): (None, ()),
    (STOPPING, "ended"): (None, ()),
    (QUEUED, "stop"): (None, (Abandon("a", EndReason.STOPPED), Leave())),
    (PREPARING, "stop"): (STOPPING, (Interrupt("a", EndReason.STOPPED),)),
    (RUNNING, "stop"): (STOPPING, (Interrupt("a", EndReason.STOPPED),)),
    (SETTLED, "stop"): (SETTLED, (Interrupt("a", EndReason.STOPPED),)),
    (STOPPING, "stop"): (STOPPING, (Interrupt("a", EndReason.STOPPED),)),
    (QUEUED, "drain"): (PREPARING, (Start("a"),)),
    (PREPARING, "drain"): (PREPARING, ()),
    (RUNNING, "drain"): (RUNNING, ()),
    (SETTLED, "drain"): (SETTLED, ()),
    (STOPPING, "drain"): (STOPPING, ()),
    (QUEUED, "offered again"): (QUEUED, (Announce("a"),)),
    (PREPARING, "offered again"): (PREPARING, (Announce("a"),)),
    (RUNNING, "offered again"): (RUNNING, (Announce("a"),)),
    (SETTLED, "offered again"): (SETTLED, (Announce("a"),)),
    (STOPPING, "offered again"): (STOPPING, (Announce("a"),)),
    (QUEUED, "resumed"): (PREPARING, (Start("a"),)),
    (PREPARING, "resumed"): (PREPARING, ()),
    (RUNNING, "resumed"): (RUNNING, ()),
    (SETTLED, "resumed"): (SETTLED, ()),
    (STOPPING, "resumed"): (STOPPING, ()),
    (QUEUED, "no slots"): (QUEUED, ()),
    (PREPARING, "no slots"): (PREPARING, ()),
    (RUNNING, "no slots"): (RUNNING, ()),
    (SETTLED, "no slots"): (SETTLED, ()),
    (STOPPING, "no slots"): (STOPPING, ()),
}
EVENTS: dict[str, MachineEvent] = {
    "starting": AgentStarting("a"),
    "result": ResultParsed("a"),
    "cancel": CANCEL,
    "ended": Ended("a"),
    "stop": StopAsked(),
    "drain": DrainAsked(),
    "offered again": Offered(entry("b", request_key="key a")),
    "resumed": PauseSet(False),
    "no slots": SlotsSet(0),
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_in_every_state(state: str, event: str) -> None:
    expected = PLAYBOOK[state, event]
    if isinstance(expected, str):
        with pytest.raises(UnexpectedEventError):
            step(in_state(state), EVENTS[event])
        return
    after, commands = play(in_state(state), EVENTS[event])
    left = after.entries.get("a")
    found: RunState | str | None = left.state if left else None
    if left and left.is_settled and left.state is RUNNING:
        found = SETTLED
    assert (found, tuple(commands)) == expected


@pytest.mark.parametrize("event", [AgentStarting("x"), ResultParsed("x"), Ended("x")])
def test_news_of_an_unknown_run_is_unexpected(event: MachineEvent) -> None:
    with pytest.raises(UnexpectedEventError, match="x"):
        step(table(), event)


def test_a_cancel_of_an_unknown_run_changes_nothing() -> None:
    assert step(table(), CANCEL) == (table(), ())


def test_five_run_at_once_and_the_sixth_waits_for_a_slot() -> None:
    six, said = play(table(), *(Offered(entry(name)) for name in "abcdef"))
    assert [c for c in said if isinstance(c, Start)] == [Start(name) for name in "abcde"]
    assert six.queued == ("f",)
    _, said = play(six, Ended("c"))
    assert said == [Start("f")]


def test_the_queue_is_bounded_and_refuses_in_words() -> None:
    full, _ = play(table(slots=0, queue_limit=2), *(Offered(entry(n)) for n in "ab"))
    _, said = play(full, Offered(entry("c")))
    assert said == [Refuse("c", "queue_full")]


@pytest.mark.parametrize("shared", ["conversation_key", "directory_key"])
def test_a_run_that_must_wait_for_another_lets_younger_ones_pass(shared: str) -> None:
    blocked = replace(entry("b"), **{shared: getattr(entry("a"), shared)})
    waiting, said = play(table(), *map(Offered, (entry("a"), blocked, entry("c"))))
    assert [c for c in said if isinstance(c, Start)] == [Start("a"), Start("c")]
    _, said = play(waiting, Ended("a"))
    assert said == [Start("b")]


def test_fewer_slots_end_nothing_and_more_slots_start_who_waits() -> None:
    given, _ = play(table(slots=2), *(Offered(entry(n)) for n in "abc"))
    fewer, said = play(given, SlotsSet(1), Ended("a"))
    assert said == []
    _, said = play(fewer, SlotsSet(2))
    assert said == [Start("c")]


def test_an_undelivered_outcome_makes_the_same_request_a_duplicate_until_it_is_delivered() -> None:
    ended, _ = play(table(), Offered(entry("a")), Ended("a"))
    again = Offered(entry("b", request_key="key a"))
    assert play(ended, again)[1] == [Announce("a")]
    assert play(ended, Delivered("key a"), again)[1] == [Start("b")]


def test_a_run_that_could_not_be_recorded_leaves_its_place_and_makes_no_duplicate() -> None:
    given, _ = play(table(slots=1), Offered(entry("a")), Offered(entry("b")))
    given, said = play(given, Withdrawn("a"))
    assert said == [Start("b")]
    assert not given.undelivered
    leaving, _ = play(given, DrainAsked())
    assert play(leaving, Withdrawn("b"))[1] == [Leave()]


def test_an_outcome_nobody_waits_for_makes_no_duplicate() -> None:
    given = entry("a", awaits_delivery=False)
    _, said = play(table(), Offered(given), Ended("a"), Offered(replace(given, run_id="b")))
    assert said == [Start("a"), Start("b")]


def test_a_run_cancelled_in_the_queue_is_a_duplicate_until_its_outcome_is_delivered() -> None:
    _, said = play(in_state(QUEUED), CANCEL, Offered(entry("b", request_key="key a")))
    assert said[-1] == Announce("a")


def test_a_recorded_refusal_makes_the_same_request_a_duplicate() -> None:
    _, said = play(table(), RefusalRecorded("key a", "r"), Offered(entry("a")))
    assert said == [Announce("r")]


@pytest.mark.parametrize("leaving", [DrainAsked(), StopAsked()])
def test_who_leaves_takes_nothing_new_but_still_knows_its_duplicates(leaving: MachineEvent) -> None:
    given, _ = play(in_state(RUNNING), leaving)
    assert play(given, Offered(entry("b")))[1] == [Refuse("b", "draining")]
    assert play(given, Offered(entry("b", request_key="key a")))[1] == [Announce("a")]


def test_a_drain_finishes_what_was_accepted_even_if_it_was_paused_and_leaves_at_the_end() -> None:
    given, _ = play(table(slots=1), PauseSet(True), *(Offered(entry(name)) for name in "ab"))
    draining, said = play(given, DrainAsked())
    assert said == [Start("a")]
    draining, said = play(draining, Ended("a"))
    assert said == [Start("b")]
    assert play(draining, Ended("b"))[1] == [Leave()]


@pytest.mark.parametrize("leaving", [DrainAsked(), StopAsked()])
def test_who_has_nothing_leaves_at_once(leaving: MachineEvent) -> None:
    assert play(table(), leaving)[1] == [Leave()]


def test_a_stop_ends_everything_and_leaves_when_the_last_run_is_recorded() -> None:
    given, _ = play(table(slots=1), *(Offered(entry(name)) for name in "ab"))
    stopping, said = play(given, StopAsked())
    assert said == [Interrupt("a", EndReason.STOPPED), Abandon("b", EndReason.STOPPED)]
    assert play(stopping, Ended("a"))[1] == [Leave()]


def test_the_last_cancelled_run_of_a_drain_lets_it_leave() -> None:
    given, _ = play(table(slots=0), Offered(entry("a")), DrainAsked())
    assert play(given, CANCEL)[1] == [Abandon("a", EndReason.CANCELLED), Leave()]


# --- who waits for what ------------------------------------------------------------------------


def test_a_queued_run_waits_for_its_conversation_its_folder_a_place_or_the_end_of_a_pause() -> None:
    given, _ = play(
        table(slots=2),
        Offered(entry("a")),
        Offered(entry("talks", conversation_key="conversation a")),
        Offered(entry("talks on", conversation_key="conversation a")),
        Offered(entry("shares", directory_key="folder a")),
        Offered(entry("b")),
        Offered(entry("c")),
    )
    assert given.waiting() == {
        "talks": Waiting(WaitReason.CONVERSATION, 1),
        "talks on": Waiting(WaitReason.CONVERSATION, 2),
        "shares": Waiting(WaitReason.FOLDER, 1),
        "c": Waiting(WaitReason.SLOT, 3),
    }
    paused, _ = play(given, PauseSet(True))
    assert set(paused.waiting().values()) == {Waiting(WaitReason.PAUSED, n) for n in range(4)}


def test_what_the_table_stands_for_changes_with_runs_places_and_pauses_only() -> None:
    given = in_state(RUNNING)
    assert play(given, ResultParsed("a"))[0].standing == given.standing
    for event in (Offered(entry("b")), PauseSet(True), SlotsSet(1), Ended("a")):
        assert play(given, event)[0].standing != given.standing
