"""What a report for helpers holds, file by file, to be read before it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PySide6.QtCore import QDir, Qt, Signal
from PySide6.QtGui import QFontDatabase
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP
from desktop.system.deletion import delete_later
from executor_core.texts import text


class ReportDialog(QDialog):
    """Lives until it is answered.

    Signals:
        save_asked: the Path under which it is wanted.
    """

    save_asked = Signal(object)

    def __init__(self, parent: QWidget, files: Mapping[str, str], name: str) -> None:
        """`name` is offered for the file."""
        super().__init__(parent)
        self._files = dict(files)
        self._name = name
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(text("report.title"))
        self.list, self.content = QListWidget(), QPlainTextEdit()
        self.buttons = QDialogButtonBox()
        roles = QDialogButtonBox.ButtonRole
        self.save = self.buttons.addButton(text("report.save"), roles.AcceptRole)
        self.cancel = self.buttons.addButton(text("report.cancel"), roles.RejectRole)
        self._lay_out()
        self._fill()
        self.buttons.accepted.connect(self._ask_where)
        self.buttons.rejected.connect(self.reject)
        self.resize(820, 560)

    def _lay_out(self) -> None:
        note = Paragraph()
        note.say(text("report.note"))
        self.list.setAccessibleName(text("report.files"))
        self.content.setReadOnly(True)
        self.content.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.content.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.content.setTabChangesFocus(True)
        row = QHBoxLayout()
        row.addWidget(self.list)
        row.addWidget(self.content, 1)
        column = QVBoxLayout(self)
        column.setSpacing(GAP)
        column.addWidget(note)
        column.addLayout(row, 1)
        column.addWidget(self.buttons)

    def _fill(self) -> None:
        for name, content in self._files.items():
            size = f"{len(content.encode()) / 1024:.1f}"
            self.list.addItem(text("report.size", name=name, size=size))
        self.list.setFixedWidth(self.list.sizeHintForColumn(0) + 4 * GAP)
        self.list.currentRowChanged.connect(self._show_file)
        self.list.setCurrentRow(0)

    def _show_file(self, number: int) -> None:
        name, content = list(self._files.items())[number]
        self.content.setAccessibleName(name)
        self.content.setPlainText(content)

    def _ask_where(self) -> None:
        dialog = QFileDialog(self, text("report.title"), QDir.homePath(), text("report.kind"))
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("zip")
        dialog.selectFile(self._name)
        dialog.fileSelected.connect(self._save)
        dialog.finished.connect(lambda *_: delete_later(dialog))
        dialog.open()

    def _save(self, target: str) -> None:
        self.save_asked.emit(Path(target))
        self.accept()
