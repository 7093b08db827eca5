"""One tray application per <home>: a second start raises the first one's window instead."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtNetwork import QLocalServer, QLocalSocket

from desktop.system.deletion import delete_later

ANSWER_MS = 2000
_SHOW, _SHOWN = b"show", b"shown"


def channel_of(home: Path) -> str:
    """The name under which the application of a <home> can be reached."""
    return "wegent-executor-" + hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]


def raise_running(channel: str) -> bool:
    """Ask the application that runs to show itself; False where there is none.

    Blocks for `ANSWER_MS` at most, which is before our own loop starts.
    """
    socket = QLocalSocket()
    socket.connectToServer(channel)
    if not socket.waitForConnected(ANSWER_MS):
        return False
    socket.write(_SHOW)
    socket.flush()
    answered = socket.waitForReadyRead(ANSWER_MS) and socket.readAll().data() == _SHOWN
    socket.abort()
    return answered


class Doorbell(QObject):
    """Hears the second start. Only the holder of the instance's lock may have one."""

    def __init__(self, channel: str, on_ring: Callable[[], None]) -> None:
        super().__init__()
        self._on_ring = on_ring
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._greet)
        # What an application that crashed left behind is in the way.
        QLocalServer.removeServer(channel)
        self._server.listen(channel)

    def _greet(self) -> None:
        while (caller := self._server.nextPendingConnection()) is not None:
            caller.readyRead.connect(lambda caller=caller: self._answer(caller))
            caller.disconnected.connect(lambda *_, caller=caller: delete_later(caller))
            if caller.bytesAvailable():  # it spoke before anybody listened
                self._answer(caller)

    def _answer(self, caller: QLocalSocket) -> None:
        if caller.readAll().data() == _SHOW:
            caller.write(_SHOWN)
            caller.flush()
            self._on_ring()

    def close(self) -> None:
        """Hear nothing more."""
        self._server.close()
        delete_later(self)
