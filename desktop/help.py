"""The pages of help, with links from one to another."""

from __future__ import annotations

import re

from PySide6.QtCore import QEvent, Qt, QUrl
from PySide6.QtGui import (
    QDesktopServices,
    QKeySequence,
    QShortcut,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
)
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
)

from desktop.parts.style import GAP, Tone, colour
from desktop.parts.window import Window
from executor_core import help_pages
from executor_core.control import Control
from executor_core.jobs import Jobs
from executor_core.services.interface import Services

FIRST = "connect"
_SCHEME = "topic"
_LIST_WIDTH = 230
_KEEP = QTextCursor.MoveMode.KeepAnchor
# A page names another one as `slots`, or by the command that shows it.
_LINKED = re.compile(r"`(?:wegent-executor help )?([^`]*)`|https?://[\w./-]*\w")


def linked(page: str, topic: str) -> str:
    """The page `topic` in Markdown, with the other pages and addresses it names as links."""

    def link(found: re.Match[str]) -> str:
        named = found[1]
        if named is None:
            return f"<{found[0]}>"
        if named == topic or named not in help_pages.topics():
            return found[0]
        return f"[{help_pages.title(named)}]({_SCHEME}:{named})"

    parts = page.split("```")
    # Every second part is code, in which nothing is a link.
    parts[::2] = [_LINKED.sub(link, part) for part in parts[::2]]
    return "```".join(parts)


class Pages(QTextBrowser):
    """Shows topics by their addresses, `topic:slots`, and keeps the way back."""

    def loadResource(self, kind: int, name: QUrl | str) -> object:
        address = QUrl(name)
        topic = address.path()
        if address.scheme() != _SCHEME or topic not in help_pages.topics():
            return None
        return linked(help_pages.page(topic), topic)

    def doSetSource(
        self,
        name: QUrl | str,
        type: QTextDocument.ResourceType = QTextDocument.ResourceType.UnknownResource,
    ) -> None:
        address = QUrl(name)
        if address.scheme() == _SCHEME:
            super().doSetSource(address, QTextDocument.ResourceType.MarkdownResource)
            self._colour_links()
        else:
            QDesktopServices.openUrl(address)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._colour_links()

    def _colour_links(self) -> None:
        """Qt's own blue cannot be read on dark ground."""
        shade = QTextCharFormat()
        shade.setForeground(colour(Tone.ACCENT, self.palette()))
        cursor = QTextCursor(self.document())
        while not cursor.atEnd():
            cursor.movePosition(QTextCursor.MoveOperation.NextCharacter, _KEEP)
            if cursor.charFormat().isAnchor():
                cursor.mergeCharFormat(shade)
            cursor.clearSelection()


class HelpWindow(Window):
    """Topics beside the page. An item of it is a topic."""

    name = "help"
    title = "pages.title"

    def __init__(self, control: Control, services: Services | None, jobs: Jobs) -> None:
        super().__init__(control, services, jobs)
        self.search, self.list, self.pages = QLineEdit(), QListWidget(), Pages()
        self.none = QLabel()
        self.back, self.forward = QPushButton(), QPushButton()
        self._lay_out()
        self._say_words()
        self._connect()
        self._fill()
        self.show_item(FIRST)
        self.resize(880, 620)

    def _lay_out(self) -> None:
        self.search.setClearButtonEnabled(True)
        self.none.setWordWrap(True)
        self.pages.setFrameShape(QTextBrowser.Shape.NoFrame)
        self.pages.document().setDocumentMargin(2 * GAP)
        way = QHBoxLayout()
        way.addWidget(self.back)
        way.addWidget(self.forward)
        way.addStretch(1)
        left, right, row = QVBoxLayout(), QVBoxLayout(), QHBoxLayout()
        for widget in (self.search, self.none, self.list):
            widget.setFixedWidth(_LIST_WIDTH)
            left.addWidget(widget)
        left.setStretchFactor(self.list, 1)
        right.addLayout(way)
        right.addWidget(self.pages, 1)
        row.setSpacing(2 * GAP)
        row.addLayout(left)
        row.addLayout(right, 1)
        self.body.addLayout(row, 1)

    def _say_words(self) -> None:
        self.words(self.search.setPlaceholderText, "pages.search")
        self.words(self.search.setAccessibleName, "pages.search")
        self.words(self.list.setAccessibleName, "pages.topics")
        self.words(self.pages.setAccessibleName, "pages.page")
        self.words(self.none.setText, "pages.none")
        self.words(self.back.setText, "pages.back")
        self.words(self.forward.setText, "pages.forward")

    def _connect(self) -> None:
        self.search.textChanged.connect(self._filter)
        self.search.returnPressed.connect(self._open_first)
        self.list.currentItemChanged.connect(self._chosen)
        self.pages.sourceChanged.connect(self._turned)
        for button, turn, is_there, keys in (
            (self.back, self.pages.backward, self.pages.backwardAvailable, "Back"),
            (self.forward, self.pages.forward, self.pages.forwardAvailable, "Forward"),
        ):
            button.setEnabled(False)
            button.clicked.connect(turn)
            is_there.connect(button.setEnabled)
            QShortcut(QKeySequence(QKeySequence.StandardKey[keys]), self, turn)
        find = QKeySequence(QKeySequence.StandardKey.Find)
        QShortcut(find, self, lambda: self.search.setFocus(Qt.FocusReason.ShortcutFocusReason))

    def _fill(self) -> None:
        self.list.blockSignals(True)
        self.list.clear()
        for topic in help_pages.topics():
            item = QListWidgetItem(help_pages.title(topic), self.list)
            item.setData(Qt.ItemDataRole.UserRole, topic)
        self.list.blockSignals(False)
        self._filter()

    def retranslate(self) -> None:
        super().retranslate()
        self._fill()
        self.pages.reload()
        self._turned(self.pages.source())

    # --- finding and turning --------------------------------------------------------------

    def show_item(self, item: str) -> None:
        """Open the page of that topic."""
        self.pages.setSource(QUrl(f"{_SCHEME}:{item}"))

    def _filter(self) -> None:
        """Only topics whose title or name has every word that was typed."""
        wanted = self.search.text().casefold().split()
        items = [self.list.item(row) for row in range(self.list.count())]
        for item in items:
            known = f"{item.text()} {self._topic(item)}".casefold()
            item.setHidden(not all(word in known for word in wanted))
        self.none.setVisible(all(item.isHidden() for item in items))

    def _open_first(self) -> None:
        items = (self.list.item(row) for row in range(self.list.count()))
        found = next((item for item in items if not item.isHidden()), None)
        if found is not None:
            self.list.setCurrentItem(found)
            self.list.setFocus(Qt.FocusReason.OtherFocusReason)

    def _chosen(self, item: QListWidgetItem | None) -> None:
        if item is not None and self._topic(item) != self.pages.source().path():
            self.show_item(self._topic(item))

    def _turned(self, address: QUrl) -> None:
        """The list follows links and the way back."""
        for row in range(self.list.count()):
            if self._topic(self.list.item(row)) == address.path():
                self.list.setCurrentRow(row)

    @staticmethod
    def _topic(item: QListWidgetItem) -> str:
        return str(item.data(Qt.ItemDataRole.UserRole))
