"""As process 1: orphans are buried, and everybody else keeps the exit codes of their children."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil

from executor_core.jobs import Jobs
from executor_core.process import reap_orphans
from tests.process.children import ENV, HurriedClock, shell, spawn, until


@asynccontextmanager
async def as_process_1() -> AsyncIterator[None]:
    jobs = Jobs("tests")
    jobs.spawn(reap_orphans(HurriedClock(), is_first=True), "reap")
    try:
        yield
    finally:
        await jobs.close()


def adopted(count: int) -> list[psutil.Process]:
    """Children for whom nobody waits, as the orphans that process 1 inherits."""
    command = shell("exit 3")
    return [psutil.Process(os.posix_spawn(command[0], command, ENV)) for _ in range(count)]


async def test_no_orphan_stays_a_zombie() -> None:
    orphans = adopted(50)
    async with as_process_1():
        await until(lambda: not any(orphan.is_running() for orphan in orphans))


async def test_who_waits_for_a_child_gets_its_exit_code() -> None:
    async with as_process_1():
        tree = await spawn(shell("exit 5"))
        process = await asyncio.create_subprocess_exec(*shell("exit 6"))
        done = await asyncio.to_thread(subprocess.run, shell("exit 7"), check=False)
        assert [await tree.wait(), await process.wait(), done.returncode] == [5, 6, 7]
        await tree.end()


async def test_who_has_no_children_is_not_in_the_way() -> None:
    async with as_process_1():
        await asyncio.sleep(0.2)
        orphans = adopted(1)
        await until(lambda: not orphans[0].is_running())


async def test_elsewhere_nobody_is_buried() -> None:
    assert os.getpid() != 1
    async with asyncio.timeout(1):
        await reap_orphans(HurriedClock())
