"""Starting at login: whether, by what, and where that is written."""

from __future__ import annotations

import sys

from desktop.parts.switches import CheckBox
from desktop.parts.window import ServicesWindow
from desktop.settings.page import Page
from executor_core.errors import ExecutorError

_MECHANISMS = {"win32": "settings.login_windows", "darwin": "settings.login_macos"}


class LoginPage(Page):
    """One switch; the system is asked each time the page is looked at."""

    name = "login"
    title = "settings.login"

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.switch = CheckBox()
        window.words(self.switch.setText, "settings.login_switch")
        self.switch.clicked.connect(self._turn)
        self.column.addWidget(self.switch)
        self.sentence(_MECHANISMS.get(sys.platform, "settings.login_linux"), is_muted=True)
        self.place = self.sentence(is_muted=True)
        self.column.addStretch(1)

    def appear(self) -> None:
        program = self.host.program
        self.switch.setEnabled(program is not None)
        if program is None:
            return
        self.place.setText(program.autostart.place)
        try:
            self.switch.setChecked(program.autostart.is_on())
        except OSError as error:
            self._say(error)

    def _turn(self, on: bool) -> None:
        program = self.host.program
        assert program is not None
        try:
            program.start_at_login(on)
        except OSError as error:
            self.switch.setChecked(not on)
            self._say(error)

    def _say(self, error: OSError) -> None:
        place, reason = self.place.text(), error.strerror or str(error)
        info = ExecutorError("autostart_failed", place=place, reason=reason).message
        self.host.say_error(info)
