"""Runs one agent process from its first byte to its last descendant, and hears what it says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from executor_core.agents.agent import FOR_TOOL, Dialogue, Emit, KnowsWait, ReadsStderr
from executor_core.agents.failures import failed, failure, notice
from executor_core.clock import Clock, wait_or
from executor_core.jobs import Jobs
from executor_core.model import AgentEvent, AgentResult, TextDelta, ToolStarted
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


GAP_LIMIT_S = 10.0
"""How long an agent may say nothing behind a line that was lost: it may have been its last."""
WARN_S = 180.0
"""After so long without a word from the model the person is told."""
_UNLIMITED_S = 3600.0


class Hearing:
    """One agent, heard from its first line to its last word.

    `over` is set with the last word; `changed` when the agent is waited for in another way.
    """

    def __init__(self, dialogue: Dialogue, emit: Emit, clock: Clock) -> None:
        self.over = asyncio.Event()
        self.changed = asyncio.Event()
        self.result: AgentResult | None = None
        self._dialogue = dialogue
        self._emit = emit
        self._clock = clock
        self._gaps = 0
        self._is_behind_gap = False
        self._is_awaited = False
        self._has_words = False
        self._has_worked = False
        # Asked once: it takes longer than a line.
        self._waits = dialogue.waits if isinstance(dialogue, KnowsWait) else None
        self._wait = FOR_TOOL
        self._waits_since = clock.monotonic()
        self._has_warned = False

    def hear(self, line: bytes, gaps: int) -> None:
        """One line of stdout; `gaps` lines were lost so far. Empty ones stand in their places, of
        which some may be still to come."""
        if self.result is not None:
            return
        self._is_behind_gap = not line and gaps > self._gaps
        if self._is_behind_gap:
            if not self._gaps:
                self._emit(notice("notice.line_left_out"))
            self._gaps += 1
        self._take(self._dialogue.feed(line))
        self._wait_anew()

    def hear_stderr(self, line: bytes) -> None:
        if self.result is None and isinstance(self._dialogue, ReadsStderr):
            self._take(self._dialogue.feed_stderr(line))

    def end(self, exit_code: int, stderr: str) -> AgentResult:
        """The last word, also of a process that ended without one."""
        if self.result is None:
            lost = failed("agent_word_lost")
            ended = self._dialogue.without_result(exit_code, stderr)
            self._take([lost if self._is_behind_gap else ended])
        assert self.result is not None
        return self.result

    # --- patience ---

    @property
    def left_s(self) -> float:
        """How long the agent may still say nothing before something is done about it."""
        limit_s = self._wait.limit_s
        if limit_s is None:
            return _UNLIMITED_S
        if self._wait.is_background and self._is_awaited:
            return 0.0
        if self._is_behind_gap and not self._wait.is_background:
            limit_s = min(limit_s, GAP_LIMIT_S)
        elif self._may_warn:
            limit_s = min(limit_s, WARN_S)
        return max(0.0, self._waits_since + limit_s - self._clock.monotonic())

    def hurry(self) -> None:
        """Somebody waits for the run: what is in the background is not waited for any more."""
        self._is_awaited = True
        self.changed.set()

    def lose_patience(self) -> None:
        """The person is told, then the run ends; does nothing while there is time left."""
        if self.left_s > 0 or self.result is not None:
            return
        if self._may_warn and not self._is_behind_gap:
            self._has_warned = True
            self._emit(notice("notice.silent", minutes=int(WARN_S // 60)))
            return
        code = "agent_word_lost" if self._is_behind_gap else "agent_silent"
        minutes = int((self._wait.limit_s or 0) // 60)
        silent = failed(code, minutes=minutes)
        self._take(self._wait.then or [silent])

    @property
    def _may_warn(self) -> bool:
        return not self._has_warned and not self._wait.is_background

    def _wait_anew(self) -> None:
        wait = self._waits() if self._waits else FOR_TOOL
        if wait is self._wait and not self._is_behind_gap and not wait.is_background:
            self._waits_since = self._clock.monotonic()  # as behind nearly every line
            return
        if wait != self._wait or self._is_behind_gap:
            self.changed.set()
        if wait != self._wait or not wait.is_background:
            self._waits_since = self._clock.monotonic()
            self._has_warned = False
        self._wait = wait

    # --- events ---

    def _take(self, events: Iterable[AgentEvent]) -> None:
        for event in events:
            if self.result is not None:
                return
            told = self._judged(event) if isinstance(event, AgentResult) else event
            self._has_words = self._has_words or isinstance(told, TextDelta)
            self._has_worked = self._has_worked or isinstance(told, ToolStarted)
            if isinstance(told, AgentResult):
                self.result = told
                self.over.set()
            self._emit(told)

    def _judged(self, result: AgentResult) -> AgentResult:
        """A turn without a word is no answer, and without a deed it is none of any kind."""
        if result.error or self._has_words or result.final_text.strip():
            return result
        if self._has_worked:
            self._emit(notice("notice.no_words"))
            return result
        return replace(result, error=failure("agent_said_nothing"))
