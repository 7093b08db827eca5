"""The log viewer over real log files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from desktop.log.model import MAX_ROWS, MESSAGE, LogModel
from desktop.log.window import LogWindow
from desktop.parts.window import change_language
from executor_core.control import LocalControl
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.interface import LogLine, Services
from executor_core.services.log import LogFiles
from executor_core.texts import catalogue
from tests.desktop.conftest import Folders
from tests.support.clock import JumpingClock


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "executor.log"
    path.write_text("".join(entry(n) for n in range(300)))
    return path


@pytest.fixture
async def window(
    control: LocalControl, jobs: Jobs, clock: JumpingClock, log: Path
) -> AsyncIterator[LogWindow]:
    # Any: of the services this window knows the log alone.
    other: Any = None
    services = Services(
        account=other, devices=other, settings=other, workspaces=other, install=other,
        health=other, log=LogFiles(log, clock),
    )  # fmt: skip

    window = LogWindow(control, services, jobs, clock=clock)
    window.present()
    yield window
    window.close()


def entry(number: int, level: str = "INFO", words: str = "") -> str:
    words = words or f"line {number}"
    return f"2026-01-29 13:08:22 - [executor.app] - [in app.py:7] - {level} - {words}\n"


def add(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.write("".join(lines))


async def until(is_so: Callable[[], object], clock: JumpingClock) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await clock.advance(0.3)
            await asyncio.sleep(0.005)


def shown(window: LogWindow) -> list[str]:
    model = window.model
    return [cast("str", model.index(n, MESSAGE).data()) for n in range(model.rowCount())]


def is_at_end(window: LogWindow) -> bool:
    bar = window.table.verticalScrollBar()
    return bar.value() == bar.maximum()


async def test_the_log_is_shown_and_followed_as_it_grows(
    window: LogWindow, log: Path, clock: JumpingClock
) -> None:
    await until(lambda: len(shown(window)) == 300, clock)
    assert is_at_end(window)
    add(log, entry(300), entry(301, words="two\n  lines"))
    await until(lambda: shown(window)[-3:] == ["line 300", "two", "  lines"], clock)
    assert is_at_end(window)


async def test_who_scrolled_up_is_left_where_they_read(
    window: LogWindow, log: Path, clock: JumpingClock
) -> None:
    await until(lambda: len(shown(window)) == 300, clock)
    window.table.verticalScrollBar().setValue(100)
    assert not window.follow_end.isChecked()
    add(log, entry(300))
    await until(lambda: len(shown(window)) == 301, clock)
    assert window.table.verticalScrollBar().value() == 100
    window.follow_end.click()
    assert is_at_end(window)
    window.table.verticalScrollBar().setValue(100)
    window.table.verticalScrollBar().setValue(window.table.verticalScrollBar().maximum())
    assert window.follow_end.isChecked()


async def test_a_level_hides_what_is_below_it_now_and_later(
    window: LogWindow, log: Path, clock: JumpingClock
) -> None:
    add(log, entry(0, "WARNING", "careful"), entry(0, "ERROR", "broken\nwhy"))
    await until(lambda: "why" in shown(window), clock)
    window.level.setCurrentIndex(2)
    assert shown(window) == ["careful", "broken", "why"]
    add(log, entry(0, "DEBUG", "small"), entry(0, "ERROR", "again"))
    await until(lambda: shown(window)[-1] == "again", clock)
    assert "small" not in shown(window)
    window.level.setCurrentIndex(0)
    assert shown(window)[-2:] == ["small", "again"]
    await asyncio.sleep(0.01)
    assert window.follow_end.isChecked()
    assert is_at_end(window)


async def test_finding_goes_from_place_to_place_and_around(
    window: LogWindow, clock: JumpingClock
) -> None:
    await until(lambda: len(shown(window)) == 300, clock)
    QTest.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    bar = window.find_bar
    QTest.keyClicks(bar.line, "LINE 11")
    await until(lambda: bar.count.text() == "1 of 11", clock)
    assert window.table.currentIndex().row() == 11
    assert not window.follow_end.isChecked()
    QTest.keyClick(bar.line, Qt.Key.Key_Return)
    assert (window.table.currentIndex().row(), bar.count.text()) == (110, "2 of 11")
    for _ in range(2):
        QTest.keyClick(bar.line, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert (window.table.currentIndex().row(), bar.count.text()) == (119, "11 of 11")
    QTest.keyClicks(bar.line, "x")
    await until(lambda: bar.count.text() == catalogue("en")["find.none"], clock)


async def test_what_is_looked_for_is_marked_in_the_lines(
    window: LogWindow, clock: JumpingClock
) -> None:
    await until(lambda: len(shown(window)) == 300, clock)
    before = window.table.viewport().grab().toImage()
    QTest.keyClicks(window.find_bar.line, "line 299")
    await until(lambda: window.find_bar.count.text() == "1 of 1", clock)
    window.table.clearSelection()
    assert window.table.viewport().grab().toImage() != before


async def test_chosen_lines_are_copied_whole(window: LogWindow, clock: JumpingClock) -> None:
    await until(lambda: len(shown(window)) == 300, clock)
    window.table.selectRow(7)
    QTest.keyClick(window.table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "2026-01-29 13:08:22  INFO  executor.app  line 7"


async def test_a_line_that_is_too_long_for_the_window_is_reached_by_scrolling(
    window: LogWindow, log: Path, clock: JumpingClock
) -> None:
    await until(lambda: len(shown(window)) == 300, clock)
    to_the_side = window.table.horizontalScrollBar()
    assert to_the_side.maximum() == 0
    add(log, entry(0, words="x" * 100))
    await until(lambda: len(shown(window)) == 301, clock)
    window.resize(window.minimumSizeHint())
    await until(lambda: to_the_side.maximum() > 0, clock)
    window.resize(1800, 600)
    await until(lambda: to_the_side.maximum() == 0, clock)


async def test_the_folder_of_the_log_is_opened(
    window: LogWindow, log: Path, folders: Folders
) -> None:
    window.open.click()
    assert folders.opened == [log.parent]


async def test_a_log_that_is_not_there_yet_is_explained_and_then_shown(
    window: LogWindow, log: Path, clock: JumpingClock
) -> None:
    window.close()
    await asyncio.sleep(0)
    log.unlink()
    window.present()
    await until(window.messages.isVisible, clock)
    assert window.messages.label.text() == ExecutorError("no_log", path=log).message.sentence
    log.write_text(entry(1))
    await until(lambda: shown(window) == ["line 1"], clock)
    assert not window.messages.isVisible()


async def test_the_log_window_speaks_another_language_at_once(window: LogWindow) -> None:
    change_language("zh_CN")
    words = catalogue("zh_CN")
    assert window.level.itemText(2) == words["log.warnings"]
    header = window.model.headerData(MESSAGE, Qt.Orientation.Horizontal)
    assert header == words["log.message"]


def lines(first: int, count: int, level: str = "INFO") -> list[LogLine]:
    return [
        LogLine(at="t", level=level, logger="x", text=f"line {n}")
        for n in range(first, first + count)
    ]


def test_the_oldest_rows_go_and_what_is_shown_stays_right(model: LogModel) -> None:
    gone: list[int] = []
    model.forgot.connect(gone.append)
    for first in range(0, MAX_ROWS + 5_000, 5_000):
        model.add(lines(first, 5_000))
    assert model.rowCount() <= MAX_ROWS + 2_000
    assert sum(gone) == MAX_ROWS + 5_000 - model.rowCount()
    assert model.row(0).text == f"line {sum(gone)}"
    assert model.row(model.rowCount() - 1).text == f"line {MAX_ROWS + 4_999}"
    assert model.find(f"LINE {MAX_ROWS + 4_999}") == [model.rowCount() - 1]
    model.show_from("WARNING")
    assert model.rowCount() == 0
    model.add(lines(0, 3, "ERROR"))
    assert [model.row(n).text for n in range(3)] == ["line 0", "line 1", "line 2"]


@pytest.fixture
def model(qapp: QApplication) -> LogModel:
    return LogModel(qapp)
