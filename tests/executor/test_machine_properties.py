"""The machine under every order of events that Hypothesis can think of."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

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
    Withdrawn,
    check_invariants,
    step,
)
from executor_core.model import RunState

_KEYS = st.integers(0, 6)
_FEW = st.integers(0, 3)


class Shell(RuleBasedStateMachine):
    """Carries out the commands as the real shell does, in every order the real world allows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(slots=2, queue_limit=4)
        self.offered = 0
        self.accepted: set[str] = set()
        self.said: Counter[tuple[type[Command], str]] = Counter()
        self.alive: set[str] = set()
        self.concluded: set[str] = set()
        self.decided: dict[str, str] = {}
        self.is_leaving = False
        self.leaves = 0

    @initialize(slots=st.integers(1, 3))
    def begin(self, slots: int) -> None:
        self.table = Table(slots=slots, queue_limit=4)

    def apply(self, event: MachineEvent) -> tuple[Command, ...]:
        self.table, commands = step(self.table, event)
        if isinstance(event, Offered) and not any(
            isinstance(c, Refuse | Announce) for c in commands
        ):
            assert not self.is_leaving
            self.accepted.add(event.entry.run_id)
        for command in commands:
            match command:
                case Start(run_id):
                    assert run_id in self.accepted
                    self.alive.add(run_id)
                case Abandon(run_id):
                    assert run_id in self.accepted
                    assert run_id not in self.alive
                    self.concluded.add(run_id)
                case Interrupt(run_id):
                    assert run_id in self.alive
                    self.decided.setdefault(run_id, "ended")
                case Leave():
                    assert self.is_leaving
                    assert self.accepted == self.concluded
                    self.leaves += 1
            if isinstance(command, Start | Abandon):
                self.said[type(command), command.run_id] += 1
        return commands

    # --- what may happen -------------------------------------------------------------------

    @rule(
        key=st.integers(0, 6), talk=st.integers(0, 3), folder=st.integers(0, 3), owed=st.booleans()
    )
    def offer(self, key: int, talk: int, folder: int, owed: bool) -> None:
        self.offered += 1
        run_id = f"run {self.offered}"
        known = self.known(str(key))
        entry = Entry(
            run_id=run_id,
            request_key=str(key),
            conversation_key=str(talk),
            directory_key=str(folder),
            awaits_delivery=owed,
        )
        answers = [
            command
            for command in self.apply(Offered(entry))
            if isinstance(command, Refuse | Announce)
        ]
        if known:
            assert answers == [Announce(known)]
        else:
            assert answers in ([], [Refuse(run_id, "draining")], [Refuse(run_id, "queue_full")])

    def known(self, key: str) -> str | None:
        active = {e.request_key: e.run_id for e in self.table.entries.values()}
        return active.get(key) or self.table.undelivered.get(key)

    def pick(self, data: st.DataObject, *states: RunState) -> str | None:
        found = [e.run_id for e in self.table.entries.values() if e.state in states]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data())
    def agent_starts(self, data: st.DataObject) -> None:
        if run_id := self.pick(data, RunState.PREPARING, RunState.STOPPING):
            self.apply(AgentStarting(run_id))

    @rule(data=st.data())
    def result_comes(self, data: st.DataObject) -> None:
        if run_id := self.pick(data, RunState.PREPARING, RunState.RUNNING, RunState.STOPPING):
            self.apply(ResultParsed(run_id))
            self.decided.setdefault(run_id, "result")

    @rule(data=st.data(), reason=st.sampled_from(EndReason))
    def somebody_ends_it(self, data: st.DataObject, reason: EndReason) -> None:
        run_id = self.pick(data, *RunState)
        if run_id is None:
            self.apply(EndAsked("nobody", reason))
            return
        commands = self.apply(EndAsked(run_id, reason))
        is_ended = any(isinstance(c, Interrupt | Abandon) and c.run_id == run_id for c in commands)
        if self.decided.get(run_id) == "result":
            assert not is_ended

    @rule(data=st.data())
    def outcome_is_recorded(self, data: st.DataObject) -> None:
        active = RunState.PREPARING, RunState.RUNNING, RunState.STOPPING
        if run_id := self.pick(data, *active):
            self.alive.discard(run_id)
            self.concluded.add(run_id)
            self.apply(Ended(run_id))

    @rule(data=st.data())
    def it_cannot_be_recorded(self, data: st.DataObject) -> None:
        if run_id := self.pick(data, *RunState):
            owed = self.table.undelivered
            self.alive.discard(run_id)
            self.concluded.add(run_id)
            self.apply(Withdrawn(run_id))
            assert self.table.undelivered == owed

    @rule(data=st.data())
    def outcome_is_delivered(self, data: st.DataObject) -> None:
        if self.table.undelivered:
            self.apply(Delivered(data.draw(st.sampled_from(sorted(self.table.undelivered)))))

    @rule(key=_KEYS)
    def refusal_is_recorded(self, key: int) -> None:
        if self.known(str(key)) is None:
            self.apply(RefusalRecorded(str(key), f"refusal {key}"))

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.apply(PauseSet(paused))

    @rule(slots=st.integers(1, 4))
    def slots_change(self, slots: int) -> None:
        self.apply(SlotsSet(slots))

    @precondition(lambda self: self.offered > 3)
    @rule()
    def drain(self) -> None:
        self.is_leaving = True
        self.apply(DrainAsked())

    @precondition(lambda self: self.offered > 6)
    @rule()
    def stop(self) -> None:
        self.is_leaving = True
        self.apply(StopAsked())

    # --- what must hold --------------------------------------------------------------------

    @invariant()
    def the_table_does_not_contradict_itself(self) -> None:
        check_invariants(self.table)
        assert set(self.table.entries) == self.accepted - self.concluded
        assert self.alive == {e.run_id for e in self.table.entries.values() if e.holds_slot}

    @invariant()
    def nobody_is_started_or_abandoned_twice(self) -> None:
        assert all(count == 1 for count in self.said.values())
        assert not any((Abandon, r) in self.said and (Start, r) in self.said for r in self.accepted)

    @invariant()
    def nobody_waits_who_could_run(self) -> None:
        table = self.table
        if table.is_paused or table.slots_used >= table.slots:
            return
        active = [e for e in table.entries.values() if e.holds_slot]
        for run_id in table.queued:
            waiting = table.entries[run_id]
            assert any(
                waiting.conversation_key == e.conversation_key
                or waiting.directory_key == e.directory_key
                for e in active
            )

    @invariant()
    def whoever_is_done_with_a_leave_has_left(self) -> None:
        if self.is_leaving and not self.table.entries:
            assert self.leaves

    def teardown(self) -> None:
        """Let the world go on to its end: every accepted run is concluded, once."""
        self.apply(PauseSet(False))
        self.apply(SlotsSet(1))
        self.is_leaving = True
        self.apply(DrainAsked())
        while self.alive:
            run_id = min(self.alive)
            self.alive.discard(run_id)
            self.concluded.add(run_id)
            self.apply(Ended(run_id))
        assert self.concluded == self.accepted
        assert not self.table.entries
        assert self.leaves


TestMachine = Shell.TestCase
TestMachine.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
