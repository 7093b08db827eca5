"""Notifications over D-Bus. The toolkit's own offer no action there: nothing could be clicked."""

from __future__ import annotations

import asyncio
import html
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

from desktop.tray.notices import Notice
from executor_core.jobs import Jobs
from executor_core.resources import resource_path
from executor_core.texts import text

ANSWER_S = 5.0
"""A service that must be started first takes a moment; one that hangs must not hold anything."""
MAX_REMEMBERED = 20
"""How many of the last notifications can still be clicked; few services keep more."""
_log = logging.getLogger("executor.desktop")
_NAME = "org.freedesktop.Notifications"
_PATH = "/org/freedesktop/Notifications"
_NEW = 0  # in no other's place
_AS_SET = -1  # shown for as long as the person has set
_DEFAULT_ACTION = "default"  # what a click on the notification itself means


class NotificationService:
    """The desktop's own service, on Linux; `on_click` is told of each notice that was clicked.

    The connection is made with the first notification.
    """

    def __init__(self, jobs: Jobs, on_click: Callable[[Notice], None]) -> None:
        self._jobs = jobs
        self._on_click = on_click
        self._shown: dict[int, Notice] = {}
        self._stack = AsyncExitStack()
        self._router: Any = None  # of a library that is imported with the first notification
        self._takes_markup = False

    async def show(self, notice: Notice) -> bool:
        """Show a notification. False where no service takes it."""
        was_connected = self._router is not None
        return await self._show(notice) or (was_connected and await self._show(notice))

    async def close(self) -> None:
        """Leave the bus; what is shown stays. Another `show` connects anew."""
        self._router = None
        self._shown.clear()
        stack, self._stack = self._stack, AsyncExitStack()
        with suppress(OSError, EOFError):  # the bus left before us
            await stack.aclose()

    async def _show(self, notice: Notice) -> bool:
        # Imported late: most sessions never tell anything.
        from jeepney import DBusErrorResponse
        from jeepney.io.common import RouterClosed

        failures = (OSError, EOFError, LookupError, ValueError, RuntimeError)
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._router is None:
                    await self._connect()
                number = await self._notify(notice)
        except (*failures, DBusErrorResponse, RouterClosed) as error:
            _log.debug("no notification service: %s", type(error).__name__)
            await self.close()
            return False
        self._shown[number] = notice
        while len(self._shown) > MAX_REMEMBERED:
            del self._shown[next(iter(self._shown))]
        return True

    async def _notify(self, notice: Notice) -> int:
        words = html.escape(notice.text, quote=False) if self._takes_markup else notice.text
        icon = resource_path("icons/wegent-executor.svg").as_uri()
        look = ("Wegent Executor", _NEW, icon, notice.title, words)
        actions = [_DEFAULT_ACTION, text("notify.open")]
        [number] = await self._call("Notify", "susssasa{sv}i", (*look, actions, {}, _AS_SET))
        return int(number)

    async def _connect(self) -> None:
        from jeepney import MatchRule, message_bus
        from jeepney.io.asyncio import Proxy, open_dbus_router

        self._router = await self._stack.enter_async_context(open_dbus_router(bus="SESSION"))
        clicks = MatchRule(type="signal", interface=_NAME, member="ActionInvoked", path=_PATH)
        await Proxy(message_bus, self._router).AddMatch(clicks)
        queue = self._stack.enter_context(self._router.filter(clicks, bufsize=MAX_REMEMBERED))
        listener = self._jobs.spawn(self._listen(queue), "clicks on notifications")
        self._stack.callback(listener.cancel)
        [capabilities] = await self._call("GetCapabilities")
        self._takes_markup = "body-markup" in capabilities

    async def _listen(self, clicks: asyncio.Queue[Any]) -> None:
        while True:
            number, _action = (await clicks.get()).body
            if (notice := self._shown.pop(number, None)) is not None:
                self._on_click(notice)

    async def _call(self, member: str, signature: str = "", values: tuple[Any, ...] = ()) -> Any:
        from jeepney import DBusAddress, new_method_call
        from jeepney.wrappers import unwrap_msg

        address = DBusAddress(_PATH, bus_name=_NAME, interface=_NAME)
        call = new_method_call(address, member, signature or None, values)
        return unwrap_msg(await self._router.send_and_get_reply(call))
