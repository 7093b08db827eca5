"""`wegent-executor-desktop`: the command line of `wegent-executor`, and the executor under a tray.

The one file of the desktop that knows how an executor is made. Qt is loaded here and not before it
is known to work: where it does not, the executor runs headless and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from executor_core.cli.frame import Invocation
from executor_core.cli.main import main as run_cli
from executor_core.cli.out import say
from executor_core.cli.start import (
    at_work,
    greet,
    leave_on_signals,
    own_command,
)
from executor_core.cli.start import start as start_headless
from executor_core.clock import SystemClock
from executor_core.config import options
from executor_core.errors import ExecutorError
from executor_core.services.programs import DESKTOP_PROGRAM, sibling
from executor_core.texts import text

if TYPE_CHECKING:
    from PySide6.QtWidgets import QApplication

    from desktop.session import Session
    from desktop.system.autostart import Autostart
    from desktop.tray.notices import NoticeKind
    from executor_core.app import Application
    from executor_core.config.layers import Config
    from executor_core.control import Control

_MAX_REASON = 200
_log = logging.getLogger("executor.desktop")


def main() -> None:
    """The entry point of the GUI script."""
    run_cli(start)


def start(invocation: Invocation, *, no_gui: bool, standalone: bool, token_given: bool) -> None:
    """Run with a tray until the person, a signal or a verb ends it."""
    config = invocation.config()
    if not no_gui and (reason := why_no_window()) is not None:
        say(text("desktop.no_qt", reason=reason), err=True)
        no_gui = True
    if no_gui:
        start_headless(invocation, no_gui=True, standalone=standalone, token_given=token_given)
        return
    application = _make_application(config)

    from desktop.system.single import channel_of, raise_running

    if raise_running(channel_of(config.home.path)):
        say(text("desktop.raised"))
        return

    from desktop.system.loop import DesktopLoop

    try:
        with asyncio.Runner(loop_factory=DesktopLoop) as runner:
            runner.run(live(invocation, config, standalone=standalone, token_given=token_given))
    except ExecutorError as error:
        _show_last_error(application, error)
        raise


def why_no_window() -> str | None:
    """Why no window can be opened here; None where one can.

    Qt ends the whole process where it finds no display or lacks a library of the system, so on
    systems where that happens a child tries first.
    """
    try:
        from PySide6.QtGui import QGuiApplication
        from PySide6.QtWidgets import QApplication  # noqa: F401  it needs more libraries
    except ImportError as error:
        return " ".join(str(error).split())[:_MAX_REASON]
    if sys.platform in ("win32", "darwin"):
        return None
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        QGuiApplication([])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return text("desktop.no_display") if status else None


def _make_application(config: Config) -> QApplication:
    from desktop.parts.style import use_colours
    from desktop.parts.window import keep_places_in
    from desktop.system.application import DesktopApplication
    from desktop.system.autostart import APP_ID
    from desktop.tray.icon import app_icon

    application = DesktopApplication([DESKTOP_PROGRAM])
    application.setApplicationName(APP_ID)
    application.setApplicationDisplayName("Wegent Executor")
    application.setDesktopFileName(APP_ID)
    application.setQuitOnLastWindowClosed(False)
    application.setWindowIcon(app_icon())
    use_colours(config[options.DESKTOP_COLOURS])
    keep_places_in(str(config.home.path / "state"))
    _log_what_qt_says()
    return application


def _log_what_qt_says() -> None:
    """Errors in slots and Qt's own messages are for the log; a person cannot act on them."""
    from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

    def on_message(kind: QtMsgType, _: QMessageLogContext, message: str) -> None:
        is_grave = kind in (QtMsgType.QtCriticalMsg, QtMsgType.QtFatalMsg)
        _log.log(logging.ERROR if is_grave else logging.DEBUG, "Qt: %s", message)

    def on_error(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        _log.error("a slot failed: %s", error, exc_info=(kind, error, trace))

    qInstallMessageHandler(on_message)
    sys.excepthook = on_error


async def live(
    invocation: Invocation, config: Config, *, standalone: bool, token_given: bool
) -> None:
    """Be the executor until it ends; again, with what is configured then, where a window asks so.

    Where another process is the executor already, show that one.
    """
    place: tuple[str, str] | None = None
    while True:
        desktop = _Desktop(invocation, config, standalone=standalone, place=place)
        with at_work(config, token_given=token_given):
            try:
                await desktop.host()
            except ExecutorError as error:
                if error.code != "already_running":
                    raise
                await desktop.attach(str(error.values["pid"]))
            finally:
                await desktop.close()
        if (place := desktop.next_place) is None:
            return
        invocation.choose_language()
        config = invocation.config()


class _Desktop:
    """The session, and the doorbell that a second start rings."""

    def __init__(
        self,
        invocation: Invocation,
        config: Config,
        *,
        standalone: bool,
        place: tuple[str, str] | None,
    ) -> None:
        """`standalone` as the command line says; `place` is the window, and the item in it, to be
        opened at once."""
        from executor_core.app import is_standalone

        self._load, self._reach = invocation.reach()
        self._config = config
        self._is_asked_alone = standalone
        self._standalone = is_standalone(config, standalone)
        self._place = place
        self.next_place: tuple[str, str] | None = None
        """Set where a window wants everything to begin anew."""
        self._undo = contextlib.AsyncExitStack()

    async def host(self) -> None:
        from executor_core.app import serve

        await serve(
            self._config,
            standalone=self._standalone,
            own_command=own_command(),
            load=self._load,
            on_ready=self._on_ready,
            on_leave=leave_on_signals,
        )

    def _on_ready(self, app: Application) -> None:
        # Not at every login: only whoever types the command wants the page at once.
        is_typed = sys.stdout is not None and sys.stdout.isatty()
        greet(app, open_browser=self._standalone and is_typed and self._place is None)
        session = self._open(app.control, app.leave, None)
        if self._place is not None:
            session.windows.open(*self._place)
        elif not self._standalone and not self._config[options.SERVER_URL]:
            session.windows.open("first_run")

    async def attach(self, pid: str) -> None:
        from executor_core.control import RemoteControl

        leaving = asyncio.Event()
        leave_on_signals(leaving.set)
        async with RemoteControl.of_home(self._config.home.api_json) as control:
            say(text("desktop.attached", pid=pid))
            self._open(control, leaving.set, pid)
            await leaving.wait()
            await self.close()

    def _open(self, control: Control, leave: Callable[[], None], pid: str | None) -> Session:
        from PySide6.QtWidgets import QSystemTrayIcon

        from desktop.session import Session
        from desktop.system.single import Doorbell, channel_of
        from executor_core.services.opening import open_services

        def restart(window: str, item: str) -> None:
            self.next_place = (window, item)
            leave()

        clock = SystemClock()
        services = open_services(
            self._load,
            self._reach,
            clock,
            control=control if pid is None else None,
            has_tray=QSystemTrayIcon.isSystemTrayAvailable,
        )
        session = Session(
            control,
            services,
            notices=_notices(self._config),
            autostart=_autostart(self._config, standalone=self._is_asked_alone),
            leave=leave,
            clock=clock,
            attached_to=pid,
            restart=restart if pid is None else None,
        )
        session.open()
        self._undo.push_async_callback(session.close)
        bell = Doorbell(channel_of(self._config.home.path), session.show)
        self._undo.callback(bell.close)
        return session

    async def close(self) -> None:
        """Take everything off the screen. Idempotent."""
        await self._undo.aclose()


def _notices(config: Config) -> frozenset[NoticeKind]:
    from desktop.tray.notices import NoticeKind

    wanted = {
        NoticeKind.RUN_COMPLETED: config[options.NOTIFICATIONS_RUN_COMPLETED],
        NoticeKind.RUN_FAILED: config[options.NOTIFICATIONS_RUN_FAILED],
        NoticeKind.ATTENTION: config[options.NOTIFICATIONS_ATTENTION],
    }
    return frozenset(kind for kind, is_wanted in wanted.items() if is_wanted)


def _autostart(config: Config, *, standalone: bool) -> Autostart:
    from desktop.system.autostart import autostart_for

    user_home = Path.home()
    config_home = config.environment.get("XDG_CONFIG_HOME")
    return autostart_for(
        sys.platform,
        [str(sibling(DESKTOP_PROGRAM)), *(["--standalone"] if standalone else [])],
        user_home=user_home,
        config_home=Path(config_home) if config_home else user_home / ".config",
    )


def _show_last_error(application: QApplication, error: ExecutorError) -> None:
    """Whoever clicked an icon sees no terminal."""
    if application.platformName() == "offscreen" or (sys.stderr and sys.stderr.isatty()):
        return
    from PySide6.QtWidgets import QMessageBox

    from desktop.parts.commands import rich

    box = QMessageBox(QMessageBox.Icon.Critical, error.message.title, rich(error.message.sentence))
    box.exec()


if __name__ == "__main__":  # as the script that a bundle starts
    main()
