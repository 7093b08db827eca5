"""A repository that takes long to look at keeps nobody waiting, and changes no outcome."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from executor_core.executor.run import RECORD_AFTER_END_S, RECORD_AT_STOP_S
from executor_core.model import Artifact, RunState
from executor_core.workspace import Beginning, Recorder, Workspaces
from tests.executor.room import Room, opened
from tests.support.clock import JumpingClock
from tests.support.scripted_agent import ScriptedAgent


class SlowRecorder:
    """Looks before and after a run only when it is let."""

    def __init__(self) -> None:
        self.may_begin, self.may_finish = asyncio.Event(), asyncio.Event()
        self.may_begin.set()
        self.looking: asyncio.Queue[str] = asyncio.Queue()

    async def begin(self, folder: Path, run_folder: Path, emit: object) -> Beginning:
        self.looking.put_nowait("begin")
        await self.may_begin.wait()
        return cast("Beginning", "begun")

    async def finish(self, begun: Beginning) -> tuple[Artifact, ...]:
        self.looking.put_nowait("finish")
        await self.may_finish.wait()
        return (Artifact(name="changes.patch", path="/nowhere", size_bytes=1),)

    async def until_it_looks(self, which: str) -> None:
        async with asyncio.timeout(10):
            while await self.looking.get() != which:
                pass


@pytest.fixture
def recorder() -> SlowRecorder:
    return SlowRecorder()


@pytest.fixture
async def room(tmp_path: Path, clock: JumpingClock, recorder: SlowRecorder) -> AsyncIterator[Room]:
    async with opened(tmp_path, clock) as room:
        record_with(room, recorder)
        yield room


def record_with(room: Room, recorder: SlowRecorder) -> None:
    room.executor._workspaces = Workspaces(room.root, (), recorder=cast("Recorder", recorder))


async def come_to(room: Room, end: str) -> Any:
    """One run that says something, and then its end is begun."""
    await room.submit()
    performance = await room.agent.started()
    performance.say("So far")
    if end == "cancel":
        room.executor.cancel("run_1")
    else:
        performance.finish("Done.")
    return performance


async def test_a_cancel_does_without_the_first_look(room: Room, recorder: SlowRecorder) -> None:
    recorder.may_begin.clear()
    await room.submit()
    await recorder.until_it_looks("begin")
    room.executor.cancel("run_1")
    assert (await room.door.outcome()).state is RunState.CANCELLED
    assert not room.agent.is_waiting


async def test_a_cancel_leaves_the_last_look_three_seconds(
    room: Room, recorder: SlowRecorder, clock: JumpingClock
) -> None:
    await come_to(room, "cancel")
    await recorder.until_it_looks("finish")
    await clock.advance(RECORD_AFTER_END_S - 0.1)
    assert room.door.deliveries() == []
    await clock.advance(0.1)
    outcome = await room.door.outcome()
    assert (outcome.state, outcome.artifacts) == (RunState.CANCELLED, ())


async def test_nobody_is_in_a_hurry_after_a_result(
    room: Room, recorder: SlowRecorder, clock: JumpingClock
) -> None:
    await come_to(room, "result")
    await recorder.until_it_looks("finish")
    await clock.advance(25)
    recorder.may_finish.set()
    outcome = await room.door.outcome()
    assert (outcome.state, len(outcome.artifacts)) == (RunState.COMPLETED, 1)


@pytest.mark.parametrize(
    ("end", "state"), [("cancel", RunState.CANCELLED), ("result", RunState.COMPLETED)]
)
async def test_a_stop_hurries_the_last_look_at_a_run_that_had_ended_and_keeps_its_end(
    room: Room, recorder: SlowRecorder, clock: JumpingClock, end: str, state: RunState
) -> None:
    await come_to(room, end)
    await recorder.until_it_looks("finish")
    stopping = asyncio.Task(room.executor.stop(10))
    await clock.advance(RECORD_AFTER_END_S)
    await stopping
    [delivery] = room.door.deliveries()
    assert (delivery.end.state, delivery.end.text) == (state, "So far")


@pytest.mark.parametrize("was_cancelled", [False, True])
async def test_a_stop_leaves_the_record_no_more_time_than_the_executor_has(
    tmp_path: Path, clock: JumpingClock, recorder: SlowRecorder, was_cancelled: bool
) -> None:
    agent = ScriptedAgent(stubborn=True)
    async with opened(tmp_path, clock, agent) as room:
        record_with(room, recorder)
        await room.submit()
        performance = await agent.started()
        if was_cancelled:
            room.executor.cancel("run_1")
        stopping = asyncio.Task(room.executor.stop(10))
        await clock.advance(RECORD_AT_STOP_S - 1)
        performance.leave()
        await recorder.until_it_looks("finish")
        await clock.advance(1)
        async with asyncio.timeout(5):
            await stopping
        assert len(room.door.deliveries()) == 1


@pytest.mark.parametrize(
    ("end", "state", "code"),
    [
        ("cancel", RunState.CANCELLED, None),
        ("result", RunState.COMPLETED, None),
        ("stop", RunState.FAILED, "device_stopped"),
    ],
)
async def test_what_misses_the_deadline_of_a_stop_ends_as_was_decided(
    tmp_path: Path, clock: JumpingClock, end: str, state: RunState, code: str | None
) -> None:
    agent = ScriptedAgent(stubborn=True)
    async with opened(tmp_path, clock, agent) as room:
        await room.submit()
        performance = await agent.started()
        performance.say("So far")
        if end == "cancel":
            room.executor.cancel("run_1")
        elif end == "result":
            performance.conclude("Done.")
        room.patience_s = 0.01
    [delivery] = room.door.deliveries()
    async with opened(tmp_path, clock) as room:
        row = await room.executor.recorded("run_1")
        assert row.outcome == delivery.outcome
        assert (row.state, row.end.text) == (state, "So far")
        assert (row.end.error and row.end.error.code) == code
        assert len(await room.executor.undelivered(row.source)) == 1
