"""The windows there are. A new one is a line in `ENTRIES`; each is loaded when first opened."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from desktop.parts.window import Program, Window
from desktop.system.deletion import delete_later
from executor_core.control import Control
from executor_core.jobs import Jobs
from executor_core.services.interface import Services


class Entry(NamedTuple):
    """A window: its name, its entry in the menu ("": none), and where its class is."""

    name: str
    text: str
    module: str
    kind: str


ENTRIES = (
    Entry("runs", "tray.runs", "desktop.runs.window", "RunsWindow"),
    Entry("log", "tray.log", "desktop.log.window", "LogWindow"),
    Entry("settings", "tray.settings", "desktop.settings.window", "SettingsWindow"),
    Entry("doctor", "tray.doctor", "desktop.doctor.window", "DoctorWindow"),
    Entry("help", "tray.help", "desktop.help", "HelpWindow"),
    Entry("first_run", "", "desktop.first_run", "FirstRunWindow"),
)


class Windows:
    """Opens each window once; closing hides it."""

    def __init__(
        self,
        control: Control,
        services: Services | None,
        jobs: Jobs,
        program: Program | None = None,
    ) -> None:
        self._program = program
        self._make: Callable[[type[Window]], Window] = lambda kind: kind(control, services, jobs)
        self._open: dict[str, Window] = {}

    def open(self, name: str, item: str = "") -> Window:
        """Bring the window `name` to the front, at `item` where it lists such things."""
        window = self._open.get(name)
        if window is None:
            entry = next(entry for entry in ENTRIES if entry.name == name)
            window = self._open[name] = self._make(getattr(import_module(entry.module), entry.kind))
            window.program = self._program
            window.open_asked.connect(self.open)
        window.present()
        if item:
            window.show_item(item)
        return window

    def close(self) -> None:
        """Take all of them off the screen."""
        for window in self._open.values():
            window.close()

    def forget(self) -> None:
        """Take them apart, when no job of theirs is left that could want their widgets."""
        for window in self._open.values():
            delete_later(window)
        self._open.clear()
