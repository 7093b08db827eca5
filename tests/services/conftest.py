"""A computer for the parts of the services: a home, a keychain, and an executor that may run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import keyring
import pytest
from msgspec.structs import replace

from executor_core.config.home import Home
from executor_core.config.layers import Config, load
from executor_core.control import Control, RunDetail, RunSummary, Slots, Status
from executor_core.errors import ExecutorError
from executor_core.model import LinkState, LinkStatus, Outcome, RunState, Source, Timings
from tests.config.memory_keyring import MemoryKeyring


class RunningExecutor:
    """Stands in for the executor that runs: only its status, and who told it of a login."""

    def __init__(self) -> None:
        self.links: tuple[LinkStatus, ...] = ()
        self.api = "http://127.0.0.1:1"
        self.changes = 0
        self.paused = False
        self.delivered = True
        self.cancelled: list[str] = []
        self._done: RunDetail | None = None

    def link(self, server: str, state: LinkState, reason: str | None = None) -> None:
        since = datetime(2026, 1, 29, tzinfo=UTC)
        one = LinkStatus(kind="device", state=state, server=server, since=since, reason=reason)
        self.links = (one,)

    def ends(self, task_id: int, words: str, error: ExecutorError | None = None) -> None:
        """The run of that task, which is there as soon as it is asked for."""
        now = datetime.now(UTC) + timedelta(minutes=1)
        outcome = Outcome(
            state=RunState.FAILED if error else RunState.COMPLETED,
            text=words,
            error=error.message if error else None,
            timings=Timings(accepted_at=now, finished_at=now),
        )
        run = RunSummary(
            run_id=f"run_{task_id}", source=Source.DEVICE, task_id=task_id, subtask_id=1,
            agent="claude_code", state=outcome.state, started_at=now, accepted_at=now,
        )  # fmt: skip
        self._done = RunDetail(run=run, outcome=outcome, delivered=True)

    async def runs(self) -> tuple[RunSummary, ...]:
        return (self._done.run,) if self._done else ()

    async def run(self, run_id: str) -> RunDetail:
        assert self._done is not None
        assert run_id == self._done.run.run_id
        return replace(self._done, delivered=self.delivered)

    async def cancel(self, run_id: str) -> None:
        self.cancelled.append(run_id)

    async def status(self) -> Status:
        return Status(
            version="1", pid=1, device_id="hw-1", device_name="A", paused=self.paused,
            draining=False, links=self.links, slots=Slots(used=0, max=5), queued=0,
            outbox_pending=0, api=self.api, runs=(),
        )  # fmt: skip

    async def credential_changed(self) -> None:
        self.changes += 1


class Computer:
    """`load` and `reach` are what the parts are built from."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.home.create()
        self.home.device_id.write_text("hw-1\n")
        self.environment = {"HOME": str(folder), "USERPROFILE": str(folder)}
        self.given: dict[str, object] = {}
        self.executor: RunningExecutor | None = None

    def load(self) -> Config:
        return load(self.home, self.environment, self.given)

    @asynccontextmanager
    async def reach(self) -> AsyncIterator[Control]:
        if self.executor is None:
            raise ExecutorError("not_running")
        yield cast("Any", self.executor)

    def connect_to(self, server: str, token: str) -> None:
        """The configured server, and the token for it."""
        self.environment |= {"WEGENT_BACKEND_URL": server, "WEGENT_AUTH_TOKEN": token}


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


@pytest.fixture
def keychain(monkeypatch: pytest.MonkeyPatch) -> MemoryKeyring:
    memory = MemoryKeyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: memory)
    return memory
