"""The runs window against a real executor whose agent does what the test says."""

# Qt's stubs leave out the fields of plain structs.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QTextCursor
from PySide6.QtTest import QTest

from desktop.parts.window import change_language
from desktop.runs.window import RunsWindow
from executor_core.control import LocalControl
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import (
    FileChanged,
    Notice,
    ReasoningDelta,
    RunState,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from executor_core.texts import catalogue
from tests.desktop.conftest import Folders, settle
from tests.support.clock import JumpingClock
from tests.support.office import Office, outcome


@pytest.fixture
async def window(
    control: LocalControl, jobs: Jobs, clock: JumpingClock
) -> AsyncIterator[RunsWindow]:
    window = RunsWindow(control, None, jobs, clock=clock)
    window.present()
    await until(lambda: window.prompt_box.agent.count() > 0)
    yield window
    window.close()


async def until(is_so: Callable[[], object], clock: JumpingClock | None = None) -> None:
    """Let Qt and the executor work until it is so; with a clock, time passes as well."""
    async with asyncio.timeout(10):
        while not is_so():
            if clock is not None:
                await clock.advance(0.3)
            await asyncio.sleep(0.005)


def titles(window: RunsWindow) -> list[str]:
    model = window.model
    return [model.data(model.index(row)) for row in range(model.rowCount())]  # type: ignore[misc]


def lines(window: RunsWindow) -> list[str]:
    """What a person sees of the output."""
    seen = []
    block = window.view.output.document().begin()
    while block.isValid():
        if block.isVisible():
            seen.append(block.text())
        block = block.next()
    return seen


def put_caret_on(window: RunsWindow, words: str) -> None:
    output = window.view.output
    found = output.document().find(words)
    assert not found.isNull()
    cursor = QTextCursor(found.block())
    output.setTextCursor(cursor)


async def test_a_newcomer_is_told_what_to_do(window: RunsWindow) -> None:
    assert window.pages.currentIndex() == 0
    window.prompt_box.prompt.insertPlainText("Say hello")
    assert window.prompt_box.send.isEnabled()


async def test_a_run_that_is_sent_here_appears_and_is_chosen(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    window.prompt_box.prompt.insertPlainText("Say hello")
    QTest.keyClick(window.prompt_box.prompt, Qt.Key.Key_Return)
    playing = await office.agent.started()
    await until(lambda: window.view.run_id is not None, clock)
    assert titles(window) == ["Say hello"]
    assert window.prompt_box.prompt.toPlainText() == ""
    playing.say("Hello ", "there.")
    await until(lambda: lines(window) == ["Hello there."])
    playing.finish()
    run_id = window.view.run_id
    assert run_id is not None
    await until(lambda: window.model.run(run_id).state is RunState.COMPLETED, clock)  # type: ignore[union-attr]
    assert titles(window) == ["Say hello"]
    assert window.list.currentIndex().row() == 0


async def test_a_run_that_ends_moves_below_those_that_live_and_stays_chosen(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    first = await office.begin(prompt="First")
    playing = office.playing
    await clock.advance(1)
    await office.begin(prompt="Second")
    await until(lambda: titles(window) == ["Second", "First"], clock)
    window.show_item(first)
    assert window.view.run_id == first
    office.playing, playing = playing, office.playing
    playing.finish()
    await until(lambda: titles(window) == ["First", "Second"], clock)
    assert window.view.run_id == first
    assert window.list.currentIndex().row() == 0


async def test_shift_enter_is_a_new_line_and_sends_nothing(window: RunsWindow) -> None:
    prompt = window.prompt_box.prompt
    prompt.insertPlainText("One")
    QTest.keyClick(prompt, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert prompt.toPlainText() == "One\n"


async def test_what_was_refused_stays_in_the_prompt_and_is_explained(
    window: RunsWindow, office: Office
) -> None:
    office.executor.drain()
    window.prompt_box.prompt.insertPlainText("Too late")
    window.prompt_box.send.click()
    await until(window.messages.isVisible)
    assert window.messages.label.text() == ExecutorError("draining").message.sentence
    assert window.prompt_box.prompt.toPlainText() == "Too late"
    assert window.prompt_box.send.isEnabled()


async def test_an_agent_that_cannot_work_says_why_and_cannot_be_chosen(
    window: RunsWindow, office: Office
) -> None:
    office.agent.missing = problem = ExecutorError("agent_unknown", agent="x", known="y", guess="")
    window.prompt_box.offer(await office.local.agents())
    box = window.prompt_box.agent
    assert problem.message.title in box.itemText(0)
    assert not box.model().flags(box.model().index(0, 0)) & Qt.ItemFlag.ItemIsEnabled
    assert window.prompt_box.why.text() == problem.message.sentence
    tip = box.itemData(0, Qt.ItemDataRole.ToolTipRole)
    assert "<code>wegent-executor agents</code>" in tip
    window.prompt_box.prompt.insertPlainText("Do it")
    assert not window.prompt_box.send.isEnabled()


async def test_agents_are_asked_for_again_in_another_language(
    window: RunsWindow, office: Office
) -> None:
    change_language("zh_CN")
    await settle()
    problem = ExecutorError("agent_unknown", agent="x", known="y", guess="")
    office.agent.missing = problem
    assert problem.message.title not in window.prompt_box.agent.itemText(0)
    change_language("en")
    await until(lambda: problem.message.title in window.prompt_box.agent.itemText(0))


async def test_ten_thousand_deltas_are_shown_whole_and_in_order(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    await office.begin()
    words = [f"{n} " + ("\n" if n % 10 == 9 else "") for n in range(10_000)]
    for start in range(0, len(words), 500):
        office.playing.say(*words[start : start + 500])
        await asyncio.sleep(0)
    await until(lambda: window.view.output.answer() == "".join(words), clock)


async def test_of_a_very_long_output_the_end_is_shown_and_that_is_said(
    window: RunsWindow, office: Office, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("desktop.runs.output.MAX_LINES", 200)
    window.view.output.setMaximumBlockCount(200)
    await office.complete(*(TextDelta(text=f"line {n}\n") for n in range(500)))
    await until(lambda: "line 499" in lines(window), clock)
    assert window.view.beginning.isVisible()
    assert window.view.output.blockCount() == 200
    # Another run begins anew, whole.
    await clock.advance(1)
    window.show_item(await office.complete(TextDelta(text="Short.")))
    await until(lambda: lines(window) == ["Short."], clock)
    assert not window.view.beginning.isVisible()


async def test_tools_and_reasoning_are_folded_and_open_by_keyboard(
    window: RunsWindow, office: Office
) -> None:
    run_id = await office.complete(
        ReasoningDelta(text="Let me\nsee"),
        TextDelta(text="I look."),
        ToolStarted(call_id="a", name="Read", input={"path": "a.txt"}),
        ToolStarted(call_id="b", name="Bash", input={"command": "ls"}),
        ToolFinished(call_id="a", output="content of a"),
        ToolFinished(call_id="b", output="no such\nfile", is_error=True),
        TextDelta(text="Seen."),
    )
    window.show_item(run_id)
    folded = [
        *("▸ Reasoning", "", "I look.", ""),
        *("▸ Read  a.txt — done", "▸ Bash  ls — failed", "", "Seen."),
    ]
    await until(lambda: lines(window) == folded)
    put_caret_on(window, "Bash")
    QTest.keyClick(window.view.output, Qt.Key.Key_Return)
    opened = ["▾ Bash  ls — failed", "command: ls", "→ no such", "file"]
    assert lines(window) == [*folded[:5], *opened, *folded[6:]]
    QTest.keyClick(window.view.output, Qt.Key.Key_Return)
    assert lines(window) == folded
    put_caret_on(window, "Reasoning")
    QTest.keyClick(window.view.output, Qt.Key.Key_Return)
    assert lines(window)[:3] == ["▾ Reasoning", "Let me", "see"]


async def test_a_tool_that_ends_while_it_is_open_goes_on_in_its_place(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    await office.begin()
    office.playing.emit(ToolStarted(call_id="a", name="Read", input={"path": "a.txt"}))
    office.playing.say("Meanwhile.")
    await until(lambda: "Meanwhile." in lines(window), clock)
    put_caret_on(window, "Read")
    QTest.keyClick(window.view.output, Qt.Key.Key_Return)
    office.playing.emit(ToolFinished(call_id="a", output="content"))
    shown = ["▾ Read  a.txt — done", "path: a.txt", "→ content", "", "Meanwhile."]
    await until(lambda: lines(window) == shown)


async def test_the_end_of_a_run_lists_its_files_and_says_what_went_wrong(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    run_id = await office.begin()
    error = ExecutorError("agent_unknown", agent="x", known="y", guess="").message
    office.playing.emit(Notice(code="model_retry", text="Once more."))
    for path in ("b.txt", "a.txt", "b.txt"):
        office.playing.emit(FileChanged(path=path, change="written"))
    office.playing.finish(error=error)
    await outcome(office.local, run_id)
    window.show_item(run_id)
    shown = ["Once more.", "", "Files changed", "b.txt", "a.txt"]
    await until(lambda: lines(window) == shown, clock)
    assert window.view.error.isVisible()
    assert window.view.error.label.text() == error.sentence


async def test_what_a_run_left_unfinished_counts_as_stopped(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    await office.complete(ToolStarted(call_id="a", name="Bash", input={"command": "ls"}))
    await until(lambda: lines(window) == ["▸ Bash  ls — stopped"], clock)


async def test_answers_look_like_what_they_mean(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    # With folds in the same frame: hiding them must not keep the rest from being painted.
    await office.complete(
        TextDelta(text="# Head\nSome `code`.\n```\nmore\n```\nplain"),
        ToolStarted(call_id="a", name="Bash", input={"command": "ls"}),
        Notice(code="x", text="Once more."),
    )
    await until(lambda: "Once more." in lines(window), clock)
    await asyncio.sleep(0)
    document = window.view.output.document()
    looks = [
        [(span.start, span.length) for span in document.findBlockByNumber(n).layout().formats()]
        for n in range(6)
    ]
    assert looks == [[(0, 6)], [(5, 6)], [(0, 3)], [(0, 4)], [(0, 3)], []]
    assert document.lastBlock().layout().formats()


async def test_cancel_ends_the_run_from_its_button(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    run_id = await office.begin()
    await until(lambda: window.view.run_id == run_id, clock)
    assert window.view.cancel.isVisible()
    assert not window.view.retry.isVisible()
    window.view.cancel.click()
    assert (await outcome(office.local, run_id)).state is RunState.CANCELLED
    await until(window.view.retry.isVisible, clock)
    assert not window.view.cancel.isVisible()


async def test_run_again_starts_another_run_and_chooses_it(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    first = await office.complete(TextDelta(text="One."))
    await until(window.view.retry.isVisible, clock)
    await clock.advance(1)
    window.view.retry.click()
    await office.agent.started()
    await until(lambda: window.view.run_id not in (None, first), clock)
    assert window.model.rowCount() == 2


async def test_the_folder_of_a_run_is_opened_and_a_missing_one_explained(
    window: RunsWindow, office: Office, clock: JumpingClock, folders: Folders
) -> None:
    await office.complete(TextDelta(text="One."))
    await until(window.view.open.isEnabled, clock)
    folder = Path(window.view.folder.text())
    window.view.open.click()
    assert folders.opened == [folder]
    folders.answer = False
    window.view.open.click()
    assert "xdg-utils" in window.messages.label.text()
    folder.rename(folder.with_name("elsewhere"))
    window.view.open.click()
    assert (
        window.messages.label.text() == ExecutorError("folder_gone", path=folder).message.sentence
    )


async def test_text_and_run_id_are_copied(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    run_id = await office.complete(TextDelta(text="One.\n"), TextDelta(text="Two."))
    await until(lambda: lines(window) == ["One.", "Two."], clock)
    window.view.copy_text.click()
    assert QGuiApplication.clipboard().text() == "One.\nTwo."
    window.view.copy_id.click()
    assert QGuiApplication.clipboard().text() == run_id


async def test_finding_marks_every_place_and_opens_the_fold_that_hides_one(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    await office.complete(
        TextDelta(text="A needle."),
        ToolStarted(call_id="a", name="Read", input={"path": "needle.txt"}),
        TextDelta(text="No more."),
    )
    await until(lambda: "No more." in lines(window), clock)
    QTest.keyClick(window, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    bar = window.view.find_bar
    assert bar.isVisible()
    QTest.keyClicks(bar.line, "needle")
    assert bar.count.text() == "1 of 3"
    assert len(window.view.output.extraSelections()) == 3
    for _ in range(2):
        QTest.keyClick(bar.line, Qt.Key.Key_Return)
    assert bar.count.text() == "3 of 3"
    assert "path: needle.txt" in lines(window)
    QTest.keyClick(bar.line, Qt.Key.Key_Escape)
    assert window.isVisible()
    assert not bar.isVisible()
    assert window.view.output.extraSelections() == []


async def test_raw_events_are_shown_on_demand(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    await office.complete(TextDelta(text="One."))
    await until(lambda: lines(window) == ["One."], clock)
    window.view.raw.click()
    await until(lambda: any('"kind":"text_delta"' in line for line in lines(window)), clock)
    assert '"kind":"run_started"' in lines(window)[0]
    window.view.raw.click()
    await until(lambda: lines(window) == ["One."], clock)


async def test_an_open_window_speaks_another_language_at_once(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    await office.complete(TextDelta(text="One."))
    await until(window.view.retry.isVisible, clock)
    change_language("zh_CN")
    words = catalogue("zh_CN")
    assert window.windowTitle() == words["runs.title"]
    assert window.view.retry.text() == words["runs.retry"]
    assert words["state.run.completed"] in window.view.facts.text()
    assert words["runs.fresh_folder"] in window.prompt_box.folder.text()
    assert window.view.output.accessibleName() == words["runs.output"]


async def test_a_run_that_is_long_over_is_found_by_its_id(
    window: RunsWindow, office: Office
) -> None:
    run_id = await office.complete(TextDelta(text="Old."))
    window.show_item(run_id)
    await until(lambda: lines(window) == ["Old."])
    window.show_item("run_" + "0" * 32)
    await until(window.messages.isVisible)
    assert "0000" in window.messages.label.text()


async def test_a_window_that_was_closed_shows_what_came_meanwhile(
    window: RunsWindow, office: Office, clock: JumpingClock
) -> None:
    await office.begin(prompt="Long")
    office.playing.say("One.")
    await until(lambda: lines(window) == ["One."], clock)
    window.close()
    await asyncio.sleep(0)
    office.playing.say(" Two.")
    window.present()
    await until(lambda: lines(window) == ["One. Two."], clock)
