from __future__ import annotations

import asyncio

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QPalette
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel

from desktop.parts.style import use_colours
from desktop.parts.window import Window, change_language
from executor_core.control import LocalControl
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.texts import catalogue
from tests.desktop.conftest import settle


class Sample(Window):
    name = "sample"
    title = "desktop.dismiss"

    def __init__(self, control: LocalControl, jobs: Jobs) -> None:
        super().__init__(control, None, jobs)
        self.label = QLabel()
        self.words(self.label.setText, "desktop.dismiss")
        self.body.addWidget(self.label)


@pytest.fixture
def window(control: LocalControl, jobs: Jobs) -> Sample:
    window = Sample(control, jobs)
    window.present()
    return window


async def test_an_error_of_a_job_is_said_in_the_window(window: Sample) -> None:
    window.ask(window.control.cancel("run_gone"), "cancel")
    await settle()
    async with asyncio.timeout(5):
        while not window.messages.isVisible():
            await asyncio.sleep(0.01)
    assert (
        window.messages.label.text()
        == ExecutorError("run_unknown", run_id="run_gone").message.sentence
    )


async def test_a_message_can_be_sent_away(window: Sample) -> None:
    window.say("Hello")
    assert window.messages.isVisible()
    window.messages.close_button.click()
    assert not window.messages.isVisible()


async def test_another_language_reaches_a_window_that_is_open(window: Sample) -> None:
    change_language("zh_CN")
    assert window.label.text() == window.windowTitle() == catalogue("zh_CN")["desktop.dismiss"]
    assert window.messages.close_button.accessibleName() == window.label.text()


async def test_escape_closes_a_window_and_ends_what_only_it_needed(window: Sample) -> None:
    ended = asyncio.Event()

    async def listen() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    window.follow(listen(), "listen")
    await settle()
    QTest.keyClick(window, Qt.Key.Key_Escape)
    await settle()
    assert not window.isVisible()
    assert ended.is_set()


async def test_what_was_asked_for_is_done_though_the_window_closes(window: Sample) -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    window.ask(work(), "work")
    window.close()
    go.set()
    await settle()
    assert done.is_set()


async def test_a_window_comes_back_where_it_was(
    window: Sample, control: LocalControl, jobs: Jobs
) -> None:
    window.resize(431, 277)
    window.close()
    again = Sample(control, jobs)
    again.present()
    assert (again.width(), again.height()) == (431, 277)


async def test_a_message_can_be_read_whichever_colours_come_after_it(window: Sample) -> None:
    window.say("Something happened")
    try:
        for scheme in ("dark", "light"):
            use_colours(scheme)
            await settle()
            ground = window.messages.palette().color(window.messages.backgroundRole())
            ink = window.messages.label.palette().color(QPalette.ColorRole.WindowText)
            assert abs(ground.lightness() - ink.lightness()) > 100, scheme
    finally:
        use_colours("system")
