"""The tray application around one executor: watches it, shows it, and passes on what is chosen.

It decides nothing about runs or links; that is the executor's, behind `Control`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QApplication, QMessageBox

from desktop.parts.window import Program
from desktop.system.application import DesktopApplication
from desktop.system.autostart import Autostart
from desktop.system.deletion import delete_later
from desktop.system.signals import SystemSignals
from desktop.tray.glance import Glance, glance, until_tomorrow_s
from desktop.tray.menu import PAUSES, TrayMenu
from desktop.tray.notices import (
    Notice,
    NoticeKind,
    collapsed,
    newly_ended,
    notice_of_change,
    notice_of_run,
)
from desktop.tray.tray import Tray
from desktop.windows import Windows
from executor_core.clock import Clock
from executor_core.control import Control, Status
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import LinkState
from executor_core.services.interface import Services
from executor_core.texts import text

REFRESH_S = 30.0
"""How old the times in menu and tooltip may become while nothing happens."""
REACH_S = 5.0
COLLECT_S = 2.0
ACCOUNT_S = 3600.0
_RECENT = 20
_log = logging.getLogger("executor.desktop")


class Session(QObject):
    """Opened when the executor answers, closed when it or the person ends it.

    `leave` ends the program without asking. `attached_to` is the process of an executor that is
    not ours: quitting then leaves it alone.
    """

    def __init__(
        self,
        control: Control,
        services: Services | None,
        *,
        notices: frozenset[NoticeKind],
        autostart: Autostart,
        leave: Callable[[], None],
        clock: Clock,
        attached_to: str | None = None,
        restart: Callable[[str, str], None] | None = None,
    ) -> None:
        super().__init__()
        self._control = control
        self._services = services
        self._wanted = notices
        self._autostart = autostart
        self._leave = leave
        self._clock = clock
        self._attached_to = attached_to
        self._jobs = Jobs("desktop")
        self._signals = SystemSignals(self._try_links)
        self._status: Status | None = None
        self._told_at: datetime | None = None
        self._glance: Glance | None = None
        self._expires_at: datetime | None = None
        self._last_end = clock.now()
        self._agents: dict[str, str] = {}
        self._notices: list[Notice] = []
        self._question: QMessageBox | None = None
        program = Program(
            autostart=autostart,
            start_at_login=self._turn_login,
            prefer=self._prefer,
            restart=restart,
        )
        self.windows = Windows(control, services, self._jobs, program)
        self.menu = TrayMenu()
        self.tray = Tray(control, self._jobs, self.menu, clock)
        self._connect()

    def _connect(self) -> None:
        menu, tray = self.menu, self.tray
        menu.run_chosen.connect(lambda run_id: self.windows.open("runs", run_id))
        menu.window_chosen.connect(self.windows.open)
        menu.cancel_chosen.connect(lambda i: self._ask(lambda: self._control.cancel(i), "cancel"))
        menu.pause_chosen.connect(self._pause)
        menu.resume_chosen.connect(lambda: self._ask(self._control.resume, "resume"))
        menu.retry_chosen.connect(self._try_links)
        menu.page_chosen.connect(lambda: self._ask(self._open_page, "open page"))
        menu.login_toggled.connect(self._start_at_login)
        menu.quit_chosen.connect(self.quit)
        menu.aboutToShow.connect(self._show)
        menu.language_changed.connect(self.retranslate)
        tray.show_asked.connect(self.show)
        tray.quit_asked.connect(self.quit)
        tray.notice_clicked.connect(self._open_notice)

    # --- life -------------------------------------------------------------------------------

    def open(self) -> None:
        """Show the tray, or what takes its place, and start to watch."""
        if self._attached_to is not None:
            self.menu.show_attached(self._attached_to)
        with suppress(OSError):  # then it is simply not shown as switched on
            self.menu.show_start_at_login(self._autostart.is_on())
        self._show()
        _application().on_quit = self.quit
        _application().commitDataRequest.connect(self._leave)
        self.tray.open()
        self._jobs.spawn(self._watch(), "watch the executor")
        self._jobs.spawn(self._grow_older(), "refresh times")
        if self._services is not None:
            self._jobs.spawn(self._watch_account(self._services), "watch the account")

    async def close(self) -> None:
        """Take everything off the screen. Idempotent."""
        if _application().on_quit is None:
            return
        _application().on_quit = None
        _application().commitDataRequest.disconnect(self._leave)
        self._signals.close()
        if self._question is not None:
            self._question.close()
        self.windows.close()
        await self._jobs.close()
        self.windows.forget()
        await self.tray.close()
        delete_later(self.menu)

    def show(self) -> None:
        """What a second start and a click on the icon bring to the front."""
        self.windows.open("runs")

    def retranslate(self) -> None:
        """Say everything in the language of now."""
        self.menu.retranslate()
        self._show()

    # --- watching ---------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            with suppress(ExecutorError):  # it is gone; the icon says so until it answers again
                await self._learn_agents()
                async for status in self._control.changes():
                    await self._take(status)
            self._status = None
            self._show()
            await self._clock.sleep(REACH_S)

    async def _learn_agents(self) -> None:
        self._agents = {agent.name: agent.title for agent in await self._control.agents()}

    async def _take(self, status: Status) -> None:
        before, self._status, self._told_at = self._status, status, self._clock.now()
        self._show()
        if before is None or status.ended != before.ended:
            recent = await self._control.runs(_RECENT)
            ended = newly_ended(before, status, recent, self._last_end)
            ends = [run.finished_at for run in recent if run.finished_at is not None]
            self._last_end = max([self._last_end, *ends])
            for run_id in ended:
                self._announce(notice_of_run(await self._control.run(run_id)))
            self.menu.show_recent(recent, self._agents)

    async def _grow_older(self) -> None:
        while True:
            await self._clock.sleep(REFRESH_S)
            self._show()

    async def _watch_account(self, services: Services) -> None:
        while True:
            with suppress(ExecutorError):  # the link says what is wrong with the token
                self._expires_at = (await services.account.account()).expires_at
            self._show()
            await self._clock.sleep(ACCOUNT_S)

    def _show(self) -> None:
        now = self._clock.now()
        before = self._glance
        self._glance = glance(
            self._status, now=now, told_at=self._told_at, expires_at=self._expires_at
        )
        self.menu.show_glance(self._glance)
        if self._status is not None:
            self.menu.show_status(self._status, self._agents, now)
        self.tray.show_glance(self._glance)
        self._announce(notice_of_change(before, self._glance))

    # --- notifications ----------------------------------------------------------------------

    def _announce(self, notice: Notice | None) -> None:
        if notice is None or notice.kind not in self._wanted:
            return
        if QApplication.activeWindow() is not None:
            return
        self._notices.append(notice)
        if len(self._notices) == 1:
            self._jobs.spawn(self._notify(), "notify")

    async def _notify(self) -> None:
        await self._clock.sleep(COLLECT_S)
        notices, self._notices = self._notices, []
        self.tray.notify(collapsed(notices))

    def _open_notice(self, notice: Notice) -> None:
        self.windows.open("runs", notice.run_id or "")

    # --- what is chosen ---------------------------------------------------------------------

    def _ask(self, question: Callable[[], Awaitable[object]], name: str) -> None:
        async def work() -> None:
            try:
                await question()
            except ExecutorError as error:
                self.tray.say_error(error)

        self._jobs.spawn(work(), name)

    def _pause(self, key: str) -> None:
        seconds = PAUSES[key]
        if seconds is None:
            seconds = until_tomorrow_s(self._clock.now())
        self._ask(lambda: self._control.pause(seconds or None), "pause")

    def _try_links(self) -> None:
        self._ask(self._links_now, "try links")

    async def _links_now(self) -> None:
        with suppress(ExecutorError):  # an executor that is gone has no links to try
            await self._control.try_links()

    async def _open_page(self) -> None:
        url = await self._control.console()
        if url is None and self._status is not None and self._status.links:
            # The console of one that is there, if any is.
            links = sorted(self._status.links, key=lambda link: link.state is not LinkState.ONLINE)
            url = links[0].server
        if url is None:
            self.show()
        else:
            QDesktopServices.openUrl(QUrl(url))

    def _turn_login(self, on: bool) -> None:
        self._autostart.turn(on)
        self.menu.show_start_at_login(on)

    def _prefer(self, option: str, on: bool) -> None:
        kind = NoticeKind(option.removeprefix("notifications."))
        self._wanted = self._wanted | {kind} if on else self._wanted - {kind}

    def _start_at_login(self, on: bool) -> None:
        try:
            self._turn_login(on)
        except OSError as error:
            _log.warning("start at login was not changed: %s", error)
            self.menu.show_start_at_login(not on)
            reason, place = error.strerror or str(error), self._autostart.place
            self.tray.say_error(ExecutorError("autostart_failed", place=place, reason=reason))

    # --- quitting ---------------------------------------------------------------------------

    def quit(self) -> None:
        """End the program; where work of ours runs, ask first."""
        status = self._status
        works = status is not None and (status.slots.used > 0 or status.queued > 0)
        if self._attached_to is not None or not works or status is None:
            self._leave()
            return
        if self._question is None:
            self._question = self._make_question(status.slots.used + status.queued)
        self._question.open()
        self._question.raise_()

    def _make_question(self, count: int) -> QMessageBox:
        box = QMessageBox()
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle(text("quit.title"))
        box.setText(text("quit.question", count=count))
        box.setInformativeText(text("quit.detail"))
        finish = box.addButton(text("quit.finish"), QMessageBox.ButtonRole.AcceptRole)
        cancel = box.addButton(text("quit.cancel"), QMessageBox.ButtonRole.DestructiveRole)
        stay = box.addButton(text("quit.stay"), QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(finish)
        box.setEscapeButton(stay)

        def answered() -> None:
            self._question = None
            if box.clickedButton() is finish:
                self._ask(self._control.drain, "drain")
            elif box.clickedButton() is cancel:
                self._leave()
            delete_later(box)

        box.finished.connect(lambda _: answered())
        return box


def _application() -> DesktopApplication:
    application = QApplication.instance()
    assert isinstance(application, DesktopApplication)
    return application
