"""The hub as one thing: its parts, when they start and in what order they end."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web

from executor_core import help_pages, texts
from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub.accounts import Accounts, Call, Routes, serve
from executor_core.hub.devices import Devices
from executor_core.hub.feed import Feed
from executor_core.hub.library import Library
from executor_core.hub.sockets import Sockets
from executor_core.hub.store import Json, Store
from executor_core.hub.subtasks import Subtasks
from executor_core.hub.tasks import Tasks
from executor_core.hub.wire import Dialect
from executor_core.jobs import Jobs
from executor_core.resources import resource_path
from executor_core.web import OWNER, Access, Listener, last_event_id, tokens, user_of

_log = logging.getLogger("executor.hub")

MONITOR_S = 60.0
_TIDY_S = 2.0
_PAGE_TYPES = (".css", ".html", ".js", ".svg")
_STATUSES = {
    "bad_field": 400,
    "bad_skill": 400,
    "device_offline": 409,
    "empty_prompt": 400,
    "library_full": 409,
    "no_device": 409,
    "not_allowed": 403,
    "nothing_to_cancel": 409,
    "nothing_to_retry": 409,
    "owner_only": 403,
    "task_running": 409,
    "too_many_hub_users": 409,
    "too_many_keys": 409,
    "unknown_attachment": 404,
    "unknown_device": 404,
    "unknown_key": 404,
    "unknown_skill": 404,
    "unknown_task": 404,
    "upload_empty": 400,
    "upload_too_big": 413,
}
"""The HTTP statuses of what the hub refuses."""


class Hub:
    """A server for devices, on this computer: the standalone mode's, and the conformance tests'."""

    def __init__(self, database: Path, *, clock: Clock, dialect: Dialect = "responses") -> None:
        """`database` is `hub.db`; `dialect` is the kind of server to be."""
        self._clock = clock
        self._jobs = Jobs("hub")
        self._store = Store(database)
        self._feed = Feed(clock)
        self._accounts = Accounts(self._store, clock)
        self._subtasks = Subtasks(self._store, self._feed, clock)
        self._devices = Devices(self._store, self._feed, clock, dialect, self._subtasks.running_on)
        self._sockets = Sockets(
            clock, dialect, self._accounts, self._devices, self._subtasks, self._jobs
        )
        self._library = Library(self._store, clock, self._accounts)
        self._tasks = Tasks(
            self._store,
            self._feed,
            clock,
            dialect,
            self._accounts,
            self._devices,
            self._subtasks,
            self._sockets.send,
            self._library,
        )
        self._is_open = False

    def attach(self, listener: Listener) -> None:
        """Register routes and the device socket. Before the listener starts."""
        listener.statuses.update(_STATUSES)
        listener.accept(self._accounts.verify)
        for part in (self._accounts, self._devices, self._tasks):
            serve(listener, self._accounts, part.routes)
        self._library.attach(listener)
        self._sockets.attach(listener)
        _attach_console(listener, self._accounts)

        async def events(request: web.Request) -> web.StreamResponse:
            user_id = await self._accounts.id_of(user_of(request))
            return await listener.stream(
                request, self._feed.follow(user_id, last_event_id(request))
            )

        listener.route("GET", "/api/hub/events", events, access=Access.STREAM)

        # Its address is known only once it has started.
        self._tasks.backend_url = lambda: listener.base_url

    async def start(self) -> None:
        """Open the database and watch the devices. Before the listener starts."""
        await self._store.open()
        self._is_open = True
        await asyncio.to_thread(tokens.load)
        await self._accounts.open()
        await self._subtasks.load()
        self._jobs.spawn(self._monitor(), "monitor")
        self._jobs.spawn(self._tidy(), "tidy")

    async def stop(self) -> None:
        """Let the devices go, keep what was streamed, close the database. Harmless to repeat."""
        if not self._is_open:
            return
        self._is_open = False
        await self._sockets.close()
        await self._jobs.close()
        await self._subtasks.flush()
        await self._store.close()

    def device_token(self) -> str:
        """A token for a device of the owner's, good for seven days."""
        return self._accounts.token(OWNER)

    async def add_user(self, name: str) -> str:
        """Add a user, who sees nothing of the others; a token for them."""
        await self._accounts.add(name)
        return self._accounts.token(name)

    async def _monitor(self) -> None:
        while True:
            await self._clock.sleep(MONITOR_S)
            silent = set(self._devices.expired())
            gone = {
                key for key in self._subtasks.devices_at_work() if not self._devices.is_online(*key)
            }
            for user_id, device_id in silent | gone:
                with _again_next_round():
                    await self._end_silent(user_id, device_id)

    async def _end_silent(self, user_id: int, device_id: str) -> None:
        # It may have come back while others were looked after.
        if not self._devices.is_online(user_id, device_id):
            _log.info("device %s is silent", device_id)
            await self._subtasks.fail_device(user_id, device_id, texts.text("hub.device_lost"))
        if not self._devices.is_online(user_id, device_id):
            await self._devices.lose(user_id, device_id)

    async def _tidy(self) -> None:
        while True:
            await self._clock.sleep(_TIDY_S)
            with _again_next_round():
                await self._subtasks.flush()
                await self._accounts.refresh()
                self._sockets.keep_only(self._accounts.ids)
                self._feed.keep_only(self._accounts.ids)


def _attach_console(listener: Listener, accounts: Accounts) -> None:
    """The page in front of the routes, and its words; both need no token."""
    for file in resource_path("console").iterdir():
        if file.suffix in _PAGE_TYPES:
            is_page = file.name == "index.html"
            listener.page("/" if is_page else f"/console/{file.name}", file)
    words: Routes = [
        ("GET", "/console/texts/{language}.json", _console_texts),
        ("GET", "/console/help/{language}/{topic}.json", _help_page),
    ]
    serve(listener, accounts, words, access=Access.PUBLIC)


async def _console_texts(call: Call) -> Json:
    language = call.part("language")
    if language not in texts.LANGUAGES:
        raise ExecutorError("unknown_path")
    entries = texts.catalogue(language).items()
    return {key: words for key, words in entries if key.startswith("console.")}


async def _help_page(call: Call) -> Json:
    language, topic = call.part("language"), call.part("topic")
    if language not in texts.LANGUAGES or topic not in help_pages.topics():
        raise ExecutorError("unknown_path")
    return {
        "title": help_pages.title(topic, language),
        "text": help_pages.page(topic, language),
        "topics": [(name, help_pages.title(name, language)) for name in help_pages.topics()],
    }


@contextmanager
def _again_next_round() -> Iterator[None]:
    """What the database refuses now must not end the job that asks it."""
    try:
        yield
    except sqlite3.Error as error:
        _log.error("the hub's database failed: %s", error)
