"""Opens a folder in the system's own file manager."""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtCore import QProcess, QProcessEnvironment, QUrl
from PySide6.QtGui import QDesktopServices

_KEPT = "_ORIG"
_OF_THE_BUNDLE = ("LD_", "QT_PLUGIN_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH", "_MEIPASS", "_PYI")
_OURS = "WEGENT_"


def open_folder(folder: Path) -> bool:
    """Show `folder`; False where nothing could be started for it."""
    if sys.platform != "linux":
        return QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
    process = QProcess()
    process.setProgram("xdg-open")
    process.setArguments([str(folder)])
    process.setProcessEnvironment(_own_environment(QProcessEnvironment.systemEnvironment()))
    process.setStandardOutputFile(QProcess.nullDevice())
    process.setStandardErrorFile(QProcess.nullDevice())
    return bool(process.startDetached()[0])


def _own_environment(environment: QProcessEnvironment) -> QProcessEnvironment:
    """The person's own, without our token.

    A frozen bundle points some variables into itself, and keeps the person's under another name.
    """
    names = environment.keys()
    kept = {name: environment.value(name) for name in names if name.endswith(_KEPT)}
    for name in names:
        if name.startswith((*_OF_THE_BUNDLE, _OURS)):
            environment.remove(name)
    for name, value in kept.items():
        environment.insert(name.removesuffix(_KEPT), value)
    return environment
