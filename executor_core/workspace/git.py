"""Runs git so that it asks nobody, runs nothing that a repository brought, and leaves nothing.

What the commands mean is the business of others; here is how each of ours is run.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from executor_core.clock import Clock, wait_or
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.process import ProcessTree

PROGRESS_EVERY_S = 1.0
MAX_LINES = 200
"""Lines of output that are kept unless more are asked for."""
MAX_TRACKED = 1_000_000
"""Files of a repository that are listed."""
SLOW_S = 120
"""A transfer without a byte for so long is given up by git itself."""

# They win over the system's, the user's and the repository's settings, in this order.
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.pager": "cat",
    "credential.helper": "",  # an empty one forgets all that are configured
    "credential.interactive": "never",
    "diff.external": "",
    "filter.lfs.clean": "",
    "filter.lfs.process": "",
    "filter.lfs.required": "false",
    "filter.lfs.smudge": "",
    "gc.auto": "0",
    "http.followRedirects": "initial",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": str(SLOW_S),
    "maintenance.auto": "false",
    "submodule.recurse": "false",
}
_VARIABLES = {
    "GCM_INTERACTIVE": "never",
    "GIT_ASKPASS": "",  # also switches core.askPass and SSH_ASKPASS off
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=30 -oServerAliveInterval=30",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",  # its words are read by a program
    "SSH_ASKPASS_REQUIRE": "never",
}
_OF_OTHERS = re.compile(
    r"ANTHROPIC_|AWS_|AZURE_|CLAUDE_|CLOUD_ML_|CODEX_|GOOGLE_|OPENAI_|OPENCODE_|VERTEX_|LANGUAGE$"
    r"|.*_API_KEY$"
    # Another repository, or other programs; where certificates and settings lie stays the user's.
    r"|GIT_(?!SSL_|CONFIG_(GLOBAL|SYSTEM|NOSYSTEM)$)"
)


class GitHost(Protocol):
    """What git needs to know about this computer."""

    @property
    def clock(self) -> Clock:
        """The clock of limits."""

    async def find(self, program: str) -> Path | None:
        """The absolute path of a program, where the user's own shell would find it."""

    def environment(
        self, extra: Mapping[str, str], without: re.Pattern[str] | None = None
    ) -> dict[str, str]:
        """The user's environment, less the names that match `without`, plus `extra`."""

    def marker(self, run_id: str) -> str:
        """The value that every process of the run carries."""


class GitAnswer(Struct, frozen=True):
    """How a command of git ended, with the first lines of its output that were asked for."""

    exit_code: int
    lines: list[bytes]
    stderr: str


class Git:
    """The user's own git program."""

    def __init__(self, host: GitHost) -> None:
        self._host = host

    async def run(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        run_id: str,
        limit_s: float,
        settings: Iterable[tuple[str, str]] = (),
        asks_helpers: bool = False,
        variables: Mapping[str, str] | None = None,
        data: bytes = b"",
        is_wanted: Callable[[bytes], bool] = lambda _: True,
        max_lines: int = MAX_LINES,
        on_progress: Callable[[str], None] = lambda _: None,
        stop: asyncio.Event | None = None,
    ) -> GitAnswer:
        """Run one command; `settings` and `variables` are added to ours, `data` is its input.

        The user's credential helpers work only where it `asks_helpers`.

        The first `max_lines` lines of output that are wanted are kept.

        At its end every process that carries the mark of `run_id` is ended: no two at a time may
        have the same.

        `on_progress` is handed what git has written to stderr so far, once a second. Raises
        ExecutorError `git_missing`, `git_time_limit`, `git_stopped` (by `stop`) or `spawn_failed`.
        When this returns, raises or is cancelled, no process of the command is left.
        """
        program = await self._host.find("git")
        if program is None:
            raise ExecutorError("git_missing")
        flags = [
            part
            for name, value in (*_SETTINGS.items(), *settings)
            if not (asks_helpers and (name, value) == ("credential.helper", ""))
            for part in ("-c", f"{name}={value}")
        ]
        clock = self._host.clock
        tree = await ProcessTree.spawn(
            [str(program), *flags, *arguments],
            cwd=cwd,
            env=self._host.environment({}, _OF_OTHERS) | _VARIABLES | dict(variables or {}),
            marker=self._host.marker(run_id),
            clock=clock,
        )
        lines: list[bytes] = []
        over = asyncio.Event()

        async def listen() -> None:
            async for line in tree.lines():
                if len(lines) < max_lines and is_wanted(line):
                    lines.append(line)
            await tree.wait()
            over.set()

        async def feed() -> None:
            if data:
                await tree.write(data)
            tree.close_stdin()

        async def watch(stop: asyncio.Event) -> None:
            await stop.wait()
            over.set()

        jobs = Jobs("git")
        try:
            jobs.spawn(feed(), "feed")
            jobs.spawn(listen(), "listen")
            if stop is not None:
                jobs.spawn(watch(stop), "watch stop")
            ends_at = clock.monotonic() + limit_s
            while not await wait_or(over, clock, min(PROGRESS_EVERY_S, limit_s)):
                on_progress(tree.stderr_tail)
                if clock.monotonic() >= ends_at:
                    raise ExecutorError("git_time_limit", minutes=f"{limit_s / 60:g}")
        finally:
            await jobs.close()
            await tree.end()
        if stop is not None and stop.is_set():
            raise ExecutorError("git_stopped")
        return GitAnswer(await tree.wait(), lines, tree.stderr_tail)
