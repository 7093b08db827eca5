"""Windows without a screen. Every asynchronous test here runs on the desktop's own loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

# Before Qt is loaded, by whatever test comes first.
os.environ["QT_QPA_PLATFORM"] = "offscreen"  # noqa: TID251
from PySide6.QtCore import QCoreApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from desktop.parts.window import change_language, keep_places_in
from desktop.system.application import DesktopApplication
from desktop.system.deletion import delete_later, delete_now
from desktop.system.loop import DesktopLoop
from desktop.system.signals import SystemSignals
from desktop.tray.glance import TrayState
from desktop.tray.icon import draw
from executor_core.control import LocalControl
from executor_core.jobs import Jobs
from tests.support import leftovers
from tests.support.clock import JumpingClock
from tests.support.office import Office


@cache
def _application() -> QCoreApplication:
    """The one of the session, which pytest-qt's `qapp` is too. Loops may be wanted before that."""
    return QApplication.instance() or DesktopApplication([])


@pytest.fixture(scope="session")
def qapp_cls() -> type[QApplication]:
    """What pytest-qt makes its application of."""
    return DesktopApplication


def _make_loop() -> asyncio.AbstractEventLoop:
    _application()
    loop: asyncio.AbstractEventLoop = DesktopLoop()
    return loop


@pytest.fixture
def _asyncio_loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """pytest-asyncio's own; its public hook reaches into the tests of all other rooms."""
    return _make_loop


@pytest.fixture(scope="session", autouse=True)
def _kept_open_by_qt() -> None:
    """The system's bus and the fonts' files stay open, once; no test is to blame for them."""
    _application()
    SystemSignals(lambda: None).close()
    draw(TrayState.WORKING, 1, 5, 16, is_template=False)
    before = None
    # Threads of the system's libraries open their descriptors when they come to it.
    while before != (before := leftovers.snapshot().files):
        QTest.qWait(50)


@pytest.fixture(autouse=True)
def _own_places_and_language(tmp_path: Path) -> Iterator[None]:
    keep_places_in(str(tmp_path / "state"))
    yield
    change_language("en")


@pytest.fixture(autouse=True)
def _no_window_left(qapp: QApplication) -> Iterator[None]:
    """Close what a test opened, so that it does not live on in the next one."""
    qapp.setQuitOnLastWindowClosed(False)
    yield
    for widget in qapp.topLevelWidgets():
        widget.close()
        delete_later(widget)
    delete_now()


@pytest.fixture
async def office(qapp: QApplication, tmp_path: Path, clock: JumpingClock) -> AsyncIterator[Office]:
    """An executor with two slots and a scripted agent: `await office.begin()`, `office.playing`."""
    office = Office(tmp_path, clock)
    await office.open()
    yield office
    await office.close()


@pytest.fixture
def control(office: Office) -> LocalControl:
    """The executor of `office`, as windows see it."""
    return office.local


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    """What windows start their jobs with; ended with the test."""
    jobs = Jobs("desktop")
    yield jobs
    await jobs.close()


class Folders:
    """What was opened; `answer` says whether that worked."""

    def __init__(self) -> None:
        self.opened: list[Path] = []
        self.answer = True

    def open(self, folder: Path) -> bool:
        self.opened.append(folder)
        return self.answer


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Folders:
    """The folders that windows open; no file manager comes up."""
    folders = Folders()
    monkeypatch.setattr("desktop.parts.window.open_folder", folders.open)
    return folders


async def settle() -> None:
    """Let Qt and the loop do what is ready: clicks that were made, jobs that can go on."""
    for _ in range(20):
        await asyncio.sleep(0)
