"""A disk that takes nothing: no server is told what a restart would contradict."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from executor_core.errors import ExecutorError
from executor_core.executor import Duplicate, Refused
from executor_core.executor.backlog import TRY_AGAIN_S
from executor_core.journal import journal as journal_module
from executor_core.model import RunState, Source
from tests.executor.room import Room, opened, request
from tests.executor.test_executor import story
from tests.support.clock import JumpingClock


class Disk:
    """Takes what the journal writes about the life of runs, or is full."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self.refused = asyncio.Event()
        real_insert, real_settle = journal_module.Journal._insert, journal_module._settle

        def insert(*wanted: object) -> None:
            self._write()
            real_insert(*wanted)  # type: ignore[arg-type]

        def settle(db: sqlite3.Connection, run_id: str, outcome: object) -> None:
            self._write()
            real_settle(db, run_id, outcome)  # type: ignore[arg-type]

        patch.setattr(journal_module.Journal, "_insert", insert)
        patch.setattr(journal_module, "_settle", settle)

    def _write(self) -> None:
        if self.is_full:
            raise sqlite3.OperationalError("database or disk is full")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


async def saved_again(room: Room, clock: JumpingClock, run_id: str = "run_1") -> None:
    """Let the time of the next try come, and wait until it worked."""
    await clock.advance(TRY_AGAIN_S)
    async with asyncio.timeout(10):
        while run_id in room.executor._backlog:
            await asyncio.sleep(0.005)


async def refused(room: Room) -> ExecutorError:
    """Why the run is not accepted; its door answers as that of the device does."""
    answer = await room.executor.submit(request())
    assert isinstance(answer, Refused), answer
    await room.executor.refuse(request(), answer.error.message)
    return answer.error


async def ended(room: Room) -> None:
    """The run is over, whoever may be told of it."""
    async with asyncio.timeout(10):
        while not room.executor.ended:
            await asyncio.sleep(0)


async def test_a_run_the_disk_does_not_take_is_refused_in_words_and_starts_no_agent(
    room: Room, disk: Disk
) -> None:
    disk.is_full = True
    error = await refused(room)
    assert error.code == "journal_failed"
    assert "full" in error.message.detail
    assert not room.agent.is_waiting
    assert not room.executor.table.entries
    [delivery] = await room.executor.undelivered(Source.DEVICE)
    assert delivery.end.error == error.message


async def test_an_outcome_the_disk_does_not_take_is_told_to_no_server_before_it_does(
    room: Room, disk: Disk, clock: JumpingClock
) -> None:
    await room.submit()
    performance = await room.agent.started()
    disk.is_full = True
    performance.finish("Done.")
    await ended(room)
    assert room.executor.waiting_for_disk == {"run_1"}
    assert await room.executor.undelivered(Source.DEVICE) == []
    assert room.door.deliveries() == []
    assert not room.executor.table.slots_used
    assert await story(room) == ["RunStarted", "AgentResult", "RunEnded"]
    disk.is_full = False
    await saved_again(room, clock)
    [delivery] = await room.executor.undelivered(Source.DEVICE)
    assert delivery == await room.door.delivery()
    assert (await room.executor.recorded("run_1")).outcome == delivery.outcome
    assert not room.executor.waiting_for_disk


async def test_what_a_server_was_told_of_a_run_is_what_the_next_start_tells_it(
    tmp_path: Path, clock: JumpingClock, disk: Disk
) -> None:
    async with opened(tmp_path, clock) as room:
        await room.submit()
        performance = await room.agent.started()
        disk.is_full = True
        performance.finish("Done.")
        await ended(room)
        told = room.door.deliveries()
    disk.is_full = False
    async with opened(tmp_path, clock) as room:
        [delivery] = await room.executor.undelivered(Source.DEVICE)
        assert told == []
        assert (delivery.end.state, delivery.end.text) == (RunState.COMPLETED, "Done.")


async def test_the_same_request_is_a_duplicate_while_its_end_waits_for_the_disk(
    room: Room, disk: Disk
) -> None:
    await room.submit()
    performance = await room.agent.started()
    disk.is_full = True
    performance.finish("Done.")
    await ended(room)
    again = await room.executor.submit(request(run_id="run_2"))
    assert again == Duplicate("run_1")


