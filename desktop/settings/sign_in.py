"""Signing in to a Wegent server: the address, looked at while it is typed, and a token or login."""

from __future__ import annotations

import asyncio

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, Tone
from desktop.parts.switches import RadioButton
from desktop.parts.window import ServicesWindow
from executor_core.errors import ExecutorError
from executor_core.services.interface import Account, ServerCheck
from executor_core.texts import paragraph, text

TYPING_S = 0.6
"""After so long without a key the address is looked at."""
NO_KEYCHAIN = ("no_keychain", "keychain_locked", "keychain_blocked")


class SignIn(QWidget):
    """The form. What was typed stays until it was accepted.

    Signals:
        signed_in(Account): it was; token and password are forgotten here.
    """

    signed_in = Signal(object)

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__()
        self._window = window
        self._looking: asyncio.Task[None] | None = None
        self._check: ServerCheck | None = None
        self._is_busy = False
        self.address, self.token = QLineEdit(), QLineEdit()
        self.user_name, self.password = QLineEdit(), QLineEdit()
        self.by_token, self.by_password = RadioButton(), RadioButton()
        self.verdict, self.problem = Paragraph(), Paragraph()
        self.send, self.to_file = QPushButton(), QPushButton()
        self._labels = {key: QLabel() for key in ("address", "token", "user_name", "password")}
        self._lay_out()
        self._say_words()
        self.by_token.toggled.connect(self._choose_way)
        self.address.textChanged.connect(self._typed)
        for line in (self.token, self.user_name, self.password):
            line.textChanged.connect(self._enable)
        for line in (self.address, self.token, self.password):
            line.returnPressed.connect(self.send.click)
        self.send.clicked.connect(lambda: self._sign_in(to_file=False))
        self.to_file.clicked.connect(lambda: self._sign_in(to_file=True))
        self.by_token.setChecked(True)
        self._enable()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2 * GAP)
        grid.setVerticalSpacing(GAP)
        grid.setColumnStretch(1, 1)
        self._ways = QButtonGroup(self)
        ways = QHBoxLayout()
        for way in (self.by_token, self.by_password):
            self._ways.addButton(way)
            ways.addWidget(way)
        ways.addStretch(1)
        for line in (self.token, self.password):
            line.setEchoMode(QLineEdit.EchoMode.Password)
        grid.addWidget(self._labels["address"], 0, 0)
        grid.addWidget(self.address, 0, 1)
        grid.addWidget(self.verdict, 1, 1)
        grid.addLayout(ways, 2, 1)
        for row, name in enumerate(("token", "user_name", "password"), 3):
            line = getattr(self, name)
            grid.addWidget(self._labels[name], row, 0)
            grid.addWidget(line, row, 1)
        grid.addWidget(self.problem, 6, 1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.send)
        buttons.addWidget(self.to_file)
        buttons.addStretch(1)
        grid.addLayout(buttons, 7, 1)
        for label in (self.verdict, self.problem, self.to_file):
            label.hide()

    def _say_words(self) -> None:
        words = self._window.words
        for name, label in self._labels.items():
            line = getattr(self, name)
            label.setBuddy(line)
            words(label.setText, f"settings.sign_in.{name}")
            words(line.setAccessibleName, f"settings.sign_in.{name}")
        words(self.address.setPlaceholderText, "settings.sign_in.address_hint")
        words(self.token.setPlaceholderText, "settings.sign_in.token_hint")
        words(self.by_token.setText, "settings.sign_in.by_token")
        words(self.by_password.setText, "settings.sign_in.by_password")
        words(self.send.setText, "settings.sign_in.send")
        words(self.to_file.setText, "settings.sign_in.to_file")

    def _choose_way(self) -> None:
        is_token = self.by_token.isChecked()
        for name, is_shown in (("token", is_token), ("user_name", not is_token)):
            self._labels[name].setVisible(is_shown)
            getattr(self, name).setVisible(is_shown)
        self._labels["password"].setVisible(not is_token)
        self.password.setVisible(not is_token)
        self._enable()

    def _enable(self) -> None:
        has_token = self.by_token.isChecked() and bool(self.token.text().strip())
        has_password = bool(self.user_name.text().strip() and self.password.text())
        has_way = has_token or (self.by_password.isChecked() and has_password)
        can = has_way and bool(self.address.text().strip()) and not self._is_busy
        self.send.setEnabled(can)
        self.to_file.setEnabled(can)

    # --- looking at the address -----------------------------------------------------------

    def _typed(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self._check = None
        self.verdict.say("")
        self._enable()
        if self.address.text().strip():
            self._looking = self._window.follow(self._look(), "look at a server")

    async def _look(self) -> None:
        await self._window.clock.sleep(TYPING_S)
        self.verdict.say(text("settings.sign_in.looking"))
        self._check = await self._window.rooms.account.check_server(self.address.text())
        self.retranslate()

    def retranslate(self) -> None:
        """What was found at the address, in the language of then: it is not asked again."""
        found = self._check
        if found is None:
            return
        if found.problem is not None:
            self.verdict.say(found.problem.sentence, Tone.WARNING)
            return
        key = "settings.sign_in.found" if found.version else "settings.sign_in.found_some"
        self.verdict.say(text(key, version=found.version, server=found.server), Tone.GOOD)

    # --- signing in -----------------------------------------------------------------------

    def _sign_in(self, *, to_file: bool) -> None:
        if not self.send.isEnabled():
            return
        self._is_busy = True
        self._enable()
        self.problem.say(text("settings.sign_in.working"))
        self._window.ask(self._try(to_file=to_file), "sign in")

    async def _try(self, *, to_file: bool) -> None:
        services, address = self._window.rooms.account, self.address.text()
        try:
            if self.by_token.isChecked():
                account = await services.sign_in(address, self.token.text(), to_file=to_file)
            else:
                account = await services.sign_in_with_password(
                    address, self.user_name.text().strip(), self.password.text(), to_file=to_file
                )
        except ExecutorError as error:
            self._say_problem(error)
        else:
            self.token.clear()
            self.password.clear()
            self.problem.say("")
            self.to_file.hide()
            self.signed_in.emit(account)
        finally:
            self._is_busy = False
            self._enable()

    def _say_problem(self, error: ExecutorError) -> None:
        is_keychain = error.code in NO_KEYCHAIN
        self.to_file.setVisible(is_keychain)
        title, detail, hint = error.message.words()
        if is_keychain:
            # The hint of the command line names a verb; here the button beside it does that.
            hint = text(f"settings.sign_in.{error.code}")
        self.problem.say(paragraph(title, detail, hint), Tone.BAD)

    def show_account(self, account: Account) -> None:
        """Begin with the address that is used now."""
        if account.server and not self.address.text():
            self.address.blockSignals(True)
            self.address.setText(account.server)
            self.address.blockSignals(False)
            self._enable()
