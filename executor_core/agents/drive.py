"""Runs one agent process from its first byte to its last descendant."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from executor_core.agents.agent import Dialogue, Emit, ReadsStderr
from executor_core.agents.hearing import Hearing
from executor_core.clock import Clock, wait_or
from executor_core.jobs import Jobs
from executor_core.model import AgentResult
from executor_core.process import ProcessTree

_log = logging.getLogger("executor.agents")

EXIT_GRACE_S = 10.0
"""How long a process may stay after its last word before it is ended."""
FAILED_GRACE_S = 1.0
"""The same after a failure: it has nothing left to save, and some go on trying for minutes."""
MAX_STDERR = 4000
"""Characters of stderr that stand in for a last word."""


async def drive(
    dialogue: Dialogue,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    marker: str,
    clock: Clock,
    emit: Emit,
    stop: asyncio.Event,
    closes_input: bool = False,
    is_awaited: asyncio.Event | None = None,
) -> AgentResult:
    """Start `argv`, hold the dialogue, end the whole tree; returns the agent's last word.

    `closes_input` is for an agent that reads its input to the end before it begins. `is_awaited` is
    that of the assignment, for an agent that may go on behind its answer.

    A process that ends without one gives `dialogue.without_result`. Returns within 8 s of `stop`.
    """
    hearing = Hearing(dialogue, emit, clock)
    may_end = asyncio.Event()
    tree = await ProcessTree.spawn(
        argv,
        cwd=cwd,
        env=env,
        marker=marker,
        clock=clock,
        on_stderr=hearing.hear_stderr if isinstance(dialogue, ReadsStderr) else None,
    )
    jobs = Jobs(f"run {marker}")

    async def open_talk() -> None:
        await tree.write(dialogue.outgoing())
        if closes_input:
            tree.close_stdin()

    async def listen() -> None:
        try:
            async for lines in tree.batches():
                for line in lines:
                    hearing.hear(line, tree.skipped_lines)
                    if hearing.result is None and (answer := dialogue.outgoing()):
                        await tree.write(answer)
                await asyncio.sleep(0)  # others get their turn
        finally:
            hearing.over.set()

    async def interrupt() -> None:
        if (word := dialogue.interrupt()) is not None:
            await tree.write(word)
            tree.close_stdin()

    async def watch_stop() -> None:
        await stop.wait()
        hearing.over.set()
        may_end.set()

    async def watch_silence() -> None:
        while not hearing.over.is_set():
            hearing.changed.clear()
            if not await wait_or(hearing.changed, clock, hearing.left_s):
                hearing.lose_patience()

    async def watch_hurry(is_awaited: asyncio.Event) -> None:
        await is_awaited.wait()
        hearing.hurry()

    async def watch_exit() -> None:
        await tree.wait()
        may_end.set()

    try:
        listening = jobs.spawn(listen(), "listen")
        jobs.spawn(watch_stop(), "watch stop")
        jobs.spawn(watch_silence(), "watch silence")
        if is_awaited is not None:
            jobs.spawn(watch_hurry(is_awaited), "watch hurry")
        jobs.spawn(open_talk(), "open")
        await hearing.over.wait()
        if stop.is_set():
            await tree.end(interrupt=interrupt)
            return hearing.result or AgentResult()
        tree.close_stdin()
        jobs.spawn(watch_exit(), "watch exit")
        has_failed = hearing.result is not None and hearing.result.error is not None
        if not await wait_or(may_end, clock, FAILED_GRACE_S if has_failed else EXIT_GRACE_S):
            _log.warning("an agent process stayed after its last word and is ended: %s", marker)
        await tree.end()
        await listening
        return hearing.end(await tree.wait(), tree.stderr_tail[-MAX_STDERR:])
    finally:
        await tree.end()
        await jobs.close()
