"""A real executor in a process of its own, with a home of its own, and its command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

from executor_core.control import RemoteControl, RunDetail, Status
from executor_core.errors import ExecutorError
from tests.support import canaries

_T = TypeVar("_T")
ROOT = Path(__file__).resolve().parents[2]
AUDIT = Path(__file__).parent / "audit"
MODULE = "executor_core"
_SHORTEST_SECRET = 20
CRASHING = "tests.support.crashing"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class ExecutorProcess:
    """Start it, kill it, start it again: all that belongs to it lies below `folder`.

    `bin` is where it finds its agent. No shell of the machine has a say in its PATH.
    """

    def __init__(self, folder: Path, bin: Path, env: Mapping[str, str] | None = None) -> None:
        self.user_home = folder / "home"
        self.home = self.user_home / ".wegent-executor"
        self.user_home.mkdir()
        shell = folder / "shell"
        shell.write_text('#!/bin/sh\nexec /bin/sh -c "$2"\n')
        shell.chmod(0o700)
        self.env = dict(os.environ) | {  # noqa: TID251  the cleaned one of the tests
            "HOME": str(self.user_home),
            "WEGENT_EXECUTOR_HOME": str(self.home),
            "SHELL": str(shell),
            "PATH": os.pathsep.join((str(bin), "/usr/bin", "/bin")),
            "OPENRUNNER_ADDR": "127.0.0.1:0",
            "LOCAL_RECONNECT_DELAY": "0.1",
            "LOCAL_RECONNECT_MAX_DELAY": "0.3",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(AUDIT))),
            "WEGENT_TEST_COMMANDS": str(folder / "commands.txt"),
            **(env or {}),
        }
        self._commands = folder / "commands.txt"
        self._out = folder / "output.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def connect_to(self, server: str, token: str) -> None:
        """The server and the token that it will use, from the environment."""
        self.env |= {"WEGENT_BACKEND_URL": server, "WEGENT_AUTH_TOKEN": token}

    def configure(self, toml: str) -> None:
        """Its own configuration file."""
        self.home.mkdir(exist_ok=True)
        (self.home / "config.toml").write_text(toml)

    # --- life ----------------------------------------------------------------------------------

    def start(self, *arguments: str, module: Sequence[str] = (MODULE,)) -> None:
        """Start it, headless unless told otherwise."""
        assert self._process is None or self._process.poll() is not None
        with self._out.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module, *(arguments or ("--no-gui",))],
                env=self.env,
                cwd=self.user_home,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def start_crashing(self, point: str) -> None:
        """Start one that kills itself with SIGKILL exactly there (see `crashing.POINTS`)."""
        self.start("--no-gui", module=(CRASHING, point))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the executor alone, not to its children."""
        assert self._process is not None
        self._process.send_signal(number)

    async def gone(self, limit_s: float = 15) -> int:
        """Wait until it has ended; its exit code, negative for a signal."""
        assert self._process is not None
        process = self._process
        code = await until(process.poll, limit_s, f"the executor is still there\n{self.output}")
        return int(code)

    async def kill(self) -> None:
        """As the power would go: nothing of it gets to run again."""
        self.signal(signal.SIGKILL)
        assert await self.gone() == -signal.SIGKILL

    def clean_up(self) -> None:
        """End it and all that it ever started, however the test went."""
        if self.is_alive:
            self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)
        psutil.wait_procs([_killed(process) for process in self.descendants()], timeout=5)
        self._search_for_canaries()

    def _search_for_canaries(self) -> None:
        secrets = [*canaries.EVERYWHERE]
        if len(token := self.env.get("WEGENT_AUTH_TOKEN", "")) > _SHORTEST_SECRET:
            secrets.append(token)
        assert canaries.found_below(self.user_home, secrets) == set()
        assert canaries.found_in(self.output, secrets) == []
        assert canaries.found_in(self.started, secrets) == []

    # --- what it says --------------------------------------------------------------------------

    async def command(self, *arguments: str, stdin: str = "", limit_s: float = 30) -> Done:
        """Run one command line of the program to its end."""

        def run() -> Done:
            done = subprocess.run(
                [sys.executable, "-m", MODULE, *arguments],
                env=self.env,
                cwd=self.user_home,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
            )
            return Done(done.returncode, done.stdout, done.stderr)

        return await asyncio.to_thread(run)

    async def json(self, *arguments: str) -> Any:
        """What a command prints with --json, whatever its exit code."""
        done = await self.command(*arguments, "--json")
        try:
            return json.loads(done.out)
        except ValueError:
            raise AssertionError(f"no JSON: {done}") from None

    async def status(self) -> Status | None:
        """Asked over its local API; None while it does not answer."""
        with suppress(ExecutorError):
            async with RemoteControl.of_home(self.home / "api.json") as control:
                return await control.status()
        return None

    async def runs(self) -> list[RunDetail]:
        """All its runs with their outcomes, newest first, asked over its local API."""
        async with RemoteControl.of_home(self.home / "api.json") as control:
            return [await control.run(run.run_id) for run in await control.runs()]

    async def until_status(
        self, holds: Callable[[Status], bool], what: str, limit_s: float = 20
    ) -> Status:
        """Wait until its status is so."""
        deadline = time.monotonic() + limit_s
        while True:
            status = await self.status() if self.is_alive else None
            if status is not None and holds(status):
                return status
            told = f"never {what}: {status}\n{self.output}"
            assert self.is_alive, told
            assert time.monotonic() < deadline, told
            await asyncio.sleep(0.05)

    async def until_delivered(self) -> None:
        """Wait until nothing is owed to the server any more."""
        await self.until_status(
            lambda status: not status.runs and not status.outbox_pending, "clear"
        )

    async def online(self) -> Status:
        """Wait until its link is online."""
        return await self.until_link("online")

    async def until_link(self, state: str) -> Status:
        """Wait until its link is in that state."""
        return await self.until_status(
            lambda status: any(link.state == state for link in status.links), state
        )

    @property
    def output(self) -> str:
        """Everything it ever printed; its log is among it, as it has no terminal."""
        return self._out.read_text(errors="replace") if self._out.exists() else ""

    @property
    def started(self) -> str:
        """A line for each command that it, or a Python program below it, ever started."""
        return self._commands.read_text() if self._commands.exists() else ""

    @property
    def log(self) -> str:
        """The log file."""
        return (self.home / "logs" / "executor.log").read_text()

    def descendants(self) -> list[psutil.Process]:
        """Every process that has its home directory, other than the executor of this moment."""
        mine = self._process.pid if self._process is not None and self.is_alive else None
        wanted = str(self.user_home)
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # not ours to read, or gone meanwhile
                if process.pid != mine and process.environ().get("HOME") == wanted:
                    found.append(process)
        return found

    def commands(self) -> list[list[str]]:
        """The command lines of `descendants`."""
        found = []
        for process in self.descendants():
            with suppress(psutil.Error):  # gone since the look
                found.append(process.cmdline())
        return found

    async def until_alone(self, limit_s: float = 10) -> None:
        """Wait until nothing is left of all that it started."""
        deadline = time.monotonic() + limit_s
        # In a thread: where thousands of processes live, a look takes its time.
        while left := await asyncio.to_thread(self.commands):
            assert time.monotonic() < deadline, f"left: {left}"
            await asyncio.sleep(0.05)


async def until(
    look: Callable[[], _T | None], limit_s: float, otherwise: str | Callable[[], str]
) -> _T:
    """Look again and again until there is something; AssertionError when it takes too long."""
    deadline = time.monotonic() + limit_s
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
        await asyncio.sleep(0.01)
    return found


def _killed(process: psutil.Process) -> psutil.Process:
    with suppress(psutil.Error):
        process.kill()
    return process
