"""The icon in the system's tray; on desktops without one, a small window takes its place."""

from __future__ import annotations

import sys

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QSystemTrayIcon

from desktop.parts.commands import plain
from desktop.system.deletion import delete_later
from desktop.tray.glance import Glance
from desktop.tray.icon import app_icon, tray_icon
from desktop.tray.menu import TrayMenu
from desktop.tray.notices import Notice, NoticeKind
from desktop.tray.notification_service import NotificationService
from desktop.tray.window import StatusWindow
from executor_core.clock import Clock
from executor_core.control import Control
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.texts import paragraph

LOOK_S = 2.0
NO_TRAY_S = 30.0
"""After a login the tray may come that late; a panel that is started anew is faster."""
NOTICE_MS = 10_000


class Tray(QObject):
    """Icon, tooltip and notifications.

    Signals:
        show_asked: the icon was clicked.
        quit_asked: the window that stands in for the tray was closed.
        notice_clicked: a Notice.
    """

    show_asked = Signal()
    quit_asked = Signal()
    notice_clicked = Signal(object)

    def __init__(self, control: Control, jobs: Jobs, menu: TrayMenu, clock: Clock) -> None:
        super().__init__()
        self._jobs = jobs
        self._clock = clock
        self._glance: Glance | None = None
        self._notice: Notice | None = None
        is_linux = sys.platform.startswith("linux")
        self._service = NotificationService(jobs, self.notice_clicked.emit) if is_linux else None
        self.icon = QSystemTrayIcon()
        self.icon.setContextMenu(menu)
        self.icon.activated.connect(self._activated)
        self.icon.messageClicked.connect(self._clicked)
        self.window = StatusWindow(control, jobs, menu)
        self.window.close_asked.connect(self.quit_asked)

    def open(self) -> None:
        """Show the icon as soon as there is a place for it."""
        self._jobs.spawn(self._find_place(), "find the tray")

    async def close(self) -> None:
        """Take icon and window away."""
        if self._service is not None:
            await self._service.close()
        self.icon.hide()
        delete_later(self.icon)
        self.window.put_away()
        delete_later(self.window)

    @property
    def is_available(self) -> bool:
        """Whether this desktop has a tray now."""
        return QSystemTrayIcon.isSystemTrayAvailable()

    async def _find_place(self) -> None:
        without_since: float | None = self._clock.monotonic()
        is_shown = False
        while True:
            if self.is_available:
                if without_since is not None:
                    # Shown anew: a panel that came back does not know the icon of before.
                    self.icon.hide()
                    self.icon.show()
                    self.window.put_away()
                    is_shown = False
                without_since = None
            elif without_since is None:
                without_since = self._clock.monotonic()
            elif not is_shown and self._clock.monotonic() - without_since >= NO_TRAY_S:
                is_shown = True
                self.window.present()
            await self._clock.sleep(LOOK_S)

    def show_glance(self, glance: Glance) -> None:
        """Show the state of now."""
        if glance == self._glance:
            return
        self._glance = glance
        icon = self._icon_of(glance)
        self.icon.setIcon(icon)
        self.icon.setToolTip(glance.tooltip)
        self.window.show_glance(glance, icon)

    @staticmethod
    def _icon_of(glance: Glance) -> QIcon:
        is_template = sys.platform == "darwin"
        return tray_icon(glance.state, glance.used, glance.max, is_template=is_template)

    def notify(self, notice: Notice) -> None:
        """Show a notification; a click on it is told as `notice_clicked`."""
        self._jobs.spawn(self._notify(notice), "notification")

    async def _notify(self, notice: Notice) -> None:
        if self._service is None or not await self._service.show(notice):
            self._notice = notice
            self.icon.showMessage(notice.title, notice.text, app_icon(), NOTICE_MS)

    def say_error(self, error: ExecutorError) -> None:
        """Tell what went wrong where no window asked for it."""
        info = error.message
        self.window.say_error(info)
        words = plain(paragraph(info.detail, info.hint))
        self.notify(Notice(kind=NoticeKind.ATTENTION, title=info.title, text=words))

    def _clicked(self) -> None:
        if self._notice is not None:
            self.notice_clicked.emit(self._notice)

    def _activated(self, reason: QSystemTrayIcon.ActivationReason) -> None:
        # On macOS every click opens the menu.
        is_click = reason in (
            QSystemTrayIcon.ActivationReason.Trigger,
            QSystemTrayIcon.ActivationReason.DoubleClick,
        )
        if is_click and sys.platform != "darwin":
            self.show_asked.emit()
