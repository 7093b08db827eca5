"""The list of runs: its order, its pages, and an executor that goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QModelIndex
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QApplication

from desktop.runs.model import RunsModel
from desktop.runs.window import PAGE, RunsWindow
from desktop.system.deletion import delete_later
from executor_core import api
from executor_core.control import LocalControl, RunSummary
from executor_core.jobs import Jobs
from executor_core.model import RunState, Source
from executor_core.texts import text
from executor_core.web import Listener
from tests.desktop.runs.history import write_history
from tests.support.clock import START, JumpingClock
from tests.support.office import TOKEN, Office


async def until(is_so: Callable[[], object], clock: JumpingClock) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await clock.advance(0.3)
            await asyncio.sleep(0.005)


def summary(number: int, state: RunState) -> RunSummary:
    return RunSummary(
        run_id=f"run_{number}",
        source=Source.API,
        task_id=None,
        subtask_id=None,
        agent="a",
        state=state,
        started_at=None,
        # Two of a kind, so that some are of the same moment.
        accepted_at=START + timedelta(minutes=number // 2),
    )


def order(model: RunsModel) -> list[str]:
    return [model.run_at(model.index(row)).run_id for row in range(model.rowCount())]


NEWS = st.lists(
    st.lists(
        st.builds(summary, st.integers(0, 12), st.sampled_from([*RunState])),
        max_size=6,
        unique_by=lambda run: run.run_id,
    ),
    max_size=8,
)


@pytest.mark.slow
@given(NEWS)
def test_whatever_comes_the_list_is_in_order_and_qt_is_told_right(
    news: list[list[RunSummary]],
) -> None:
    app = QApplication.instance()
    assert app is not None
    model = RunsModel(lambda: START, app)
    # Qt's own watchman: every row that is said to come, go or move must do just that.
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    seen: dict[str, RunSummary] = {}
    for runs in news:
        model.put(runs)
        for run in runs:
            known = seen.get(run.run_id)
            if known is None or run.state.is_final or not known.state.is_final:
                seen[run.run_id] = run
        by_rule = sorted(
            seen.values(),
            key=lambda run: (run.state.is_final, -run.accepted_at.timestamp(), run.run_id),
        )
        assert order(model) == [run.run_id for run in by_rule]
        for run in by_rule:
            assert model.run_at(model.index_of(run.run_id)) == run
        assert [run.run_id for run in model.live] == [
            run.run_id for run in by_rule if not run.state.is_final
        ]
    delete_later(tester)
    delete_later(model)


def has_rows_below(window: RunsWindow, count: int) -> bool:
    """Scroll on as a person does who looks for more, until there are so many."""
    if window.model.rowCount() < count:
        window.list.scrollToBottom()
    return window.model.rowCount() == count


@pytest.fixture
async def window(
    control: LocalControl, jobs: Jobs, clock: JumpingClock
) -> AsyncIterator[RunsWindow]:
    window = RunsWindow(control, None, jobs, clock=clock)
    yield window
    window.close()


async def test_history_comes_page_by_page_as_it_is_scrolled_to(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    # The one that lives is older than all of them: it must not be taken for the end of a page.
    active = await office.begin(prompt="Live")
    write_history(office.folder / "journal.db", 2 * PAGE + 50, START + timedelta(days=1))
    window.present()
    # Maybe more: a list that is not full yet asks for the next page by itself.
    await until(lambda: window.model.rowCount() > PAGE, clock)
    await until(partial(has_rows_below, window, 2 * PAGE + 51), clock)
    assert not window.model.canFetchMore(QModelIndex())
    rows = [window.model.run_at(window.model.index(n)) for n in range(window.model.rowCount())]
    assert rows[0].run_id == active
    assert [run.title for run in rows[1:]] == [f"run {n}" for n in range(2 * PAGE + 50)]


async def test_what_ended_while_nobody_looked_is_fetched_however_much_it_is(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    write_history(office.folder / "journal.db", 2 * PAGE)
    known = await office.complete()
    window.present()
    await until(lambda: window.model.run(known) is not None, clock)
    window.close()
    await asyncio.sleep(0)
    missed = []
    for _ in range(3):
        await clock.advance(1)
        missed.append(await office.complete())
    window.present()
    await until(lambda: all(window.model.run(run_id) for run_id in missed), clock)
    assert order(window.model)[:4] == [*reversed(missed), known]


async def test_an_executor_that_goes_away_is_said_and_found_again(
    office: Office, jobs: Jobs, clock: JumpingClock
) -> None:
    window = RunsWindow(office.remote, None, jobs, clock=clock)
    window.present()
    run_id = await office.begin(prompt="Long")
    office.playing.say("One.\n")
    output = window.view.output
    await until(lambda: output.toPlainText() == "One.\n", clock)
    await office.listener.stop()
    await until(window.messages.isVisible, clock)
    assert window.messages.label.text().startswith(text("error.executor_lost.title"))
    assert output.toPlainText() == "One.\n"
    office.playing.say("Two.")
    office.playing.finish()
    port = int(office.listener.base_url.rpartition(":")[2])
    again = Listener(port=port, token=TOKEN, clock=clock)
    api.attach(again, office.local)
    await again.start()
    await until(lambda: output.toPlainText() == "One.\nTwo.", clock)
    await until(lambda: is_completed(window, run_id), clock)
    assert not window.messages.isVisible()
    window.close()
    await asyncio.sleep(0)
    await again.stop()


def is_completed(window: RunsWindow, run_id: str) -> bool:
    run = window.model.run(run_id)
    return run is not None and run.state is RunState.COMPLETED
