import asyncio
import time
from collections.abc import Iterator
from itertools import count

import pytest

from executor_core.jobs import Jobs
from tests.support.watchdog import FATAL_S, Stall, Watchdog


class HandClock:
    """Shows what the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hand_clock() -> HandClock:
    return HandClock()


@pytest.fixture
def watchdog(hand_clock: HandClock) -> Iterator[Watchdog]:
    waits = count()
    watchdog = Watchdog(hand_clock, effort=lambda: (0.0, next(waits), 0.0))
    watchdog.install()
    yield watchdog
    watchdog.remove()


async def test_a_blocking_step_is_reported_with_its_job_and_coroutine(
    watchdog: Watchdog, hand_clock: HandClock
) -> None:
    async def slow_step() -> None:
        hand_clock.seconds += FATAL_S

    jobs = Jobs("room")
    await jobs.spawn(slow_step(), "work")
    [stall] = watchdog.take()
    assert stall.seconds == FATAL_S
    assert "room/work" in stall.callback
    assert "slow_step" in stall.callback


async def test_a_blocking_callback_is_reported_with_its_name_even_if_it_fails(
    watchdog: Watchdog, hand_clock: HandClock
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, _context: None)

    def slow_callback() -> None:
        hand_clock.seconds += 0.06
        raise RuntimeError("scripted")

    loop.call_soon(slow_callback)
    await asyncio.sleep(0)
    [stall] = watchdog.take()
    assert "slow_callback" in stall.callback


async def test_time_between_steps_is_not_counted(watchdog: Watchdog, hand_clock: HandClock) -> None:
    async def quick_steps() -> None:
        for _ in range(100):
            hand_clock.seconds += 0.01
            await asyncio.sleep(0)

    await Jobs("room").spawn(quick_steps(), "work")
    assert watchdog.take() == []


async def test_a_step_that_got_no_processor_is_not_counted(hand_clock: HandClock) -> None:
    watchdog = Watchdog(hand_clock, effort=lambda: (0.0, 0, 0.0))
    watchdog.install()

    async def starved_step() -> None:
        hand_clock.seconds += FATAL_S

    try:
        await Jobs("room").spawn(starved_step(), "work")
    finally:
        watchdog.remove()
    assert watchdog.take() == []


async def test_what_a_step_stood_in_line_is_taken_off(hand_clock: HandClock) -> None:
    waits, in_line = count(), iter((0.0, 0.4))
    watchdog = Watchdog(hand_clock, effort=lambda: (0.0, next(waits), next(in_line, 0.4)))
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def step() -> None:
        hand_clock.seconds += FATAL_S
        done.set_result(None)

    loop.call_soon(step)
    watchdog.install()
    try:
        await done
    finally:
        watchdog.remove()
    [stall] = watchdog.take()
    assert stall.seconds == pytest.approx(FATAL_S - 0.4)


async def test_a_step_that_computes_or_sleeps_is_counted() -> None:
    watchdog = Watchdog(least_s=0.02)
    watchdog.install()

    async def computing_step() -> None:
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass

    async def sleeping_step() -> None:
        time.sleep(0.03)  # noqa: ASYNC251, TID251  what the watchdog is there to catch

    jobs = Jobs("room")
    try:
        await jobs.spawn(computing_step(), "computing")
        await jobs.spawn(sleeping_step(), "sleeping")
    finally:
        watchdog.remove()
    names = {stall.callback for stall in watchdog.take()}
    assert any("computing" in name for name in names)
    assert any("sleeping" in name for name in names)


def test_a_stall_reads_as_milliseconds_and_name() -> None:
    assert str(Stall(0.5123, "room/work (slow)")) == "512 ms in room/work (slow)"
