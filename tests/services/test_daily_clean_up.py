"""The clean-up that nobody asked for: at once, then every day, and never of work."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from executor_core.agents import AgentHost
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.workspaces import DAY_S, clean_daily
from executor_core.workspace import Inventory
from tests.support.clock import START, JumpingClock


class Computer:
    """What an inventory of folders without a repository asks for."""

    def __init__(self, clock: JumpingClock) -> None:
        self.clock = clock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An old empty workspace, and an old one with a file in it."""
    folder = tmp_path / "workspace"
    (folder / "empty").mkdir(parents=True)
    (folder / "work").mkdir()
    (folder / "work" / "notes.txt").write_text("nowhere else")
    for place in folder.rglob("*"):
        grow(place, 31)
    return folder


def grow(place: Path, days: float) -> None:
    moment = START.timestamp() - days * DAY_S
    os.utime(place, (moment, moment))


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    jobs = Jobs("test")
    yield jobs
    await jobs.close()


async def nowhere() -> tuple[str, ...]:
    return ()


async def until_it_sleeps(clock: JumpingClock) -> None:
    async with asyncio.timeout(10):
        while clock.next_deadline_s is None:
            await asyncio.sleep(0)


async def test_it_works_at_once_and_every_day_and_says_what_it_deleted(
    root: Path, clock: JumpingClock, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    inventory = Inventory(root, cast("AgentHost", Computer(clock)))
    jobs.spawn(clean_daily(inventory, 30, nowhere, clock), "clean")
    await until_it_sleeps(clock)
    assert [path.name for path in root.iterdir()] == ["work"]
    assert [record.getMessage() for record in caplog.records] == [
        "workspaces unused for 30 days: deleted empty (0 MB), could not delete none"
    ]

    (root / "next").mkdir()
    grow(root / "next", 29.5)
    await clock.advance(DAY_S)
    await until_it_sleeps(clock)
    assert [path.name for path in root.iterdir()] == ["work"]


@pytest.mark.parametrize("problem", [ExecutorError("executor_lost"), ValueError("unforeseen")])
async def test_where_runs_cannot_be_told_nothing_goes_and_the_next_day_comes(
    root: Path,
    clock: JumpingClock,
    jobs: Jobs,
    caplog: pytest.LogCaptureFixture,
    problem: Exception,
) -> None:
    answers = iter([problem, None])

    async def in_use() -> tuple[str, ...]:
        if (error := next(answers)) is not None:
            raise error
        return ()

    inventory = Inventory(root, cast("AgentHost", Computer(clock)))
    jobs.spawn(clean_daily(inventory, 30, in_use, clock), "clean")
    await until_it_sleeps(clock)
    assert (root / "empty").exists()
    assert "not cleaned up" in caplog.text
    await clock.advance(DAY_S)
    await until_it_sleeps(clock)
    assert not (root / "empty").exists()
