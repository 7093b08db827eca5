"""The menu of the tray, built once and updated in place, so that it can change while it is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from PySide6.QtCore import QEvent, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from desktop.tray.glance import Glance, TrayState, run_line
from desktop.windows import ENTRIES
from executor_core.control import RunSummary, Status
from executor_core.model import RunState
from executor_core.texts import text

MOST_RUNS = 8
MOST_RECENT = 5
PAUSES: Mapping[str, float | None] = {
    "tray.pause_30": 30 * 60.0,
    "tray.pause_60": 60 * 60.0,
    "tray.pause_tomorrow": None,
    "tray.pause_open": 0.0,
}
"""What can be chosen: seconds; None is until tomorrow, 0 until the person resumes."""
_MARKS = {RunState.COMPLETED: "✓", RunState.FAILED: "✗", RunState.CANCELLED: "–"}


class TrayMenu(QMenu):
    """Shows what it is told and says what was chosen.

    Signals:
        run_chosen, cancel_chosen: a run id.
        pause_chosen: a key of PAUSES.
        window_chosen: the name of an entry of `windows`.
        resume_chosen, retry_chosen, page_chosen, quit_chosen: nothing.
        login_toggled: whether to start at login.
        language_changed: nothing; everything is to be said anew.
    """

    run_chosen = Signal(str)
    cancel_chosen = Signal(str)
    pause_chosen = Signal(str)
    window_chosen = Signal(str)
    resume_chosen = Signal()
    retry_chosen = Signal()
    page_chosen = Signal()
    login_toggled = Signal(bool)
    quit_chosen = Signal()
    language_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._words: list[tuple[Callable[[str], object], str]] = []
        self.headline = self.addAction("")
        self.headline.triggered.connect(lambda _=False: self.window_chosen.emit("runs"))
        self.attached = self._line()
        self.attached.setVisible(False)
        self.retry = self._action("tray.retry", self.retry_chosen.emit)
        self.addSeparator()
        self.runs = [self._run_menu() for _ in range(MOST_RUNS)]
        self.more = self._line()
        self.more.setEnabled(True)
        self.more.triggered.connect(lambda: self.window_chosen.emit("runs"))
        self.queued = self._line()
        self._after_runs = self.addSeparator()
        self.pause = self._submenu("tray.pause")
        for key in PAUSES:
            self._action(key, partial(self.pause_chosen.emit, key), self.pause)
        self.resume = self._action("tray.resume", self.resume_chosen.emit)
        self.addSeparator()
        self.page = self._action("tray.page", self.page_chosen.emit)
        self.recent = self._submenu("tray.recent")
        self.recent_runs = [self._recent_action() for _ in range(MOST_RECENT)]
        for entry in (entry for entry in ENTRIES if entry.text):
            self._action(entry.text, partial(self.window_chosen.emit, entry.name))
        self.login = self._action("tray.start_at_login", lambda: None)
        self.login.setCheckable(True)
        self.login.toggled.connect(self.login_toggled)
        self.addSeparator()
        self.quit = self._action("tray.quit", self.quit_chosen.emit)

    # --- what it is told --------------------------------------------------------------------

    def show_glance(self, glance: Glance) -> None:
        """The state line: reason, next attempt, slots."""
        self.headline.setText(_plain(glance.tooltip))
        self.retry.setVisible(glance.state is TrayState.OFFLINE)

    def show_status(self, status: Status, agents: Mapping[str, str], now: datetime) -> None:
        """Runs, queue, and what can be done now."""
        living = [run for run in status.runs if run.state is not RunState.QUEUED]
        for menu, run in zip(self.runs, living, strict=False):
            menu.setTitle(_plain(run_line(run, agents, now)))
            menu.setProperty("run_id", run.run_id)
        for number, menu in enumerate(self.runs):
            menu.menuAction().setVisible(number < len(living))
        left = len(living) - len(self.runs)
        self._say(self.more, left > 0, text("tray.more", count=left))
        self._say(self.queued, status.queued > 0, text("tray.queued", count=status.queued))
        self._after_runs.setVisible(bool(living) or status.queued > 0)
        self.pause.menuAction().setVisible(not status.paused and not status.draining)
        self.resume.setVisible(status.paused)

    def show_recent(self, runs: Sequence[RunSummary], agents: Mapping[str, str]) -> None:
        """The newest runs that ended."""
        ended = [run for run in runs if run.state.is_final][:MOST_RECENT]
        for action, run in zip(self.recent_runs, ended, strict=False):
            words = run_line(run, agents, run.accepted_at)
            action.setText(_plain(f"{_MARKS[run.state]} {words}"))
            action.setData(run.run_id)
        for number, action in enumerate(self.recent_runs):
            action.setVisible(number < len(ended))
        self.recent.menuAction().setVisible(bool(ended))

    def show_attached(self, pid: str) -> None:
        """That the executor is another process, which goes on without this menu."""
        self._say(self.attached, True, text("tray.attached", pid=pid))

    def show_start_at_login(self, is_on: bool) -> None:
        """How the system is set now; says nothing of a choice."""
        self.login.blockSignals(True)
        self.login.setChecked(is_on)
        self.login.blockSignals(False)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.LanguageChange:
            self.language_changed.emit()
        super().changeEvent(event)

    def retranslate(self) -> None:
        """Say everything that never changes in the language of now."""
        for put, key in self._words:
            put(text(key))

    # --- how it is built --------------------------------------------------------------------

    def _words_of(self, put: Callable[[str], object], key: str) -> None:
        self._words.append((put, key))
        put(text(key))

    def _line(self) -> QAction:
        action = self.addAction("")
        action.setEnabled(False)
        return action

    def _action(self, key: str, chosen: Callable[[], object], menu: QMenu | None = None) -> QAction:
        action = (menu or self).addAction("")
        action.triggered.connect(lambda _=False: chosen())
        self._words_of(action.setText, key)
        return action

    def _submenu(self, key: str) -> QMenu:
        menu = self.addMenu("")
        self._words_of(menu.setTitle, key)
        return menu

    def _run_menu(self) -> QMenu:
        menu = self.addMenu("")
        menu.menuAction().setVisible(False)
        self._action("tray.open", lambda: self.run_chosen.emit(menu.property("run_id")), menu)
        self._action("tray.cancel", lambda: self.cancel_chosen.emit(menu.property("run_id")), menu)
        return menu

    def _recent_action(self) -> QAction:
        action = self.recent.addAction("")
        action.setVisible(False)
        action.triggered.connect(lambda _=False: self.run_chosen.emit(action.data()))
        return action

    @staticmethod
    def _say(action: QAction, is_true: bool, words: str) -> None:
        action.setText(_plain(words))
        action.setVisible(is_true)


def _plain(words: str) -> str:
    """For a menu, where a single & marks a shortcut."""
    return words.replace("&", "&&")
