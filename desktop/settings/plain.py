"""Pages that are a few options and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from desktop.parts.paragraph import Paragraph
from desktop.parts.window import ServicesWindow
from desktop.settings.field import Field
from desktop.settings.page import Page
from executor_core.control import Status
from executor_core.control.control import LONGEST_RUN_S
from executor_core.services.interface import Setting
from executor_core.texts import text


class FieldsPage(Page):
    """Shows the options `names`, in this order."""

    names: ClassVar[tuple[str, ...]]

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.fields: dict[str, Field] = {}
        self.place = self.column.count()
        """Where in the column the fields go."""

    def take(self, settings: Mapping[str, Setting]) -> None:
        for name in self.names:
            if name in self.fields:
                self.fields[name].show_setting(settings[name])
            else:
                field = self.fields[name] = Field(self.host, settings[name])
                self.column.insertWidget(self.place + len(self.fields) - 1, field)


class SlotsPage(FieldsPage):
    """How many runs at once, and what bounds a run."""

    name = "slots"
    title = "settings.slots"
    names = ("device.max_concurrent_tasks", "desktop.keep_awake", "heartbeat.timeout_s")

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.used = Paragraph()
        self.column.insertWidget(self.place, self.used)
        self.place += 1
        self.limits = Paragraph(is_muted=True)
        self.column.addWidget(self.limits)
        self.column.addStretch(1)
        self._counts = (0, 0, 0)
        self.retranslate()

    def show_status(self, status: Status) -> None:
        self._counts = (status.slots.used, status.slots.max, status.queued)
        self.retranslate()

    def retranslate(self) -> None:
        used, most, queued = self._counts
        self.used.say(text("settings.slots_used", used=used, max=most, queued=queued))
        self.limits.say(text("settings.limits", hours=round(LONGEST_RUN_S / 3600)))


class NotificationsPage(FieldsPage):
    """A switch for each kind."""

    name = "notifications"
    title = "settings.notifications"
    names = (
        "notifications.run_completed",
        "notifications.run_failed",
        "notifications.attention",
    )

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.sentence("settings.notifications_note", is_muted=True)
        self.column.addStretch(1)


class AppearancePage(FieldsPage):
    """Language and colours; both change at once."""

    name = "appearance"
    title = "settings.appearance"
    names = ("language", "desktop.colours")

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.sentence("settings.appearance_note", is_muted=True)
        self.column.addStretch(1)
