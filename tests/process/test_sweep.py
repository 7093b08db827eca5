"""After a kill -9 of the executor, the next one ends what was left, and nothing else."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from executor_core.process import MARKER, marker_of, sweep
from tests.process.children import (
    ENV,
    HurriedClock,
    carriers_of,
    first_line,
    is_alive,
    python,
    spawn,
    told_by,
    until,
)

REPOSITORY = Path(__file__).resolve().parents[2]

EXECUTOR = """
import asyncio, sys
from pathlib import Path
from executor_core.clock import SystemClock
from executor_core.process import ProcessTree

async def main():
    for marker in sys.argv[1:]:
        script = "setsid nohup sleep 1000 & (setsid sleep 1000 &); sleep 1000; true"
        await ProcessTree.spawn(
            ["/bin/sh", "-c", script], cwd=Path("/"), env={"PATH": "/usr/bin:/bin"},
            marker=marker, clock=SystemClock(),
        )
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
NEXT_START = """
import asyncio, sys
from executor_core.clock import SystemClock
from executor_core.process import sweep

owner, *alive = sys.argv[1:]
print(len(asyncio.run(sweep(owner, alive=alive, clock=SystemClock()))))
"""

RESTLESS = """
import subprocess, time
while True:
    subprocess.Popen(["setsid", "sleep", "1000"], stdin=subprocess.DEVNULL)
    time.sleep(0.05)
"""
SHEDDING = """
import subprocess, time
subprocess.Popen(["setsid", "env", "-i", "/bin/sleep", "1000"])
time.sleep(1000)
"""
SHEDDING_ORPHAN = """
import subprocess, sys
sys.stdin.readline()
subprocess.run("(env -i setsid nohup sh -c 'echo $$; exec sleep 1000' 2>/dev/null &)", shell=True)
"""
ONCE_ITS_CHILD_IS_YOUNGER = """
import psutil, sys, time

agent, us = psutil.Process(int(sys.argv.pop())), psutil.Process()
while not any(child.create_time() > us.create_time() for child in agent.children()):
    time.sleep(0.01)
"""
WITH_A_CHILD = """
import subprocess, sys

child = subprocess.Popen(["sleep", "1000"])
"""
TELL_OF_THE_CHILD = """
print(child.poll())
child.kill()
child.wait()
"""


async def start(code: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        *arguments,
        env={**ENV, "PYTHONPATH": str(REPOSITORY)},
        stdout=asyncio.subprocess.PIPE,
    )


async def left(code: str, marker: str) -> asyncio.subprocess.Process:
    """An agent that lost its executor."""
    return await asyncio.create_subprocess_exec(
        *python(code), env={**ENV, MARKER: marker}, start_new_session=True
    )


async def answer(process: asyncio.subprocess.Process) -> bytes:
    async with asyncio.timeout(20):
        assert process.stdout is not None
        line = await process.stdout.readline()
    return line.strip()


async def close(process: asyncio.subprocess.Process) -> None:
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]


async def test_a_new_process_ends_what_a_killed_one_left() -> None:
    owner, other = uuid4().hex, uuid4().hex
    lost, kept, foreign = marker_of(owner, "1"), marker_of(owner, "2"), marker_of(other, "1")
    executor = await start(EXECUTOR, lost, kept, foreign)
    assert await answer(executor) == b"ready"
    await until(lambda: all(len(carriers_of(marker)) == 4 for marker in (lost, kept, foreign)))
    executor.kill()
    await close(executor)
    left, spared = carriers_of(lost), carriers_of(kept) | carriers_of(foreign)

    following = await start(NEXT_START, owner, "2")
    assert await answer(following) == b"4"
    await close(following)

    assert not carriers_of(lost)
    assert not any(map(is_alive, left))
    assert len(spared) == 8
    assert all(process.is_running() for process in spared)

    for abandoned in (owner, other):
        following = await start(NEXT_START, abandoned)
        assert await answer(following) == b"4"
        await close(following)
    assert not carriers_of(kept) | carriers_of(foreign)


async def test_what_a_left_agent_starts_after_us_is_swept() -> None:
    owner = uuid4().hex
    agent = await left(RESTLESS, marker_of(owner, "1"))

    following = await start(ONCE_ITS_CHILD_IS_YOUNGER + NEXT_START, owner, str(agent.pid))
    assert int(await answer(following)) > 1
    await close(following)

    await close(agent)
    assert not carriers_of(marker_of(owner, "1"))


async def test_a_descendant_that_shed_the_marker_is_swept() -> None:
    owner = uuid4().hex
    agent = await left(SHEDDING, marker_of(owner, "1"))
    its = psutil.Process(agent.pid)
    await until(lambda: told_by(its.children(), psutil.Process.name) == ["sleep"])
    [sleeper] = its.children()
    assert sleeper.environ() == {}

    following = await start(NEXT_START, owner)
    assert await answer(following) == b"2"
    await close(following)

    assert not is_alive(sleeper)
    await close(agent)


async def test_what_started_after_us_is_not_swept() -> None:
    owner = uuid4().hex
    tree = await spawn(
        python("import time; print('ready', flush=True); time.sleep(1000)"),
        marker=marker_of(owner, "1"),
    )
    await first_line(tree)

    assert await sweep(owner, alive=(), clock=HurriedClock()) == []

    assert psutil.Process(tree.pid).is_running()
    await tree.end()


async def test_an_owner_whose_name_begins_like_ours_is_a_stranger() -> None:
    owner = uuid4().hex
    executor = await start(EXECUTOR, marker_of(owner + "x", "1"))
    assert await answer(executor) == b"ready"
    executor.kill()
    await close(executor)

    first = await start(NEXT_START, owner)
    assert await answer(first) == b"0"
    second = await start(NEXT_START, owner + "x")
    assert await answer(second) != b"0"
    await close(first)
    await close(second)


async def test_an_executor_started_inside_a_left_run_does_not_end_itself() -> None:
    owner = uuid4().hex
    tree = await spawn(
        [sys.executable, "-c", NEXT_START, owner],
        marker=marker_of(owner, "1"),
        cwd=REPOSITORY,
    )
    assert [line async for line in tree.lines()] == [b"0"]
    assert await tree.wait() == 0
    await tree.end()


async def test_an_executor_started_inside_a_left_run_does_not_end_its_own_child() -> None:
    owner = uuid4().hex
    tree = await spawn(
        [sys.executable, "-c", WITH_A_CHILD + NEXT_START + TELL_OF_THE_CHILD, owner],
        marker=marker_of(owner, "1"),
        cwd=REPOSITORY,
    )
    assert [line async for line in tree.lines()] == [b"0", b"None"]
    await tree.end()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has tags")
async def test_an_orphan_that_shed_everything_is_swept_unless_somebody_may_have_it() -> None:
    owner = uuid4().hex
    tree = await spawn(python(SHEDDING_ORPHAN), marker=marker_of(owner, "1"))
    await tree.write(b"go\n")
    orphan = psutil.Process(int(await first_line(tree)))
    await until(lambda: MARKER not in orphan.environ() and orphan.name() == "sleep")

    running = await start(NEXT_START, owner, "1")
    stranger = await start(NEXT_START, uuid4().hex)
    assert [await answer(running), await answer(stranger)] == [b"0", b"0"]
    assert is_alive(orphan)
    following = await start(NEXT_START, owner)
    assert await answer(following) == b"1"

    assert not is_alive(orphan)
    for process in (running, stranger, following):
        await close(process)
    await tree.end()
