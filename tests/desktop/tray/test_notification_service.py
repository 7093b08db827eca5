"""Notifications against a service of our own on a real bus; a real one is in test_real_desktop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jeepney
import pytest
from jeepney import HeaderFields, MessageType
from jeepney.io.asyncio import DBusConnection, open_dbus_connection

from desktop.tray.notices import Notice, NoticeKind
from desktop.tray.notification_service import NotificationService
from executor_core.jobs import Jobs
from tests.support.private_session import PrivateSession, needs_programs

NAME, PATH = "org.freedesktop.Notifications", "/org/freedesktop/Notifications"
NOTICE = Notice(kind=NoticeKind.RUN_FAILED, title="Failed", text="a < b & c", run_id="run_1")


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    jobs = Jobs("test")
    yield jobs
    await jobs.close()


@pytest.fixture
async def clicked() -> asyncio.Queue[Notice]:
    return asyncio.Queue()


@pytest.fixture
async def notifications(
    jobs: Jobs, clicked: asyncio.Queue[Notice]
) -> AsyncIterator[NotificationService]:
    service = NotificationService(jobs, clicked.put_nowait)
    yield service
    await service.close()


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateSession]:
    needs_programs("dbus-daemon")
    session = PrivateSession(tmp_path)
    session.open()
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", session.env["DBUS_SESSION_BUS_ADDRESS"])
    yield session
    session.close()


class Desk:
    """Takes notifications as a desktop does."""

    def __init__(self, connection: DBusConnection, *capabilities: str) -> None:
        self.told: list[Any] = []
        self._connection = connection
        self._capabilities = list(capabilities)

    async def serve(self) -> None:
        while True:
            call = await self._connection.receive()
            match call.header.fields.get(HeaderFields.member):
                case "GetCapabilities":
                    answer: tuple[str, tuple[Any, ...]] = ("as", (self._capabilities,))
                case "Notify":
                    self.told.append(call.body)
                    answer = ("u", (len(self.told),))
                case _:
                    continue
            await self._connection.send(jeepney.new_method_return(call, *answer))

    async def click(self, number: int) -> None:
        sender = jeepney.DBusAddress(PATH, interface=NAME)
        signal = jeepney.new_signal(sender, "ActionInvoked", "us", (number, "default"))
        await self._connection.send(signal)


@asynccontextmanager
async def desk(jobs: Jobs, *capabilities: str) -> AsyncIterator[Desk]:
    async with await open_dbus_connection() as connection:
        await connection.send(jeepney.message_bus.RequestName(NAME))
        while (await connection.receive()).header.message_type is not MessageType.method_return:
            pass
        desk = Desk(connection, *capabilities)
        serving = jobs.spawn(desk.serve(), "desk")
        yield desk
        serving.cancel()


async def test_a_notification_is_shown_and_its_click_is_told(
    bus: PrivateSession,
    jobs: Jobs,
    notifications: NotificationService,
    clicked: asyncio.Queue[Notice],
) -> None:
    async with desk(jobs) as one:
        assert await notifications.show(NOTICE)
        [(_, _, _, title, words, actions, _, _)] = one.told
        assert (title, words, actions) == ("Failed", "a < b & c", ["default", "Open"])
        await one.click(77)
        await one.click(1)
        assert await clicked.get() == NOTICE
        assert clicked.empty()


async def test_where_text_may_have_markup_ours_has_none(
    bus: PrivateSession, jobs: Jobs, notifications: NotificationService
) -> None:
    async with desk(jobs, "actions", "body-markup") as one:
        assert await notifications.show(NOTICE)
        assert one.told[0][4] == "a &lt; b &amp; c"


async def test_a_service_that_comes_late_or_anew_is_found(
    bus: PrivateSession, jobs: Jobs, notifications: NotificationService
) -> None:
    assert not await notifications.show(NOTICE)
    for _ in range(2):
        async with desk(jobs) as one:
            assert await notifications.show(NOTICE)
            assert len(one.told) == 1


async def test_without_a_bus_nothing_is_shown(notifications: NotificationService) -> None:
    assert not await notifications.show(NOTICE)


async def test_a_bus_that_went_is_noticed(
    bus: PrivateSession, jobs: Jobs, notifications: NotificationService
) -> None:
    async with desk(jobs):
        assert await notifications.show(NOTICE)
    bus.close()
    assert not await notifications.show(NOTICE)
