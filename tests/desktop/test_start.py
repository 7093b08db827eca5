"""The real program, as a process: it hosts an executor, shows another's, and falls back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.executor_process import ExecutorProcess, until

pytestmark = pytest.mark.slow
DESKTOP = ("desktop.start",)


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[ExecutorProcess]:
    # A private bus address, so that nothing of the session that tests run in is asked.
    executor = ExecutorProcess(tmp_path, tmp_path, {"DBUS_SESSION_BUS_ADDRESS": "disabled:"})
    yield executor
    executor.clean_up()


async def again(executor: ExecutorProcess, *arguments: str) -> tuple[int, str]:
    """Start the desktop once more for the same home; how it ended."""

    def run() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", *DESKTOP, *arguments],
            env=executor.env,
            cwd=executor.user_home,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout

    return await asyncio.to_thread(run)


async def test_it_hosts_the_executor_and_a_second_start_raises_it(
    executor: ExecutorProcess,
) -> None:
    executor.start("--standalone", module=DESKTOP)
    await executor.online()
    code, said = await again(executor, "--standalone")
    assert (code, "running already" in said) == (0, True)
    executor.signal(signal.SIGTERM)
    assert await executor.gone(10) == 0
    assert "Traceback" not in executor.output
    await executor.until_alone()


async def test_it_ends_within_ten_seconds_while_a_run_lives(executor: ExecutorProcess) -> None:
    executor.start("--standalone", module=DESKTOP)
    await executor.online()
    done = asyncio.get_running_loop().run_in_executor(
        None, lambda: asyncio.run(executor.command("exec", "--agent", "demo", "Say something"))
    )
    await executor.until_status(lambda status: bool(status.runs), "at work")
    executor.signal(signal.SIGTERM)
    assert await executor.gone(10) == 0
    await done
    await executor.until_alone()


async def test_it_shows_an_executor_that_runs_already_and_leaves_it_alone(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    executor.start("--no-gui", "--standalone")
    await executor.online()
    out = tmp_path / "desktop.txt"
    with out.open("w") as file:
        desktop = subprocess.Popen(  # noqa: ASYNC220  it is back at once
            [sys.executable, "-u", "-m", *DESKTOP],
            env=executor.env,
            stdout=file,
            stderr=file,
        )
    try:
        said = f"process {executor.pid}"
        await until(lambda: said in out.read_text() or None, 15, out.read_text)
        code, _ = await again(executor)
        assert code == 0
        desktop.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(desktop.wait, 10) == 0
    finally:
        desktop.kill()
        desktop.wait()
    assert await executor.status() is not None
    assert "Traceback" not in out.read_text()


async def test_without_a_display_it_says_so_and_runs_headless(executor: ExecutorProcess) -> None:
    executor.env |= {"QT_QPA_PLATFORM": "xcb", "DISPLAY": ":4711", "WAYLAND_DISPLAY": ""}
    executor.start("--standalone", module=DESKTOP)
    await executor.online()
    assert "The tray application cannot start here" in executor.output
    executor.signal(signal.SIGTERM)
    assert await executor.gone() == 0


async def test_without_a_window_qt_is_not_loaded(executor: ExecutorProcess) -> None:
    executor.start("--standalone", "--no-gui", module=DESKTOP)
    await executor.online()
    maps = Path(f"/proc/{executor.pid}/maps")
    if os.path.exists(maps):
        assert "libQt6" not in maps.read_text()
    executor.signal(signal.SIGTERM)
    assert await executor.gone() == 0
