"""Which server this computer works for, who is signed in there, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from PySide6.QtCore import Qt

from desktop.parts.paragraph import Paragraph
from desktop.parts.phrases import clock_time, duration
from desktop.parts.style import Tone
from desktop.parts.window import ServicesWindow
from desktop.settings.field import Field
from desktop.settings.page import Page
from desktop.settings.sign_in import SignIn
from executor_core.control import Status
from executor_core.model import LinkState, LinkStatus
from executor_core.services.interface import Account, Setting
from executor_core.texts import text

ALONE = "hub.enabled"


class ConnectionPage(Page):
    """The account of now, and the form for another one."""

    name = "connection"
    title = "settings.connection"

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.account = Account()
        self.status: Status | None = None
        self.link, self.who, self.until = Paragraph(), Paragraph(), Paragraph(is_muted=True)
        for label in (self.link, self.who, self.until):
            self.column.addWidget(label)
        self.sign_out = self.button("settings.sign_out", self._sign_out)
        self.column.addWidget(self.sign_out, 0, Qt.AlignmentFlag.AlignLeft)
        self.subheading("settings.sign_in.title")
        self.form = SignIn(window)
        self.form.signed_in.connect(self._signed_in)
        self.column.addWidget(self.form)
        self.subheading("settings.alone")
        self.sentence("settings.alone_note", is_muted=True)
        self.alone: Field | None = None
        self.column.addStretch(1)

    def appear(self) -> None:
        self.host.follow(self._look(), "account")

    def take(self, settings: Mapping[str, Setting]) -> None:
        if self.alone is None:
            self.alone = Field(self.host, settings[ALONE])
            self.column.insertWidget(self.column.count() - 1, self.alone)
        else:
            self.alone.show_setting(settings[ALONE])

    async def _look(self) -> None:
        self.account = await self.host.rooms.account.account()
        self.form.show_account(self.account)
        self.retranslate()

    def show_status(self, status: Status) -> None:
        self.status = status
        self.retranslate()

    def retranslate(self) -> None:
        now = self.host.clock.now()
        self.link.say(*link_words(self.status))
        self.who.say(who_words(self.account))
        self.until.say(*until_words(self.account, now))
        self.sign_out.setVisible(self.account.place is not None)
        self.form.retranslate()

    # --- what is changed ------------------------------------------------------------------

    def _signed_in(self, account: Account) -> None:
        self.account = account
        servers = {link.server for link in self.status.links} if self.status else set()
        self.host.needs_restart("server.url", is_needed=account.server not in servers)
        self.host.say(text("settings.signed_in", server=account.server))
        self.retranslate()

    def _sign_out(self) -> None:
        async def forget() -> None:
            self.account = await self.host.rooms.account.sign_out()
            if self.account.place is not None:
                self.host.say(text("settings.still_signed_in", place=self.account.place))
            self.retranslate()

        self.host.question(
            text("settings.sign_out_title"),
            text("settings.sign_out_detail"),
            text("settings.sign_out"),
            lambda: self.host.ask(forget(), "sign out"),
        )


def link_words(status: Status | None) -> tuple[str, Tone | None]:
    """How each connection stands, one a line."""
    if status is None:
        return "", None
    if not status.links:
        return text("tray.no_server"), Tone.WARNING
    is_good = all(link.state is LinkState.ONLINE for link in status.links)
    lines = (_link_line(link, status.api) for link in status.links)
    return "\n".join(lines), Tone.GOOD if is_good else Tone.WARNING


def _link_line(link: LinkStatus, own_url: str | None) -> str:
    if link.server == own_url and link.state is LinkState.ONLINE:
        return text("settings.alone_now")
    words = text(f"state.link.{link.state}", server=link.server)
    return f"{words} {link.reason}" if link.reason else words


def who_words(account: Account) -> str:
    """Who is signed in, and where the token is."""
    if account.server is None:
        return text("settings.nobody")
    if account.problem is not None:
        return account.problem.sentence
    if account.place is None:
        return text("settings.nobody_at", server=account.server)
    if account.is_api_key:
        return text("settings.api_key", server=account.server, place=account.place)
    name = account.user_name or text("settings.somebody")
    return text("settings.signed_in_as", name=name, server=account.server, place=account.place)


def until_words(account: Account, now: datetime) -> tuple[str, Tone | None]:
    """How long the token is good for."""
    if account.is_refused:
        return text("settings.refused"), Tone.BAD
    if account.expires_at is None:
        return "", None
    left = account.expires_at - now
    if left.total_seconds() <= 0:
        return text("settings.expired", time=clock_time(account.expires_at, now)), Tone.BAD
    words = text(
        "settings.expires", duration=duration(left), time=clock_time(account.expires_at, now)
    )
    return words, Tone.WARNING if left.days < 3 else None
