"""Sleep, and keeping from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from executor_core.changes import Changes
from executor_core.jobs import Jobs
from executor_core.services.awake import (
    TICK_S,
    KeepAwake,
    keep_awake_command,
    slept,
    stay_awake_at_work,
    watch_sleep,
)
from tests.support.clock import JumpingClock


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    jobs = Jobs("test")
    yield jobs
    await jobs.close()


def test_a_gap_of_the_wall_clock_is_a_sleep() -> None:
    then = datetime(2026, 3, 1, tzinfo=UTC)
    assert not slept(then, then + timedelta(seconds=20))
    assert slept(then, then + timedelta(minutes=5))
    assert not slept(then, then - timedelta(hours=1))


class SleepyClock(JumpingClock):
    """Each sleep takes as long on the wall as the test says."""

    def __init__(self, *wall_s: float) -> None:
        super().__init__()
        self._left = list(wall_s)
        self._at = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self._at

    async def sleep(self, seconds: float) -> None:
        if not self._left:
            await asyncio.Event().wait()
        self._at += timedelta(seconds=self._left.pop(0))


async def test_links_are_tried_after_each_sleep_and_not_else(jobs: Jobs) -> None:
    woken: list[int] = []

    async def on_wake() -> None:
        woken.append(1)

    jobs.spawn(watch_sleep(SleepyClock(15, 3600, 15, 600), on_wake), "watch")
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(woken) == 2


async def test_what_keeps_the_system_awake_ends_with_its_input() -> None:
    awake = KeepAwake("linux")
    awake._command = ["cat"]  # what both systems' commands run
    await awake.hold(True)
    await awake.hold(True)
    holder = awake._holder
    assert holder is not None
    assert holder.returncode is None
    await awake.hold(False)
    assert holder.returncode == 0


async def test_a_system_that_cannot_be_kept_awake_is_left_alone() -> None:
    awake = KeepAwake("linux")
    awake._command = ["no-such-program-here"]
    await awake.hold(True)
    await awake.hold(False)


def test_every_system_has_its_way_to_stay_awake() -> None:
    assert keep_awake_command("win32") is None
    for platform in ("linux", "darwin"):
        assert (keep_awake_command(platform) or [])[-1] == "cat"


class Held(KeepAwake):
    """Notes what is asked of the system."""

    def __init__(self) -> None:
        super().__init__("none")
        self.told: list[bool] = []

    async def hold(self, is_wanted: bool) -> None:
        self.told.append(is_wanted)


class Work:
    """An executor as far as it counts here: whether runs live, and what the option says."""

    def __init__(self, jobs: Jobs) -> None:
        self.awake, self.clock, self.changes = Held(), JumpingClock(), Changes()
        self.runs, self.is_wanted = 0, True
        self.job = jobs.spawn(
            stay_awake_at_work(
                self.awake,
                self.clock,
                self.changes,
                is_working=lambda: self.runs > 0,
                is_wanted=lambda: self.is_wanted,
            ),
            "stay awake",
        )

    async def says(self, is_held: bool) -> None:
        async with asyncio.timeout(5):
            while not self.awake.told or self.awake.told[-1] is not is_held:
                await asyncio.sleep(0.001)

    def turns(self, runs: int) -> None:
        self.runs = runs
        self.changes.tell()


async def test_the_computer_stays_awake_from_the_first_run_to_the_last(jobs: Jobs) -> None:
    work = Work(jobs)
    await work.says(False)
    work.turns(2)
    await work.says(True)  # at once: no time passes here
    work.turns(0)
    async with work.clock.jumping():
        await work.says(False)


async def test_the_option_counts_while_runs_live(jobs: Jobs) -> None:
    work = Work(jobs)
    work.is_wanted = False
    work.turns(1)
    for is_wanted in (False, True, False):
        work.is_wanted = is_wanted
        async with work.clock.jumping():
            await work.says(is_wanted)
    assert TICK_S <= 15


async def test_nothing_is_held_when_the_executor_ends(jobs: Jobs) -> None:
    work = Work(jobs)
    work.turns(1)
    await work.says(True)
    work.job.cancel()
    await work.says(False)