@pytest.mark.parametrize("write", ["accept", "finish"])
async def test_a_failure_nobody_foresaw_holds_no_slot(
    room: Room, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("out of the blue")

    monkeypatch.setattr(room.journal, write, fail)
    answer = await room.executor.submit(request())
    if write == "finish":
        (await room.agent.started()).finish("Done.")
        await ended(room)
    else:
        assert isinstance(answer, Refused)
        assert answer.error.code == "internal"
    assert not room.executor.table.slots_used
    assert not room.door.deliveries()
    monkeypatch.undo()


async def test_a_run_that_is_cancelled_before_the_disk_refuses_it_gets_one_end(
    room: Room, disk: Disk
) -> None:
    disk.is_full = True
    submitting = asyncio.create_task(room.executor.submit(request()))  # noqa: TID251
    await asyncio.sleep(0)
    room.executor.cancel("run_1")
    answer = await submitting
    assert isinstance(answer, Refused)
    await room.executor.refuse(request(run_id="run_2"), answer.error.message)
    assert len(await room.executor.undelivered(Source.DEVICE)) == 1
    assert not room.executor.table.entries


async def test_what_was_delivered_before_it_was_saved_is_saved_as_delivered(
    room: Room, disk: Disk, clock: JumpingClock
) -> None:
    disk.is_full = True
    await refused(room)
    await room.deliver()
    disk.is_full = False
    await saved_again(room, clock)
    row = await room.executor.recorded("run_1")
    assert row.outcome is not None
    assert row.delivered_at == clock.now()
    assert not row.awaits_delivery


async def test_an_outcome_that_is_saved_later_is_offered_once(
    room: Room, disk: Disk, clock: JumpingClock
) -> None:
    disk.is_full = True
    await refused(room)
    await clock.advance(TRY_AGAIN_S * 3)
    assert len(await room.executor.undelivered(Source.DEVICE)) == 1
    disk.is_full = False
    await saved_again(room, clock)
    assert len(await room.executor.undelivered(Source.DEVICE)) == 1
    assert room.door.kinds().count("RunRow") == 1


async def test_a_stop_offers_the_disk_what_it_did_not_take(
    tmp_path: Path, clock: JumpingClock, disk: Disk
) -> None:
    async with opened(tmp_path, clock) as room:
        disk.is_full = True
        await refused(room)
        outcome = await room.door.outcome()
        disk.is_full = False
    async with opened(tmp_path, clock) as room:
        [delivery] = await room.executor.undelivered(Source.DEVICE)
        assert delivery.outcome == outcome


async def test_a_run_whose_events_find_no_room_goes_on_to_its_outcome(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.submit()
    performance = await room.agent.started()
    performance.say("one")
    await asyncio.sleep(0)
    real_write = os.write

    def full(file: int, data: bytes) -> int:
        if data.startswith(b'{"kind":'):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(file, data)

    monkeypatch.setattr(os, "write", full)
    performance.say("two")
    performance.finish()
    outcome = await room.door.outcome()
    assert (outcome.state, outcome.text) == (RunState.COMPLETED, "onetwo")
    assert room.texts() == ["one", "two"]
    assert await story(room) == ["RunStarted", "TextDelta", "RunEnded"]


async def test_a_run_without_a_place_for_its_events_goes_on_to_its_outcome(room: Room) -> None:
    (room.folder / "runs").write_text("a file stands where the folder should be")
    outcome = await room.complete()
    assert outcome.state is RunState.COMPLETED
    assert await story(room) == ["RunEnded"]


async def test_a_follower_gets_the_end_of_a_run_that_no_disk_knows(room: Room, disk: Disk) -> None:
    (room.folder / "runs").write_text("a file stands where the folder should be")
    disk.is_full = True
    await refused(room)
    assert await story(room) == ["RunEnded"]


@pytest.mark.parametrize("named", [True, False])
async def test_what_an_agent_cannot_write_is_said_with_its_place_and_the_reason(
    room: Room, named: bool
) -> None:
    await room.submit()
    performance = await room.agent.started()
    place = "/home/ada/.codex" if named else str(room.folder / "runs" / "run_1")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    full.filename = place if named else None
    performance.say("So far")
    performance.fail(full)
    outcome = await room.door.outcome()
    assert outcome.error is not None
    assert (outcome.text, outcome.error.code) == ("So far", "files_failed")
    assert outcome.error.detail == f"{place}: No space left on device."
    assert "room" in outcome.error.hint


async def test_a_run_that_no_disk_took_is_known_until_one_does(
    room: Room, disk: Disk, clock: JumpingClock
) -> None:
    disk.is_full = True
    await refused(room)
    outcome = await room.door.outcome()
    row = await room.executor.recorded("run_1")
    assert (row.state, row.outcome) == (RunState.FAILED, outcome)
    assert await room.executor.history(10) == [row]
    disk.is_full = False
    await saved_again(room, clock)
    assert await room.executor.recorded("run_1") == row
    assert await room.executor.history(10) == [row]


async def test_a_run_whose_end_finds_no_room_is_told_as_ended_with_its_own_times(
    room: Room, disk: Disk, clock: JumpingClock
) -> None:
    await room.submit()
    await room.agent.started()
    disk.is_full = True
    room.executor.cancel("run_1")
    await ended(room)
    [row] = await room.executor.history(10)
    disk.is_full = False
    await saved_again(room, clock)
    outcome = await room.door.outcome()
    assert (row.state, row.outcome) == (RunState.CANCELLED, outcome)
    row = await room.executor.recorded("run_1")
    assert (row.accepted_at, row.started_at) == (
        outcome.timings.accepted_at,
        outcome.timings.started_at,
    )
