"""Deleting what Qt and Python both know.

`deleteLater` leaves an object to Qt alone. If Python forgets it before Qt gets to it, Qt finds
children whose Python halves are gone, and the process ends. So it is kept here until then.
"""

from __future__ import annotations

import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, QObject

_doomed: list[QObject] = []


def delete_later(thing: QObject) -> None:
    """Delete `thing` and all that belongs to it, when Qt is back in its loop."""
    _doomed[:] = [one for one in _doomed if shiboken6.isValid(one)]
    _doomed.append(thing)
    thing.deleteLater()


def delete_now() -> None:
    """Delete what waits to be deleted later."""
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    _doomed.clear()
