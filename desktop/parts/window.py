"""What every window of ours has: its texts in both languages, errors in words, and its place.

A window is a client of `Control` and `Services` and holds nothing that they hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

from msgspec import Struct
from PySide6.QtCore import QEvent, QSettings, Qt, Signal
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import (
    QApplication,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from desktop.parts.commands import rich
from desktop.parts.message_bar import MessageBar
from desktop.parts.style import GAP, Tone
from desktop.system.autostart import Autostart
from desktop.system.deletion import delete_later
from desktop.system.opening import open_folder
from executor_core.clock import Clock, SystemClock
from executor_core.control import Control
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.interface import Services, Setting
from executor_core.texts import Message, text, use_language

_PLACES = ("wegent-executor", "windows")


class Program(Struct, kw_only=True, frozen=True):
    """What a window may ask of the program around it.

    `restart` ends the executor and its runs, and begins anew with the window and the item named;
    None where the executor is another process. `prefer` makes a switch of ours, an option by its
    name, count at once. `start_at_login` may raise OSError.
    """

    autostart: Autostart
    start_at_login: Callable[[bool], None]
    prefer: Callable[[str, bool], None]
    restart: Callable[[str, str], None] | None = None


class Window(QWidget):
    """Base of our windows. They are made once and hidden when closed.

    A subclass names itself in `name` (its place on the screen is kept under it) and its title in
    `title` (a key of the catalogue), fills `self.body`, and gives each visible string to `words`.

    Signals:
        closed: the window was closed; jobs that only it needed have been ended.
        open_asked: another window is wanted: its name, and the item in it or "".
    """

    name: ClassVar[str]
    title: ClassVar[str]
    closed = Signal()
    open_asked = Signal(str, str)

    def __init__(
        self, control: Control, services: Services | None, jobs: Jobs, *, clock: Clock | None = None
    ) -> None:
        super().__init__(None, Qt.WindowType.Window)
        self.control = control
        self.services = services
        self.clock = clock or SystemClock()
        self.program: Program | None = None
        """Set by who opens it, before it is shown."""
        self._jobs = jobs
        self._followed: set[asyncio.Task[None]] = set()
        self._words: list[tuple[Callable[[str], object], str]] = []
        self._is_placed = False
        self.setAttribute(Qt.WidgetAttribute.WA_QuitOnClose, False)
        self.messages = MessageBar(self)
        self.body = QVBoxLayout()
        self.body.setContentsMargins(GAP, GAP, GAP, GAP)
        self.body.setSpacing(GAP)
        frame = QVBoxLayout(self)
        frame.setContentsMargins(0, 0, 0, 0)
        frame.setSpacing(0)
        frame.addWidget(self.messages)
        frame.addLayout(self.body, 1)
        for keys in (QKeySequence(Qt.Key.Key_Escape), QKeySequence(QKeySequence.StandardKey.Close)):
            QShortcut(keys, self, self.close)
        self.words(self.setWindowTitle, self.title)
        self.words(self.messages.close_button.setAccessibleName, "desktop.dismiss")
        self.words(self.messages.close_button.setToolTip, "desktop.dismiss")

    # --- words ----------------------------------------------------------------------------

    def words(self, put: Callable[[str], object], key: str) -> None:
        """Give `put` the sentence `key` now, and again whenever the language changes."""
        self._words.append((put, key))
        put(text(key))

    def retranslate(self) -> None:
        """Say everything in the language of now. Extend it for sentences that hold values."""
        for put, key in self._words:
            put(text(key))

    def say(self, sentence: str, tone: Tone = Tone.ACCENT) -> None:
        """Tell something in the window, without stopping the person."""
        self.messages.say(sentence, tone)
        layout = self.layout()
        if layout is not None and layout.hasHeightForWidth():
            # Qt lets sentences that wrap be cut off in a window that is too low.
            self.resize(self.width(), max(self.height(), layout.heightForWidth(self.width())))

    def say_error(self, error: ExecutorError | Message) -> None:
        """Tell what went wrong and what to do about it."""
        info = error.message if isinstance(error, ExecutorError) else error
        self.say(info.sentence, Tone.BAD)

    def show_folder(self, folder: Path) -> None:
        """Open `folder` in the system's file manager, or say why that cannot be."""
        if not folder.is_dir():
            self.say_error(ExecutorError("folder_gone", path=folder))
        elif not open_folder(folder):
            self.say_error(ExecutorError("folder_not_opened", path=folder))

    # --- jobs -----------------------------------------------------------------------------

    def ask(self, work: Coroutine[Any, Any, object], name: str) -> None:
        """Start something that is to be done even if the window is closed meanwhile.

        The one way from a slot to the executor; an error is said in the window.
        """
        self._start(work, name)

    def follow(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[None]:
        """Start something that only the open window needs; closing ends it, or its `cancel`."""
        job = self._start(work, name)
        self._followed.add(job)
        job.add_done_callback(self._followed.discard)
        return job

    def _start(self, work: Coroutine[Any, Any, object], name: str) -> asyncio.Task[None]:
        job = self._jobs.spawn(self._in_words(work), name)
        # Cancelled before its first step, a job never comes to what it was to await.
        job.add_done_callback(lambda _: work.close())
        return job

    async def _in_words(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except ExecutorError as error:
            self.say_error(error)

    # --- its place ------------------------------------------------------------------------

    def present(self) -> None:
        """Show it in front of the others."""
        if self.isMinimized():
            self.showNormal()
        self.show()
        self.raise_()
        self.activateWindow()

    def show_item(self, item: str) -> None:
        """Go to one of the things that the window lists, a run by its id. Others ignore it."""

    def showEvent(self, event: QShowEvent) -> None:
        if not self._is_placed:
            self._is_placed = True
            place = _places().value(self.name)
            if place is not None:
                self.restoreGeometry(place)
        super().showEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        _places().setValue(self.name, self.saveGeometry())
        for job in tuple(self._followed):
            job.cancel()
        super().closeEvent(event)
        self.closed.emit()

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self.retranslate()
        super().changeEvent(event)


class ServicesWindow(Window):
    """A window that works with the services and cannot be without it."""

    def __init__(
        self, control: Control, services: Services | None, jobs: Jobs, *, clock: Clock | None = None
    ) -> None:
        super().__init__(control, services, jobs, clock=clock)
        assert services is not None
        self.rooms: Services = services

    async def change(self, name: str, value: str | list[str] | None) -> Setting:
        """Change an option, and have it count as soon as it can. Raises as `change` there."""
        return await self.rooms.settings.change(name, value)

    def needs_restart(self, name: str, *, is_needed: bool = True) -> None:
        """That `name` counts from the next start only; said where the window has a place for it."""

    def question(self, title: str, sentence: str, deed: str, act: Callable[[], object]) -> None:
        """Ask before something that cannot be taken back; `deed` is the word on the button."""
        box = QMessageBox(QMessageBox.Icon.Question, title, title, parent=self)
        box.setInformativeText(rich(sentence))
        box.setTextFormat(Qt.TextFormat.PlainText)
        yes = box.addButton(deed, QMessageBox.ButtonRole.AcceptRole)
        no = box.addButton(text("settings.no"), QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(no)
        box.setEscapeButton(no)

        def answered() -> None:
            if box.clickedButton() is yes:
                act()
            delete_later(box)

        box.finished.connect(lambda _: answered())
        box.open()


def change_language(language: str) -> None:
    """Speak `language` from now on, in windows that are open too."""
    use_language(language)
    application = QApplication.instance()
    if application is not None:
        # Qt hands it on to every window, by post.
        QApplication.sendEvent(application, QEvent(QEvent.Type.LanguageChange))
        QApplication.sendPostedEvents(None, QEvent.Type.LanguageChange.value)


def keep_places_in(folder: str) -> None:
    """Where windows remember their places: below `folder`, once, at start."""
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)


def _places() -> QSettings:
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, *_PLACES)
