import asyncio

import pytest

from executor_core.clock import wait_or
from executor_core.jobs import Jobs
from tests.support.clock import START, JumpingClock, settle


async def test_sleepers_wake_in_order_and_at_their_own_moment(clock: JumpingClock) -> None:
    jobs = Jobs("test")
    woke: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woke.append((name, clock.monotonic()))

    for name, seconds in (("late", 30.0), ("early", 10.0), ("never", 31.0)):
        jobs.spawn(sleeper(name, seconds), name)
    await clock.advance(30)
    assert woke == [("early", 1010.0), ("late", 1030.0)]
    await jobs.close()


async def test_a_job_that_sleeps_again_wakes_again_within_one_advance(clock: JumpingClock) -> None:
    jobs = Jobs("test")
    beats: list[float] = []

    async def heart() -> None:
        while True:
            await clock.sleep(30)
            beats.append(clock.monotonic())

    jobs.spawn(heart(), "heart")
    await clock.advance(100)
    assert beats == [1030.0, 1060.0, 1090.0]
    await jobs.close()


async def test_wall_time_moves_with_the_monotonic_one(clock: JumpingClock) -> None:
    await clock.advance(90)
    assert (clock.now() - START).total_seconds() == 90


async def test_a_cancelled_sleeper_is_no_deadline(clock: JumpingClock) -> None:
    assert not await _interrupted_wait(clock)
    assert clock.next_deadline_s is None


async def _interrupted_wait(clock: JumpingClock) -> bool:
    job = asyncio.Task(wait_or(asyncio.Event(), clock, 10))
    await settle()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    return False


async def test_jumping_lets_a_day_of_waits_pass_at_once(clock: JumpingClock) -> None:
    async with clock.jumping():
        for _ in range(24):
            await clock.sleep(3600)
    assert clock.monotonic() == 1000 + 24 * 3600


async def test_a_loop_that_never_rests_is_an_error(clock: JumpingClock) -> None:
    jobs = Jobs("test")

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    jobs.spawn(spin(), "spin")
    with pytest.raises(AssertionError, match="still busy"):
        await clock.advance(1)
    await jobs.close()
