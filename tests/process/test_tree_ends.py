"""Ending a tree: whatever it does, nothing of it is left, in time."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import psutil
import pytest

from executor_core.clock import SystemClock
from executor_core.process import ProcessTree
from executor_core.process.processes import kill, relatives
from tests.process.children import (
    ENV,
    HurriedClock,
    carriers_of,
    first_line,
    is_alive,
    new_marker,
    python,
    shell,
    spawn,
    until,
)

DEAF = (
    "import signal, subprocess, time\n"
    "for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)\n"
)
CHILDREN = {
    "lone": shell("sleep 1000 & echo ready; exec sleep 1000"),
    "compound": shell("echo ready; sleep 1000; true"),
    "setsid": shell("setsid sh -c 'sleep 1000; true' & echo ready; sleep 1000; true"),
    "nohup": shell("nohup setsid sleep 1000 >/dev/null 2>&1 & echo ready; sleep 1000"),
    "double fork": python(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: print('ready', flush=True); time.sleep(1000)\n"
        "    os._exit(0)\n"
        "time.sleep(1000)\n"
    ),
    "deaf": python(DEAF + "print('ready', flush=True); time.sleep(1000)"),
    "deaf with deaf children": python(
        DEAF
        + "subprocess.Popen(['/bin/sleep', '1000'], start_new_session=True)\n"
        + "print('ready', flush=True); time.sleep(1000)"
    ),
    "without the marker": shell("env -i setsid /bin/sleep 1000 & echo ready; sleep 1000"),
    "stopped": shell("echo ready; kill -STOP $$; sleep 1000"),
}


async def members(tree: ProcessTree, marker: str) -> set[psutil.Process]:
    root = psutil.Process(tree.pid)
    return {root, *root.children(recursive=True)} | carriers_of(marker)


def alive(processes: set[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if is_alive(process)]


@pytest.mark.parametrize("kind", CHILDREN)
async def test_nothing_is_left_of(kind: str) -> None:
    marker = new_marker()
    tree = await spawn(CHILDREN[kind], marker=marker)
    await first_line(tree)
    processes = await members(tree, marker)
    assert alive(processes)

    await tree.end()

    assert not alive(processes)
    assert not carriers_of(marker)


@pytest.mark.parametrize(
    "kind", ["sleep 1000 &", "setsid sleep 1000 &", "nohup setsid sleep 1000 &"]
)
async def test_a_normal_exit_leaves_no_daemon(kind: str) -> None:
    marker = new_marker()
    tree = await spawn(shell(f"{kind} echo done"), marker=marker)
    assert await tree.wait() == 0
    await until(lambda: bool(carriers_of(marker)))  # whoever changes its program shows none

    await tree.end()

    assert not carriers_of(marker)


async def test_an_orphan_in_a_session_of_its_own_is_found_by_its_marker() -> None:
    marker = new_marker()
    tree = await spawn(shell("(setsid sleep 1000 >/dev/null 2>&1 &) ; exit 0"), marker=marker)
    await tree.wait()
    await until(lambda: len(carriers_of(marker)) == 1)  # whoever changes its program shows none
    (orphan,) = carriers_of(marker)

    await tree.end()

    assert not alive({orphan})


async def test_the_interrupt_comes_first_and_can_suffice() -> None:
    tree = await spawn(["/bin/cat"])
    asked = []

    async def interrupt() -> None:
        asked.append(True)
        tree.close_stdin()

    await tree.end(interrupt=interrupt)

    assert asked
    assert await tree.wait() == 0


async def test_sigint_is_tried_before_sigterm() -> None:
    code = "import time\ntry: print('ready', flush=True); time.sleep(1000)\n"
    tree = await spawn(python(code + "except KeyboardInterrupt: raise SystemExit(42)"))
    await first_line(tree)
    await tree.end()
    assert await tree.wait() == 42


async def test_sigterm_is_tried_before_sigkill() -> None:
    tree = await spawn(
        shell("trap '' INT; trap 'exit 43' TERM; echo ready; while :; do sleep 0.02; done")
    )
    await first_line(tree)
    await tree.end()
    assert await tree.wait() == 43


@pytest.mark.parametrize("failure", ["hangs", "raises"])
async def test_a_bad_interrupt_does_not_save_the_tree(failure: str) -> None:
    marker = new_marker()
    tree = await spawn(shell("sleep 1000; true"), marker=marker)

    async def interrupt() -> None:
        if failure == "raises":
            raise RuntimeError("the agent does not answer")
        await asyncio.Event().wait()

    await tree.end(interrupt=interrupt)
    assert not carriers_of(marker)


async def test_end_is_idempotent_and_shared() -> None:
    tree = await spawn(shell("sleep 1000; true"))
    await asyncio.gather(*(tree.end() for _ in range(5)))
    await tree.end()
    assert await tree.wait() < 0


async def test_a_cancelled_caller_does_not_stop_the_ending_and_waits_for_it() -> None:
    marker = new_marker()
    tree = await spawn(CHILDREN["deaf"], marker=marker)
    await first_line(tree)
    caller = asyncio.Task(tree.end())
    await asyncio.sleep(0.05)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not carriers_of(marker)
    await tree.end()


async def test_what_was_said_before_the_end_can_still_be_read() -> None:
    tree = await spawn(shell("echo said; sleep 1000"))
    await until(lambda: bool(tree._pipes._lines))
    await tree.end()
    assert [line async for line in tree.lines()] == [b"said"]


STORM = DEAF + (
    "import os\n"
    "for _ in range(3):\n"
    "    if os.fork() == 0:\n"
    "        os.setsid()\n"
    "        while True:\n"
    "            if os.fork() == 0:\n"
    "                if os.fork() == 0: os.setsid(); time.sleep(1000)\n"
    "                os._exit(0)\n"
    "            os.wait(); time.sleep(0.01)\n"
    "print('ready', flush=True)\n"
    "time.sleep(1000)\n"
)
HOPS = DEAF + (
    "import os\n"
    "print('ready', flush=True)\n"
    "while True:\n"
    "    if os.fork(): os._exit(0)\n"
    "    os.setsid(); time.sleep(0.002)\n"
)


@pytest.mark.slow
@pytest.mark.parametrize("code", [STORM, HOPS], ids=["storm", "hops"])
async def test_processes_that_keep_forking_do_not_outrun_the_end(code: str) -> None:
    marker = new_marker()
    tree = await ProcessTree.spawn(
        python(code), cwd=Path("/"), env=ENV, marker=marker, clock=SystemClock()
    )
    await first_line(tree)
    await asyncio.sleep(0.5)

    started = time.monotonic()
    await tree.end()

    assert time.monotonic() - started <= 20  # gross: 6.5 s of patience, and a machine under storm
    for _ in range(3):
        assert not carriers_of(marker)


async def test_an_ending_that_is_itself_cancelled_still_kills() -> None:
    marker = new_marker()
    tree = await spawn(CHILDREN["deaf with deaf children"], marker=marker)
    await first_line(tree)
    processes = await members(tree, marker)
    caller = asyncio.Task(tree.end())
    await asyncio.sleep(0.05)
    assert tree._ending is not None
    tree._ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await until(lambda: not alive(processes))
    await tree.wait()


async def test_a_recycled_pid_is_left_alone() -> None:
    ours, stranger = await spawn(shell("exit 0")), await spawn(["/bin/sleep", "1000"])
    await ours.wait()
    # The number is in use again, by a process that started at another time.
    recycled = psutil.Process(stranger.pid)
    vars(recycled)["_ident"] = (stranger.pid, 1.0)

    assert recycled not in relatives({recycled}, {new_marker()})
    kill({recycled})

    await asyncio.sleep(0.05)
    assert psutil.Process(stranger.pid).status() != psutil.STATUS_ZOMBIE
    await ours.end()
    await stranger.end()


async def test_a_foreign_tree_is_left_alone() -> None:
    one, other = await spawn(shell("sleep 1000; true")), await spawn(shell("sleep 1000; true"))
    await one.end()
    assert psutil.Process(other.pid).is_running()
    assert len(psutil.Process(other.pid).children()) == 1
    await other.end()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deaf with deaf children", "stopped"])
async def test_the_whole_ladder_takes_at_most_eight_seconds(kind: str) -> None:
    marker = new_marker()
    tree = await ProcessTree.spawn(
        CHILDREN[kind], cwd=Path("/"), env=ENV, marker=marker, clock=SystemClock()
    )
    await first_line(tree)
    started = time.monotonic()

    await tree.end(interrupt=asyncio.Event().wait)  # type: ignore[arg-type]

    assert 5.5 < time.monotonic() - started <= 8
    assert not carriers_of(marker)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
async def test_a_cancel_at_any_moment_leaves_nothing(seed: int) -> None:
    chance = random.Random(seed)
    marker = new_marker()
    kind = chance.choice(sorted(CHILDREN))
    tree = await spawn(CHILDREN[kind], marker=marker)
    await asyncio.sleep(chance.uniform(0, 0.1))
    processes = await members(tree, marker)
    started = time.monotonic()

    await tree.end()

    assert time.monotonic() - started < 8
    assert not alive(processes)
    assert not carriers_of(marker)


async def test_the_clock_of_these_tests_hurries() -> None:
    clock = HurriedClock()
    started = clock.monotonic()
    await clock.sleep(1)
    assert clock.monotonic() - started >= 0.9
