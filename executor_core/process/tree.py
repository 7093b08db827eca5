"""One process tree: started, listened to, and ended so that nothing of it remains.

What is said on its pipes is not understood here.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from executor_core.clock import Clock, wait_or
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import Resources
from executor_core.process import processes
from executor_core.process._system import system
from executor_core.process.marker import MARKER, signs_of
from executor_core.process.pipes import Pipes
from executor_core.process.processes import until_clean
from executor_core.process.programs import unwrapped

if TYPE_CHECKING:
    import psutil

T = TypeVar("T")

_log = logging.getLogger("executor.process")

DRAIN_S = 2.0
"""How long stdout may stay open after the process has ended."""

FORCE_LIMIT_S = 30.0
"""How long force may go on behind six patient seconds. It takes one or two; on a machine too busy
for that, leaving processes would be worse."""

_starts = Jobs("process")

_STEP_SCANS = 4
_SCAN_EVERY_S = 0.5  # four scans make the two seconds of a step
_FORCE_S = 1.2


class _FirstStep(Generic[T]):
    """Awaits `work`, whose first step, in which asyncio starts the process, runs `inside`."""

    def __init__(self, work: Coroutine[Any, Any, T], inside: AbstractContextManager[None]) -> None:
        self._work = work
        self._inside = inside

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._work.__await__()
        try:
            with self._inside:
                waits_for = next(steps)
        except StopIteration as done:
            return cast("T", done.value)
        yield waits_for
        return (yield from steps)


class ProcessTree:
    """A program that we started, with everything that it starts.

    The owner must call `end` in every case, also after a normal exit: programs leave daemons.
    """

    def __init__(
        self,
        transport: asyncio.SubprocessTransport,
        pipes: Pipes,
        root: psutil.Process | None,
        *,
        marker: str,
        clock: Clock,
    ) -> None:
        self.pid = transport.get_pid()
        self.started_at = root.create_time() if root else clock.now().timestamp()
        self._transport = transport
        self._pipes = pipes
        self._root = root
        self._known: set[psutil.Process] = {root} if root else set()
        self._signs = signs_of(marker)
        self._clock = clock
        self._job_object = system.JobObject(self.pid)
        self._scanning = asyncio.Lock()
        self._ending: asyncio.Task[None] | None = None
        self._jobs = Jobs(f"process/{self.pid}")

    @classmethod
    async def spawn(
        cls,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        marker: str,
        clock: Clock,
        on_stderr: Callable[[bytes], None] | None = None,
    ) -> ProcessTree:
        """Start `argv` (its first part is an absolute path) in a session of its own.

        The child sees exactly `env` and the marker (`<owner>:<run_id>`). `on_stderr` is called with
        each line of stderr as it comes; one over 64 KiB is left out. Raises ExecutorError
        `spawn_failed` when the system refuses, `batch_file_refused` where a shell would read the
        arguments. A cancelled spawn ends first what it started.
        """
        if not os.path.isabs(argv[0]):
            raise ValueError(f"{argv[0]!r} is not an absolute path")
        argv = unwrapped(argv, env)
        pipes = Pipes(on_stderr)
        starting = _starts.spawn(cls._start(argv, cwd, env, marker, clock, pipes), "spawn")
        try:
            started = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # asyncio hangs when a start is cancelled half way, and forgets the child's children. So
            # it goes on, and is waited for: a loop that closes cancels whatever it finds.
            await asyncio.shield(_starts.spawn(_end_when_started(starting), "discard"))
            raise
        if isinstance(started, ProcessTree):
            return started
        reason = getattr(started, "strerror", None) or str(started)
        raise ExecutorError("spawn_failed", program=argv[0], reason=reason) from started

    @classmethod
    async def _start(
        cls,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        marker: str,
        clock: Clock,
        pipes: Pipes,
    ) -> ProcessTree | OSError | ValueError:
        try:
            starting = asyncio.get_running_loop().subprocess_exec(
                lambda: pipes, *argv, cwd=cwd, env={**env, MARKER: marker}, **system.SPAWN_OPTIONS
            )
            transport, _ = await _FirstStep(starting, system.tagging(marker))
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            return error
        try:
            tree = cls(transport, pipes, _identity(transport.get_pid()), marker=marker, clock=clock)
        except OSError as error:
            transport.close()  # which kills
            return error
        # Neither arguments nor environment: both may hold what nobody else may read.
        program = os.path.basename(argv[0])
        _log.debug("started %s as process %d for %s", program, tree.pid, marker.rpartition(":")[2])
        tree._jobs.spawn(tree._close_pipes_after_exit(), "drain")
        return tree

    # --- talking ---

    async def write(self, data: bytes) -> bool:
        """Write to stdin and wait until it is nearly out. False if the program no longer reads."""
        return await self._pipes.write(data)

    def close_stdin(self) -> None:
        """Let the program see the end of its input, behind what was written."""
        self._pipes.close_stdin()

    async def lines(self) -> AsyncIterator[bytes]:
        """The lines of stdout, one by one; see `batches`."""
        async for [line] in self._pipes.batches(1):
            yield line

    def batches(self) -> AsyncIterator[list[bytes]]:
        """The lines of stdout without their newline, for one reader: those that are there at once.

        A batch is small enough to be handled in one turn of the loop (200 lines or some 64 KiB).

        Ends when stdout is closed, or 2 s after the program has exited while a descendant keeps it
        open. One over 16 MiB is given as an empty one and counted in `skipped_lines`.
        """
        return self._pipes.batches()

    @property
    def skipped_lines(self) -> int:
        """How many lines of stdout were too long to keep."""
        return self._pipes.skipped_lines

    @property
    def stderr_tail(self) -> str:
        """The last of stderr (64 KiB, 200 lines), as plain text."""
        return self._pipes.tail.text

    # --- watching ---

    async def wait(self) -> int:
        """The exit code of the program itself; on POSIX minus the signal that ended it."""
        await self._pipes.exited.wait()
        code = self._transport.get_returncode()
        assert code is not None
        return code

    async def resources(self) -> Resources:
        """What the living processes of the tree use together."""
        return await asyncio.to_thread(processes.measure, await self._members())

    async def _members(self) -> set[psutil.Process]:
        """Who belongs to the tree now; noted, since later ancestry may no longer tell."""
        async with self._scanning:
            self._known = await asyncio.to_thread(processes.relatives, self._known, self._signs)
            return self._known

    async def _close_pipes_after_exit(self) -> None:
        await self._pipes.exited.wait()
        _log.debug("process %d has ended with %s", self.pid, self._transport.get_returncode())
        await wait_or(self._pipes.drained, self._clock, DRAIN_S)
        self._pipes.abandon()

    # --- ending ---

    async def end(self, *, interrupt: Callable[[], Awaitable[None]] | None = None) -> None:
        """End the tree: `interrupt` → SIGINT → SIGTERM (2 s each) → SIGKILL for all that remains.

        Steps stop once the program has exited; then, as after a normal exit, only the rest is
        killed. Takes 8 s, more only on a very busy machine. May be called again and concurrently:
        all callers wait for the first call's work. One that is cancelled meanwhile does not stop it
        and waits as well, since whoever cancelled it waits for it.
        """
        if self._ending is None:
            self._ending = self._jobs.spawn(self._end(interrupt), "end")
        try:
            await asyncio.shield(self._ending)
        except asyncio.CancelledError:
            await asyncio.wait({self._ending})
            raise

    async def _end(self, interrupt: Callable[[], Awaitable[None]] | None) -> None:
        try:
            await self._ask_to_end(interrupt)
            if await until_clean(self._kill, self._clock, FORCE_LIMIT_S):
                await wait_or(self._pipes.closed, self._clock, _FORCE_S)
        except asyncio.CancelledError:
            self._kill()  # The loop is closing and will not come back: one pass without it.
            raise
        finally:
            if self.skipped_lines:
                _log.warning(
                    "process %d: %d lines over 16 MiB were left out", self.pid, self.skipped_lines
                )
            self._job_object.close()
            self._pipes.abandon()
            self._transport.close()

    async def _ask_to_end(self, interrupt: Callable[[], Awaitable[None]] | None) -> None:
        if interrupt is not None and not self._pipes.exited.is_set():
            await self._members()
            asking = self._jobs.spawn(_awaited(interrupt), "interrupt")
            await self._wait_for_exit()
            asking.cancel()
        for number in system.GENTLE_SIGNALS:
            if self._pipes.exited.is_set():
                return
            await self._members()
            if self._root is not None and self._root.is_running():
                system.signal_group(self.pid, number)
            await self._wait_for_exit()

    async def _wait_for_exit(self) -> None:
        for _ in range(_STEP_SCANS):
            if await wait_or(self._pipes.exited, self._clock, _SCAN_EVERY_S):
                return
            await self._members()

    def _kill(self) -> set[psutil.Process]:
        """One pass: find what is alive and kill it."""
        self._job_object.kill()
        self._known = processes.relatives(self._known, self._signs)
        processes.kill(self._known)
        return self._known


def _identity(pid: int) -> psutil.Process | None:
    """The process with its start time; None if it is gone already."""
    import psutil

    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


async def _end_when_started(starting: asyncio.Task[ProcessTree | OSError | ValueError]) -> None:
    started = await starting
    if isinstance(started, ProcessTree):
        await started.end()


async def _awaited(make: Callable[[], Awaitable[None]]) -> None:
    await make()
