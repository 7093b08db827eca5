"""The one application object of the process."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication


class DesktopApplication(QApplication):
    """Cmd-Q and its like ask as our own menu does; Qt alone would tear the loop away.

    They are seen here and not by a filter of all events: that would make Python look at every
    object that Qt is just taking apart, and keep what is left of it.
    """

    on_quit: Callable[[], None] | None = None

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Quit and self.on_quit is not None:
            self.on_quit()
            return True
        return super().event(event)
