"""An option that is a list of folders, on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QListWidget

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP
from desktop.settings.page import Page
from desktop.system.deletion import delete_later
from executor_core.services.interface import Setting
from executor_core.texts import text


class FolderList:
    """The list of option `name` with its buttons, at the end of `page`; `title` is a text's key."""

    def __init__(self, page: Page, name: str, title: str) -> None:
        self._page, self._name = page, name
        self._folders: tuple[str, ...] = ()
        self.list = QListWidget()
        self.list.setFixedHeight(10 * GAP)
        page.host.words(self.list.setAccessibleName, title)
        self.overridden = Paragraph(is_muted=True)
        self.overridden.hide()
        self.add = page.button("settings.add_folder", self._choose)
        self.drop = page.button("settings.drop_folder", self._drop)
        page.column.addWidget(self.list)
        page.column.addWidget(self.overridden)
        page.row(self.add, self.drop)
        self.list.currentRowChanged.connect(lambda _: self._enable())
        self._enable()

    def take(self, settings: Mapping[str, Setting]) -> None:
        """Show the option as it is now."""
        setting = settings[self._name]
        self._folders = setting.items
        self.list.clear()
        self.list.addItems(list(setting.items))
        by = setting.overridden_by
        self.overridden.say(text("settings.overridden", source=by) if by else "")
        self.add.setEnabled(by is None)
        self._enable()

    def put(self, folder: Path) -> None:
        """Add `folder`."""
        if str(folder) not in self._folders:
            self._change((*self._folders, str(folder)))

    def _choose(self) -> None:
        dialog = QFileDialog(self._page, text("settings.add_folder"))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.fileSelected.connect(lambda path: self.put(Path(path)))
        dialog.finished.connect(lambda *_: delete_later(dialog))
        dialog.open()

    def _drop(self) -> None:
        row = self.list.currentRow()
        self._change(self._folders[:row] + self._folders[row + 1 :])

    def _change(self, folders: Sequence[str]) -> None:
        host = self._page.host
        host.ask(host.change(self._name, list(folders) or None), "folders")

    def _enable(self) -> None:
        self.drop.setEnabled(self.add.isEnabled() and self.list.currentRow() >= 0)
