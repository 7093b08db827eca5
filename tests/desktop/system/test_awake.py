"""Sleep, and keeping from it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from desktop.system.awake import KeepAwake, SystemSignals, keep_awake_command, slept, watch_sleep
from executor_core.jobs import Jobs
from tests.desktop.conftest import settle
from tests.support.clock import JumpingClock


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
    await settle()
    assert len(woken) == 2


def test_the_system_says_when_it_woke() -> None:
    told: list[str] = []
    signals = SystemSignals(lambda: told.append("now"))
    signals.on_sleep(True)
    assert told == []
    signals.on_sleep(False)
    assert told == ["now"]
    signals.close()
    signals.on_sleep(False)
    assert told == ["now"]


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
