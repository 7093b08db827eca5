"""The real program on a real desktop: its icon is clicked, its windows are used by keyboard."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from executor_core.control import RemoteControl, Submission
from executor_core.model import RunState
from executor_core.texts import catalogue
from tests.support.executor_process import ExecutorProcess, until
from tests.support.real_desktop import RealDesktop, needs_desktop, real_desktop
from tests.support.stub_claude import StubClaude, gate, leave, say, turn

pytestmark = pytest.mark.slow
PROGRAM = ("desktop.start",)
WORDS = catalogue("en")
PANELS = ("trayer", "xfce4-panel")


@pytest.fixture(params=PANELS)
async def desktop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RealDesktop]:
    needs_desktop(request.param)
    async with real_desktop(tmp_path, request.param) as desktop:
        yield desktop


@pytest.fixture
async def claude(tmp_path: Path) -> StubClaude:
    return StubClaude(tmp_path / "agent")


@pytest.fixture
async def executor(
    desktop: RealDesktop, claude: StubClaude, tmp_path: Path
) -> AsyncIterator[ExecutorProcess]:
    private = {name: desktop.env[name] for name in ("DISPLAY", "DBUS_SESSION_BUS_ADDRESS")}
    executor = ExecutorProcess(tmp_path, claude.bin, private | {"QT_QPA_PLATFORM": "xcb"})
    yield executor
    executor.clean_up()


async def begin_run(executor: ExecutorProcess, claude: StubClaude) -> str:
    """A run that is at work until somebody ends it."""
    prompt = turn(say("x"), gate("held"))
    async with RemoteControl.of_home(executor.home / "api.json") as control:
        run_id = await control.submit(Submission(prompt=prompt))
    await claude.reached("held")
    return run_id


async def start_again(executor: ExecutorProcess) -> int:
    """Start the program once more for the same home; its exit code."""
    again = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *PROGRAM, "--standalone",
        env=executor.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(20):
        return await again.wait()


async def open_menu(desktop: RealDesktop) -> None:
    place = await desktop.icon()
    await desktop.until_changed(partial(desktop.click, place, 3), "menu")


async def test_the_icon_is_clicked_and_a_run_is_cancelled_from_its_menu(
    desktop: RealDesktop, executor: ExecutorProcess, claude: StubClaude
) -> None:
    executor.start("--standalone", module=PROGRAM)
    await executor.online()
    desktop.save("icon")
    run_id = await begin_run(executor, claude)
    await open_menu(desktop)
    desktop.save("menu")
    # The line of the state, then that of the run, whose menu has "open" and "cancel".
    await desktop.press("Down", "Down", "Right")
    desktop.save("menu-of-run")
    await desktop.press("Down", "Return")
    await executor.until_status(lambda status: not status.runs, "cancelled")
    [run] = await executor.runs()
    assert (run.run.run_id, run.run.state) == (run_id, RunState.CANCELLED)


async def test_a_click_and_a_second_start_bring_the_window_to_the_front(
    desktop: RealDesktop, executor: ExecutorProcess
) -> None:
    executor.start("--standalone", module=PROGRAM)
    await executor.online()
    place = await desktop.icon()
    await desktop.click(place, 1)
    await desktop.until_window(WORDS["runs.title"])
    desktop.save("runs")
    await desktop.press("Escape")
    await desktop.until_no_window(WORDS["runs.title"])
    assert await start_again(executor) == 0
    await desktop.until_window(WORDS["runs.title"])


async def test_a_run_that_failed_at_once_is_told_and_a_click_on_that_opens_it(
    desktop: RealDesktop, executor: ExecutorProcess
) -> None:
    await desktop.start_notifications()
    executor.start("--standalone", module=PROGRAM)
    await executor.online()
    await desktop.icon()

    async def fail() -> None:
        async with RemoteControl.of_home(executor.home / "api.json") as control:
            await control.submit(Submission(prompt=turn(leave())))

    place = await desktop.until_changed(fail, "notification")
    desktop.save("notification")
    await desktop.click(place, 1)
    await desktop.until_window(WORDS["runs.title"])
    await desktop.until_still()
    desktop.save("notification-clicked")


async def test_the_icon_comes_back_with_a_panel_that_crashed(
    desktop: RealDesktop, executor: ExecutorProcess
) -> None:
    executor.start("--standalone", module=PROGRAM)
    await executor.online()
    await desktop.icon()
    await desktop.kill_panel()
    desktop.start_panel()
    if desktop.has_notifier:
        await desktop.until_registered()
    place = await desktop.icon()
    desktop.save("icon-again")
    icons = await desktop.registered_icons()
    assert ("StatusNotifierItem" in icons) is desktop.has_notifier
    await desktop.until_changed(partial(desktop.click, place, 3), "menu")
    desktop.save("menu-again")


async def test_a_signal_ends_program_and_run_in_time_and_leaves_nothing(
    desktop: RealDesktop, executor: ExecutorProcess, claude: StubClaude
) -> None:
    executor.start("--standalone", module=PROGRAM)
    await executor.online()
    await desktop.icon()
    await begin_run(executor, claude)
    executor.signal(signal.SIGTERM)
    assert await executor.gone(10) == 0
    await executor.until_alone()
    assert "Traceback" not in executor.output


async def test_the_first_run_is_gone_through_to_its_task_by_keyboard(
    desktop: RealDesktop, executor: ExecutorProcess, claude: StubClaude
) -> None:
    claude.program.unlink()  # who begins has the demo agent alone
    executor.start("--mode", "local", module=PROGRAM)
    await desktop.until_window(WORDS["first.title"])
    desktop.save("first-run")
    await desktop.press("space")
    # It begins anew as an executor with a hub of its own.
    await executor.online()
    await desktop.until_window(WORDS["first.title"])
    await until(lambda: "agent demo" in executor.output or None, 20, "agents were never found")
    await desktop.until_still()
    desktop.save("first-run-agents")
    await desktop.press("space")
    await desktop.until_still()
    desktop.save("first-run-try")
    await desktop.press("space")
    await executor.until_status(lambda status: status.ended == 1, "tried")
    [run] = await executor.runs()
    assert (run.run.agent, run.run.state) == ("demo", RunState.COMPLETED)
    await desktop.until_still()
    desktop.save("first-run-done")
    await desktop.press("space")
    await desktop.until_no_window(WORDS["first.title"])
