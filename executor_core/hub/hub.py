"""The hub as one thing: its parts, when they start and in what order they end."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from executor_core import texts
from executor_core.clock import Clock
from executor_core.hub.accounts import Accounts
from executor_core.hub.answers import Answers
from executor_core.hub.devices import Devices
from executor_core.hub.feed import Feed
from executor_core.hub.grants import Grants
from executor_core.hub.library import Library
from executor_core.hub.library_routes import LibraryRoutes
from executor_core.hub.routes import Routes
from executor_core.hub.sockets import Sockets
from executor_core.hub.store import Store
from executor_core.hub.tasks import Tasks
from executor_core.hub.wire import Dialect
from executor_core.jobs import Jobs
from executor_core.web import OWNER, Listener, tokens

_log = logging.getLogger("executor.hub")

MONITOR_S = 60.0
_TIDY_S = 2.0


class Hub:
    """A server for devices, on this computer: the standalone mode's, and the conformance tests'."""

    def __init__(self, database: Path, *, clock: Clock, dialect: Dialect = "responses") -> None:
        """`database` is `hub.db`; `dialect` is the kind of server to be."""
        self._clock = clock
        self._jobs = Jobs("hub")
        self._store = Store(database)
        self._feed = Feed(clock)
        self._accounts = Accounts(self._store, clock)
        self._answers = Answers(self._store, self._feed, clock)
        self._devices = Devices(self._store, self._feed, clock, dialect, self._answers.running_on)
        self._sockets = Sockets(
            clock, dialect, self._accounts, self._devices, self._answers, self._jobs
        )
        self._library = Library(self._store, clock)
        self._tasks = Tasks(
            self._store,
            self._feed,
            clock,
            dialect,
            self._accounts,
            self._devices,
            self._answers,
            self._sockets.send,
            self._library,
        )
        self._routes = Routes(self._store, self._feed, self._accounts, self._devices, self._tasks)
        self._library_routes = LibraryRoutes(self._library, self._accounts)
        self._grants = Grants(self._accounts, clock)
        self._is_open = False

    def attach(self, listener: Listener) -> None:
        """Register routes and the device socket. Before the listener starts."""
        self._routes.attach(listener)
        self._grants.attach(listener)
        self._library_routes.attach(listener)
        self._sockets.attach(listener)

        # Its address is known only once it has started.
        self._tasks.backend_url = lambda: listener.base_url

    async def start(self) -> None:
        """Open the database and watch the devices. Before the listener starts."""
        await self._store.open()
        self._is_open = True
        await asyncio.to_thread(tokens.load)
        await self._accounts.open()
        await self._library.open()
        await self._answers.load()
        self._jobs.spawn(self._monitor(), "monitor")
        self._jobs.spawn(self._tidy(), "tidy")

    async def stop(self) -> None:
        """Let the devices go, keep what was streamed, close the database. Harmless to repeat."""
        if not self._is_open:
            return
        self._is_open = False
        await self._sockets.close()
        await self._jobs.close()
        await self._answers.flush()
        await self._store.close()

    def device_token(self) -> str:
        """A token for a device of the owner's, good for seven days."""
        return self._accounts.token(OWNER)

    def use_default_agent(self, agent: str) -> None:
        """The agent of tasks that name none; `claude_code` unless this is called."""
        self._tasks.default_agent = agent

    async def add_user(self, name: str) -> str:
        """Add a user, who sees nothing of the others; a token for them."""
        await self._accounts.add(name)
        return self._accounts.token(name)

    async def _monitor(self) -> None:
        while True:
            await self._clock.sleep(MONITOR_S)
            silent = set(self._devices.expired())
            gone = {
                key for key in self._answers.devices_at_work() if not self._devices.is_online(*key)
            }
            for user_id, device_id in silent | gone:
                with _again_next_round():
                    await self._end_silent(user_id, device_id)

    async def _end_silent(self, user_id: int, device_id: str) -> None:
        # It may have come back while others were looked after.
        if not self._devices.is_online(user_id, device_id):
            _log.info("device %s is silent", device_id)
            await self._answers.fail_device(user_id, device_id, texts.text("hub.device_lost"))
        if not self._devices.is_online(user_id, device_id):
            await self._devices.lose(user_id, device_id)

    async def _tidy(self) -> None:
        while True:
            await self._clock.sleep(_TIDY_S)
            with _again_next_round():
                await self._answers.flush()
                await self._accounts.refresh()
                self._sockets.keep_only(self._accounts.ids)
                self._feed.keep_only(self._accounts.ids)


@contextmanager
def _again_next_round() -> Iterator[None]:
    """What the database refuses now must not end the job that asks it."""
    try:
        yield
    except sqlite3.Error as error:
        _log.error("the hub's database failed: %s", error)
