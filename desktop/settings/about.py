"""Which version this is, where its files are, and under which licences it stands."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import PySide6
from PySide6.QtWidgets import QGridLayout, QLabel, QPushButton, QTextBrowser

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP
from desktop.parts.window import ServicesWindow
from desktop.settings.page import Page
from executor_core import __version__
from executor_core.services.interface import Setting
from executor_core.texts import text

LIBRARIES = (
    "PySide6-Essentials", "aiohttp", "click", "keyring", "msgspec", "psutil", "PyJWT",
    "python-socketio", "qasync", "tomlkit",
)  # fmt: skip
PATHS = ("settings.path_home", "settings.path_work", "settings.path_log")


class AboutPage(Page):
    """Nothing to change here."""

    name = "about"
    title = "settings.about"

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.version = self.sentence()
        self.subheading("settings.paths")
        grid = QGridLayout()
        grid.setHorizontalSpacing(2 * GAP)
        grid.setColumnStretch(1, 1)
        self.paths: dict[str, Paragraph] = {}
        self.openers: dict[str, QPushButton] = {}
        for row, key in enumerate(PATHS):
            name = QLabel()
            window.words(name.setText, key)
            self.paths[key] = Paragraph()
            opener = self.openers[key] = QPushButton()
            window.words(opener.setText, "runs.open_folder")
            opener.clicked.connect(lambda _=False, key=key: self._open(key))
            grid.addWidget(name, row, 0)
            grid.addWidget(self.paths[key], row, 1)
            grid.addWidget(opener, row, 2)
        self.column.addLayout(grid)
        self.subheading("settings.licences")
        self.sentence("settings.licence_ours")
        self.licences = QTextBrowser()
        self.licences.setOpenExternalLinks(True)
        self.licences.setTabChangesFocus(True)
        self.licences.setMinimumHeight(20 * GAP)
        window.words(self.licences.setAccessibleName, "settings.licences")
        self.column.addWidget(self.licences, 1)
        self.retranslate()

    def appear(self) -> None:
        async def look() -> None:
            self.licences.setPlainText(await asyncio.to_thread(licences))

        if not self.licences.toPlainText():
            self.host.follow(look(), "licences")

    def take(self, settings: Mapping[str, Setting]) -> None:
        log = self.host.rooms.log.path
        self._show("settings.path_home", settings["home"].value)
        self._show("settings.path_log", str(log.parent))
        work = Path(settings["home"].value, settings["workspace.root"].value)
        self._show("settings.path_work", str(work))

    def _show(self, key: str, path: str) -> None:
        self.paths[key].setText(path)
        self.openers[key].setAccessibleName(f"{text('runs.open_folder')} {path}")

    def retranslate(self) -> None:
        self.version.setText(
            text(
                "settings.version",
                version=__version__,
                python=platform.python_version(),
                qt=PySide6.__version__,
                system=f"{platform.system()} {platform.machine()}",
            )
        )

    def _open(self, key: str) -> None:
        self.host.show_folder(Path(self.paths[key].text()).expanduser())


def licences() -> str:
    """A line for each library that we bring along: name, version and licence. Blocks."""
    lines = []
    for name in LIBRARIES:
        try:
            found = metadata.metadata(name).json
        except metadata.PackageNotFoundError:
            continue
        said = str(found.get("license_expression") or found.get("license") or "–")
        lines.append(f"{found['name']} {found['version']}: {said.splitlines()[0]}")
    return "\n".join(lines)
