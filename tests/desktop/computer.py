"""A computer for windows: a home, a real executor with its hub, and the services."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from desktop.parts.window import Program
from desktop.system.autostart import autostart_for
from executor_core.app import Application
from executor_core.clock import SystemClock
from executor_core.config.home import Home
from executor_core.config.layers import Config, load
from executor_core.control import Control, RemoteControl
from executor_core.services.interface import Services
from executor_core.services.opening import open_services


class Computer:
    """A home, its configuration, and what windows asked of the program around them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.home.create()
        self.environment = {
            "HOME": str(folder),
            "USERPROFILE": str(folder),
            "PATH": "/usr/bin:/bin",
            "WEGENT_EXECUTOR_HOME": str(self.home.path),
        }
        self.restarts: list[tuple[str, str]] = []
        self.preferred: list[tuple[str, bool]] = []
        way = autostart_for("linux", ["x"], user_home=folder, config_home=folder)
        self.program = Program(
            autostart=way,
            start_at_login=way.turn,
            prefer=lambda name, on: self.preferred.append((name, on)),
            restart=lambda window, item: self.restarts.append((window, item)),
        )

    def load(self) -> Config:
        return load(self.home, self.environment, {"api.listen": "127.0.0.1:0"})

    def services(self, control: Control) -> Services:
        reach = partial(RemoteControl.of_home, self.home.api_json)
        return open_services(self.load, reach, SystemClock(), control=control)

    def executor(self, *, standalone: bool) -> Application:
        return Application(
            self.load(),
            standalone=standalone,
            own_command=[sys.executable, "-m", "executor_core"],
            load=self.load,
        )


async def until(is_so: Callable[[], object]) -> None:
    """Let Qt, the executor and its threads work until it is so."""
    async with asyncio.timeout(15):
        while not is_so():
            await asyncio.sleep(0.005)


def are_programs_gone() -> bool:
    """Whether what was started to look for agents has been ended."""
    return not any(job.get_name().startswith("process/") for job in asyncio.all_tasks())
