"""Runs one agent process from its first byte to its last descendant."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from executor_core.agents.agent import Dialogue, Emit, ReadsStderr
from executor_core.clock import Clock, wait_or
from executor_core.jobs import Jobs
from executor_core.model import AgentEvent, AgentResult, Notice
from executor_core.process import ProcessTree
from executor_core.texts import text

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
) -> AgentResult:
    """Start `argv`, hold the dialogue, end the whole tree; returns the agent's last word.

    `closes_input` is for an agent that reads its input to the end before it begins.

    A process that ends without one gives `dialogue.without_result`. Returns within 8 s of `stop`.
    """
    over = asyncio.Event()
    may_end = asyncio.Event()
    result: AgentResult | None = None

    def take(events: Iterable[AgentEvent]) -> None:
        nonlocal result
        for event in events:
            if isinstance(event, AgentResult):
                result = event
                over.set()
            emit(event)

    def hear(line: bytes) -> None:
        if result is None and isinstance(dialogue, ReadsStderr):
            take(dialogue.feed_stderr(line))

    tree = await ProcessTree.spawn(
        argv,
        cwd=cwd,
        env=env,
        marker=marker,
        clock=clock,
        on_stderr=hear if isinstance(dialogue, ReadsStderr) else None,
    )
    jobs = Jobs(f"run {marker}")

    has_told = False

    def tell_of_gaps() -> None:
        nonlocal has_told
        if tree.skipped_lines and not has_told:
            has_told = True
            emit(Notice(code="line_left_out", text=text("notice.line_left_out")))

    async def open_talk() -> None:
        await tree.write(dialogue.outgoing())
        if closes_input:
            tree.close_stdin()

    async def listen() -> None:
        try:
            async for lines in tree.batches():
                for line in lines:
                    if result is not None:
                        break
                    tell_of_gaps()
                    take(dialogue.feed(line))
                    if result is None and (answer := dialogue.outgoing()):
                        await tree.write(answer)
                await asyncio.sleep(0)  # others get their turn
        finally:
            over.set()

    async def interrupt() -> None:
        if (word := dialogue.interrupt()) is not None:
            await tree.write(word)
            tree.close_stdin()

    async def watch_stop() -> None:
        await stop.wait()
        over.set()
        may_end.set()

    async def watch_exit() -> None:
        await tree.wait()
        may_end.set()

    try:
        listening = jobs.spawn(listen(), "listen")
        jobs.spawn(watch_stop(), "watch stop")
        jobs.spawn(open_talk(), "open")
        await over.wait()
        if stop.is_set():
            await tree.end(interrupt=interrupt)
            return result or AgentResult()
        tree.close_stdin()
        jobs.spawn(watch_exit(), "watch exit")
        has_failed = result is not None and result.error is not None
        if not await wait_or(may_end, clock, FAILED_GRACE_S if has_failed else EXIT_GRACE_S):
            _log.warning("an agent process stayed after its last word and is ended: %s", marker)
        await tree.end()
        await listening
        if result is None:
            tell_of_gaps()
            result = dialogue.without_result(await tree.wait(), tree.stderr_tail[-MAX_STDERR:])
            emit(result)
        return result
    finally:
        await tree.end()
        await jobs.close()
