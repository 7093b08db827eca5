"""Runs one agent process from its first byte to its last descendant."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from executor_core.agents.agent import Dialogue, Emit
from executor_core.clock import Clock, wait_or
from executor_core.jobs import Jobs
from executor_core.model import AgentResult
from executor_core.process import ProcessTree

_log = logging.getLogger("executor.agents")

EXIT_GRACE_S = 10.0
"""How long a process may stay after its last word before it is ended."""


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
) -> AgentResult:
    """Start `argv`, hold the dialogue, end the whole tree; returns the agent's last word.

    A process that ends without one gives `dialogue.without_result`. Returns within 8 s of `stop`.
    """
    tree = await ProcessTree.spawn(argv, cwd=cwd, env=env, marker=marker, clock=clock)
    jobs = Jobs(f"run {marker}")
    over = asyncio.Event()
    result: AgentResult | None = None

    async def listen() -> None:
        nonlocal result
        try:
            async for line in tree.lines():
                if result is not None:
                    continue
                for event in dialogue.feed(line):
                    if isinstance(event, AgentResult):
                        result = event
                        over.set()
                    emit(event)
                if result is None and (answer := dialogue.outgoing()):
                    await tree.write(answer)
        finally:
            over.set()

    async def interrupt() -> None:
        if (word := dialogue.interrupt()) is not None:
            await tree.write(word)
            tree.close_stdin()

    async def watch_stop() -> None:
        await stop.wait()
        over.set()

    try:
        listening = jobs.spawn(listen(), "listen")
        jobs.spawn(watch_stop(), "watch stop")
        jobs.spawn(tree.write(dialogue.outgoing()), "open")
        await over.wait()
        if stop.is_set():
            await tree.end(interrupt=interrupt)
            return result or AgentResult()
        tree.close_stdin()
        exited = jobs.spawn(tree.wait(), "wait for exit")
        gone = asyncio.Event()
        exited.add_done_callback(lambda _: gone.set())
        if not await wait_or(gone, clock, EXIT_GRACE_S):
            _log.warning("an agent process stayed after its last word and is ended: %s", marker)
        await tree.end()
        await listening
        if result is None:
            result = dialogue.without_result(await tree.wait(), tree.stderr_tail)
            emit(result)
        return result
    finally:
        await tree.end()
        await jobs.close()
