"""Everything that a person can choose: pages beside each other, changed at once where possible."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QLocale, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QShowEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QWidget,
)

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, use_colours
from desktop.parts.window import ServicesWindow, change_language
from desktop.settings.about import AboutPage
from desktop.settings.advanced import AdvancedPage
from desktop.settings.agents import AgentsPage
from desktop.settings.connection import ConnectionPage
from desktop.settings.devices import DevicesPage
from desktop.settings.login import LoginPage
from desktop.settings.page import Page
from desktop.settings.plain import AppearancePage, NotificationsPage, SlotsPage
from desktop.settings.workspaces import CONFIGURING, WorkspacesPage
from executor_core.clock import Clock
from executor_core.control import Control
from executor_core.jobs import Jobs
from executor_core.services.interface import Services, Setting
from executor_core.texts import language_of, text

PAGES: tuple[type[Page], ...] = (
    ConnectionPage,
    DevicesPage,
    AgentsPage,
    WorkspacesPage,
    SlotsPage,
    NotificationsPage,
    LoginPage,
    AppearancePage,
    AdvancedPage,
    AboutPage,
)
SLOTS = "device.max_concurrent_tasks"
NOTICES = "notifications."
READ_ANEW = (CONFIGURING, "desktop.keep_awake")
"""The executor looks at these for every run, and while runs live."""
TICK_MS = 1000


class SettingsWindow(ServicesWindow):
    """A page counts what is found out when it is looked at; nothing is asked in the background."""

    name = "settings"
    title = "settings.title"

    def __init__(
        self, control: Control, services: Services | None, jobs: Jobs, *, clock: Clock | None = None
    ) -> None:
        super().__init__(control, services, jobs, clock=clock)
        self.settings: dict[str, Setting] = {}
        self._waiting: dict[str, str] = {}
        self.list = QListWidget()
        self.stack = QStackedWidget()
        self.pages = [kind(self) for kind in PAGES]
        self.restart_bar = QFrame()
        self.restart_note = Paragraph()
        self.restart_button = QPushButton()
        self._lay_out()
        self.list.currentRowChanged.connect(self._turn_to)
        self.restart_button.clicked.connect(self._ask_restart)
        self.tick = QTimer(self, interval=TICK_MS)
        self.tick.timeout.connect(lambda: self.page.retranslate())
        self.list.setCurrentRow(0)
        self.resize(880, 640)

    def _lay_out(self) -> None:
        self.list.setSpacing(GAP // 4)
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.words(self.list.setAccessibleName, "settings.pages")
        for page in self.pages:
            # Made here: of an item that Qt makes Python is not told when it is deleted.
            self.words(QListWidgetItem(self.list).setText, page.title)
            self.stack.addWidget(_scrolled(page))
        self.list.setFixedWidth(self._list_width())
        row = QHBoxLayout()
        row.addWidget(self.list)
        row.addWidget(self.stack, 1)
        self.body.addLayout(row, 1)
        bar = QHBoxLayout(self.restart_bar)
        bar.setContentsMargins(GAP, 0, 0, 0)
        bar.addWidget(self.restart_note, 1)
        bar.addWidget(self.restart_button)
        self.words(self.restart_button.setText, "settings.restart_now")
        self.restart_bar.hide()
        self.body.addWidget(self.restart_bar)

    def _list_width(self) -> int:
        return self.list.sizeHintForColumn(0) + 4 * GAP

    # --- pages ----------------------------------------------------------------------------

    @property
    def page(self) -> Page:
        """The one that is in front."""
        return self.pages[max(0, self.list.currentRow())]

    def show_item(self, item: str) -> None:
        """Turn to the page of that name."""
        names = [page.name for page in self.pages]
        if item in names:
            self.list.setCurrentRow(names.index(item))

    def _turn_to(self, row: int) -> None:
        self.stack.setCurrentIndex(row)
        if self.isVisible():
            self.pages[row].appear()

    def showEvent(self, event: QShowEvent) -> None:
        is_first = not self.tick.isActive()
        super().showEvent(event)
        if is_first:
            self.tick.start()
            self._load()
            self.follow(self._watch(), "watch the executor")
            self.page.appear()

    async def _watch(self) -> None:
        async for status in self.control.changes():
            for page in self.pages:
                page.show_status(status)

    def closeEvent(self, event: QCloseEvent) -> None:
        self.tick.stop()
        super().closeEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            for page in self.pages:
                page.retranslate()

    def retranslate(self) -> None:
        super().retranslate()
        self.list.setFixedWidth(self._list_width())
        for page in self.pages:
            page.retranslate()
        self._say_restart()
        if self.isVisible():
            self._load()  # what options are called comes with them
            self.page.appear()

    # --- options --------------------------------------------------------------------------

    def _load(self) -> None:
        async def load() -> None:
            found = await self.rooms.settings.settings()
            self.settings = {setting.name: setting for setting in found}
            self._hand_out()

        self.follow(load(), "read the options")

    def _hand_out(self) -> None:
        for page in self.pages:
            page.take(self.settings)

    async def change(self, name: str, value: str | list[str] | None) -> Setting:
        before = self.settings[name].value if name in self.settings else ""
        setting = await super().change(name, value)
        self.settings[name] = setting
        if not await self._counts_at_once(setting):
            original = self._waiting.setdefault(name, before)
            self.needs_restart(name, is_needed=setting.value != original)
        self._hand_out()
        return setting

    async def _counts_at_once(self, setting: Setting) -> bool:
        name, value = setting.name, setting.value
        if name == "language":
            change_language(language_of(QLocale.system().name()) if value == "auto" else value)
        elif name == "desktop.colours":
            use_colours(value)
        elif name == SLOTS:
            await self.control.resize(int(value))
        elif name.startswith(NOTICES) and self.program is not None:
            self.program.prefer(name, value == "true")
        else:
            return name in READ_ANEW
        return True

    # --- a new start ----------------------------------------------------------------------

    def needs_restart(self, name: str, *, is_needed: bool = True) -> None:
        if is_needed:
            self._waiting.setdefault(name, "")
        else:
            self._waiting.pop(name, None)
        self._say_restart()

    def _say_restart(self) -> None:
        can_restart = self.program is not None and self.program.restart is not None
        self.restart_note.say(text("settings.restart" if can_restart else "settings.restart_there"))
        self.restart_button.setVisible(can_restart)
        self.restart_bar.setVisible(bool(self._waiting))

    def _ask_restart(self) -> None:
        async def ask() -> None:
            status = await self.control.status()
            count = status.slots.used + status.queued
            if not count:
                self._restart()
                return
            self.question(
                text("settings.restart_title"),
                text("settings.restart_runs", count=count),
                text("settings.restart_deed"),
                self._restart,
            )

        self.ask(ask(), "restart")

    def _restart(self) -> None:
        if self.program is not None and self.program.restart is not None:
            self.program.restart(self.name, self.page.name)


def _scrolled(page: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setWidgetResizable(True)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
    area.setWidget(page)
    return area
