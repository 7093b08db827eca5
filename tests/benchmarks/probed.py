"""The executor with stopwatches inside: `python -m tests.benchmarks.probed FILE …`.

Into FILE goes a line per moment, `<name> <monotonic seconds>`, and at the end the longest time that
one callback held the loop after the device was registered.
"""

from __future__ import annotations

import atexit
import sys
import time
from pathlib import Path
from typing import Any

from executor_core.cli.main import main
from executor_core.links.device.work import DeviceWork
from executor_core.process import ProcessTree
from tests.support.watchdog import Watchdog


def _probe(file: Path) -> None:
    moments: list[str] = []
    watchdog = Watchdog(least_s=0.001)

    def note(name: str, seconds: float | None = None) -> None:
        moments.append(f"{name} {time.monotonic() if seconds is None else seconds}")

    on_server_event, spawn, serve = DeviceWork.on_server_event, ProcessTree.spawn, DeviceWork.serve

    def receive(work: DeviceWork, event: str, data: Any) -> Any:
        if event == "task:execute":
            note("received")
        return on_server_event(work, event, data)

    async def start(argv: Any, *, marker: str, **more: Any) -> ProcessTree:
        tree = await spawn(argv, marker=marker, **more)
        if ":run_" in marker:
            note("spawned")
        return tree

    async def online(work: DeviceWork, *arguments: Any) -> None:
        watchdog.take()
        await serve(work, *arguments)

    def write() -> None:
        for stall in watchdog.take()[:1]:
            note(f"blocked:{stall.callback.replace(' ', '_')}", stall.seconds)
        file.write_text("\n".join(moments))

    for owner, name, function in (
        (DeviceWork, "on_server_event", receive),
        (DeviceWork, "serve", online),
        (ProcessTree, "spawn", start),
    ):
        setattr(owner, name, function)
    watchdog.install()
    atexit.register(write)


if __name__ == "__main__":
    _probe(Path(sys.argv.pop(1)))
    main()
