"""Every option there is, with its value, where that comes from, and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtWidgets import QLineEdit

from desktop.parts.paragraph import Paragraph
from desktop.parts.window import ServicesWindow
from desktop.settings.field import Field
from desktop.settings.page import Page
from executor_core.services.interface import Setting


class AdvancedPage(Page):
    """All of them, narrowed by what is typed above."""

    name = "advanced"
    title = "settings.advanced"

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.sentence("settings.advanced_note", is_muted=True)
        self.filter = QLineEdit()
        self.filter.setClearButtonEnabled(True)
        window.words(self.filter.setPlaceholderText, "settings.filter")
        window.words(self.filter.setAccessibleName, "settings.filter")
        self.filter.textChanged.connect(lambda _: self._narrow())
        self.column.addWidget(self.filter)
        self.fields: dict[str, Field] = {}
        self.none = Paragraph(is_muted=True)
        window.words(self.none.setText, "settings.filter_none")
        self.none.hide()
        self.column.addWidget(self.none)
        self.column.addStretch(1)

    def take(self, settings: Mapping[str, Setting]) -> None:
        for name, setting in settings.items():
            if name in self.fields:
                self.fields[name].show_setting(setting)
            else:
                field = self.fields[name] = Field(self.host, setting, is_brief=False)
                self.column.insertWidget(self.column.count() - 2, field)
        self._narrow()

    def _narrow(self) -> None:
        wanted = self.filter.text().casefold().split()
        found = 0
        for field in self.fields.values():
            words = f"{field.setting.name} {field.setting.help} {field.label.text()}".casefold()
            is_wanted = all(word in words for word in wanted)
            field.setVisible(is_wanted)
            found += is_wanted
        self.none.setVisible(bool(self.fields) and not found)
