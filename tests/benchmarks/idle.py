"""What the tray costs while nothing happens: `python -m tests.benchmarks.idle`.

The real program on a real desktop (see `support/real_desktop.py` for what that needs), connected to
a hub in this process. Nothing here fails. Takes half a minute.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.benchmarks.__main__ import Table
from tests.support import home
from tests.support.executor_process import ExecutorProcess
from tests.support.hub_server import HubServer
from tests.support.real_desktop import RealDesktop, real_desktop
from tests.support.stub_claude import StubClaude

SETTLED_S, SECONDS = 10.0, 15.0


async def idle(table: Table, executor: ExecutorProcess) -> None:
    """Of the whole process: windows, core and link."""
    process = psutil.Process(executor.pid)
    cpu, switches = process.cpu_times(), process.num_ctx_switches()
    await asyncio.sleep(SECONDS)
    cpu_now, switches_now = process.cpu_times(), process.num_ctx_switches()
    used_s = cpu_now.user + cpu_now.system - cpu.user - cpu.system
    switched = sum(switches_now) - sum(switches)
    table.add("idle tray, of a core", used_s / SECONDS * 100, "{:.2f} %", "-", 0.3)
    table.add(f"its context switches in {SECONDS:.0f} s", switched, "{:.0f}", "-", None)
    table.add("its memory", process.memory_info().rss / 2**20, "{:.0f} MB", "-", 120)


def hide_requests(executor: ExecutorProcess, folder: Path) -> None:
    """Only our test tools bring `requests`; where it is, engineio loads its 7 MB and needs none."""
    hidden = folder / "hidden"
    hidden.mkdir()
    (hidden / "requests.py").write_text("raise ImportError\n")
    executor.env["PYTHONPATH"] = os.pathsep.join((str(hidden), executor.env["PYTHONPATH"]))


async def measure(folder: Path, desktop: RealDesktop) -> None:
    hub = HubServer(folder)
    await hub.start()
    private = {name: desktop.env[name] for name in ("DISPLAY", "DBUS_SESSION_BUS_ADDRESS")}
    claude = StubClaude(folder / "agent")
    executor = ExecutorProcess(folder, claude.bin, private | {"QT_QPA_PLATFORM": "xcb"})
    hide_requests(executor, folder)
    executor.connect_to(hub.url, hub.hub.device_token())
    table = Table()
    try:
        executor.start("--mode", "local", module=("desktop.start",))
        await executor.online()
        await desktop.icon()
        await asyncio.sleep(SETTLED_S)
        await idle(table, executor)
        executor.signal(signal.SIGTERM)
        await executor.gone()
    finally:
        executor.clean_up()
        await hub.stop()
    table.show()


async def main(folder: Path) -> None:
    async with real_desktop(folder, "xfce4-panel") as desktop:
        await measure(folder, desktop)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        home.move_into(Path(scratch), patch)
        (work := Path(scratch) / "work").mkdir()
        asyncio.run(main(work))
