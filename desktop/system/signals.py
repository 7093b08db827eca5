"""Where the system tells at once that it woke, or that a network came."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import SLOT, QObject, Slot
from PySide6.QtDBus import QDBusConnection
from PySide6.QtNetwork import QNetworkInformation

from desktop.system.deletion import delete_later


class SystemSignals(QObject):
    """Calls `on_change` then. The executor notices a sleep by itself, a little later."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change
        if sys.platform.startswith("linux"):
            connect: Any = QDBusConnection.systemBus().connect  # Any: its types want bytes
            place = ("", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
            connect(*place, "PrepareForSleep", self, SLOT("on_sleep(bool)"))
        if QNetworkInformation.loadDefaultBackend():
            QNetworkInformation.instance().reachabilityChanged.connect(self.on_network)

    @Slot(bool)
    def on_sleep(self, is_going_to: bool) -> None:
        """login1 says True before the sleep and False after it."""
        if not is_going_to:
            self._on_change()

    def on_network(self, reachability: QNetworkInformation.Reachability) -> None:
        """The way to the network changed."""
        if reachability is not QNetworkInformation.Reachability.Disconnected:
            self._on_change()

    def close(self) -> None:
        """Hear nothing more."""
        self._on_change = lambda: None
        delete_later(self)
