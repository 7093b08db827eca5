"""How smoothly the windows go under load: `python -m tests.benchmarks.windows`. Needs no screen.

A gap is the time in which the window could neither paint nor hear a key. Nothing here fails.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # noqa: TID251  before Qt is loaded
from PySide6.QtCore import QModelIndex, Qt, QTimer
from PySide6.QtWidgets import QApplication

from desktop.log.model import MAX_ROWS
from desktop.log.window import LogWindow
from desktop.parts.window import keep_places_in
from desktop.runs.window import PAGE, RunsWindow
from desktop.system.loop import DesktopLoop
from executor_core.clock import SystemClock
from executor_core.jobs import Jobs
from executor_core.services.interface import Services
from executor_core.services.log import LogFiles
from tests.benchmarks.__main__ import Table
from tests.desktop.runs.history import write_history
from tests.support import home
from tests.support.clock import JumpingClock
from tests.support.office import Office
from tests.support.scripted_agent import Performance

AGENTS, CHUNKS_A_SECOND, SECONDS = 5, 4000, 5
CHUNK = "a few words more "
RUNS = 10_000
AIM_MS = 100.0
_BEAT_MS = 4


class Gaps:
    """The longest time between two beats of the window's own timer."""

    def __init__(self) -> None:
        self.worst_ms = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer(interval=_BEAT_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.worst_ms = max(self.worst_ms, (now - self._last) * 1000)
        self._last = now

    def stop(self) -> float:
        self._beat()
        self._timer.stop()
        return self.worst_ms


@asynccontextmanager
async def open_office() -> AsyncIterator[tuple[Office, Jobs]]:
    jobs = Jobs("benchmark")
    with tempfile.TemporaryDirectory() as folder:
        # Time is real here; the office asks of its clock only what every clock can do.
        office = Office(Path(folder), cast("JumpingClock", SystemClock()))
        await office.open()
        try:
            yield office, jobs
        finally:
            await jobs.close()
            await office.close()


async def until(is_so: Callable[[], object]) -> float:
    began = time.perf_counter()
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.01)
    return time.perf_counter() - began


async def speak(playing: Performance) -> int:
    """A fifth of the chunks, evenly, in steps of 10 ms; how many they were."""
    began, said = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < SECONDS:
        due = int(elapsed * CHUNKS_A_SECOND / AGENTS)
        for number in range(said, due):
            playing.say(CHUNK + ("\n" if number % 12 == 0 else ""))
        said = due
        await asyncio.sleep(0.01)
    return said


async def five_agents(table: Table) -> None:
    async with open_office() as (office, jobs):
        office.executor.resize(AGENTS)
        window = RunsWindow(office.local, None, jobs)
        window.present()
        players = []
        for number in range(AGENTS):
            await office.begin(prompt=f"Run {number}")
            players.append(office.playing)
        await until(lambda: window.model.rowCount() == AGENTS)
        gaps = Gaps()
        async with asyncio.TaskGroup() as group:
            speaking = {
                playing.assignment.run_id: group.create_task(speak(playing)) for playing in players
            }
        said = speaking[window.view.run_id or ""].result()
        behind = await until(lambda: window.view.output.answer().count(CHUNK) == said)
        worst = gaps.stop()
        for playing in players:
            playing.finish()
        await asyncio.sleep(0.5)
        window.close()
    table.add("longest gap, 5 agents at 4,000 chunks/s", worst, "{:.0f} ms", "-", AIM_MS)
    table.add("behind at the end", behind * 1000, "{:.0f} ms", "-", None)


async def long_history(table: Table) -> None:
    async with open_office() as (office, jobs):
        write_history(office.folder / "journal.db", RUNS)
        window = RunsWindow(office.local, None, jobs)
        gaps = Gaps()
        window.present()
        first = await until(lambda: window.model.rowCount() == PAGE)
        began = time.perf_counter()
        while window.model.canFetchMore(QModelIndex()):
            rows = window.model.rowCount()
            window.list.scrollToBottom()
            await until(lambda rows=rows: window.model.rowCount() > rows)  # type: ignore[misc]
        rest = time.perf_counter() - began
        worst = gaps.stop()
        assert window.model.rowCount() == RUNS
        window.close()
        await asyncio.sleep(0.1)
    table.add("to show the newest of 10,000 runs", first * 1000, "{:.0f} ms", "-", 300)
    table.add("to scroll to the last of them", rest, "{:.1f} s", "-", None)
    table.add("longest gap meanwhile", worst, "{:.0f} ms", "-", AIM_MS)


async def long_log(table: Table) -> None:
    async with open_office() as (office, jobs):
        path = office.folder / "executor.log"
        entry = (
            "2026-01-29 13:08:22 - [executor.app] - [in app.py:7] - INFO - something happened {}\n"
        )
        path.write_text("".join(entry.format(number) for number in range(MAX_ROWS)))
        other: Any = None  # of the services this window knows the log alone
        services = Services(
            account=other, devices=other, settings=other, workspaces=other, install=other,
            health=other, log=LogFiles(path, SystemClock()),
        )  # fmt: skip
        window = LogWindow(office.local, services, jobs)
        gaps = Gaps()
        window.present()
        shown = await until(lambda: window.model.rowCount() == MAX_ROWS)
        worst = gaps.stop()
        gaps = Gaps()
        window.find_bar.line.setText("happened 99")
        await until(lambda: window.find_bar.count.text())
        window.level.setCurrentIndex(2)
        window.level.setCurrentIndex(0)
        await asyncio.sleep(0.3)
        searching = gaps.stop()
        window.close()
        await asyncio.sleep(0.1)
    table.add("to show 100,000 lines of the log", shown, "{:.1f} s", "-", None)
    table.add("longest gap meanwhile", worst, "{:.0f} ms", "-", AIM_MS)
    table.add("longest gap of find and filter there", searching, "{:.0f} ms", "-", AIM_MS)


async def main() -> None:
    table = Table()
    for measure in (five_agents, long_history, long_log):
        await measure(table)
    table.show()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        home.move_into(Path(scratch), patch)
        keep_places_in(scratch)
        application = QApplication([])
        with asyncio.Runner(loop_factory=DesktopLoop) as runner:
            runner.run(main())
