"""The devices that the server knows of this user."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtGui import QBrush
from PySide6.QtWidgets import QAbstractItemView, QHBoxLayout, QTreeWidget, QTreeWidgetItem

from desktop.parts.style import GAP, Tone, colour
from desktop.parts.window import ServicesWindow
from desktop.settings.page import Page
from executor_core.errors import ExecutorError
from executor_core.services.interface import Device
from executor_core.texts import text

_TONES = {"online": Tone.GOOD, "busy": Tone.WARNING, "offline": Tone.BAD}
_COLUMNS = ("name", "state", "slots", "version", "note")


class DevicesPage(Page):
    """The list as the server tells it, asked for when it is looked at."""

    name = "devices"
    title = "settings.devices"

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self.sentence("settings.devices_note", is_muted=True)
        self.devices: Sequence[Device] = ()
        self.list = QTreeWidget()
        self.list.setRootIsDecorated(False)
        self.list.setColumnCount(len(_COLUMNS))
        self.list.setAllColumnsShowFocus(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setMinimumHeight(20 * GAP)
        window.words(self.list.setAccessibleName, "settings.devices")
        self.default = self.button("settings.make_default", self._make_default)
        self.no_default = self.button("settings.clear_default", self._clear_default)
        self.remove = self.button("settings.remove_device", self._ask_remove)
        self.refresh = self.button("settings.refresh", self.appear)
        self.problem = self.sentence()
        self.problem.say("")
        self.column.addWidget(self.list, 1)
        row = QHBoxLayout()
        for button in (self.default, self.no_default, self.remove):
            row.addWidget(button)
        row.addStretch(1)
        row.addWidget(self.refresh)
        self.column.addLayout(row)
        self.list.currentItemChanged.connect(lambda *_: self._enable())
        self._show(())

    def appear(self) -> None:
        self.host.follow(self._look(), "devices")

    def retranslate(self) -> None:
        self.list.setHeaderLabels([text(f"settings.device_{name}") for name in _COLUMNS])
        for row, device in enumerate(self.devices):
            item = self.list.topLevelItem(row)
            for column, words in enumerate(cells(device)):
                if item is not None:
                    item.setText(column, words)
                    tone = colour(_TONES[device.status], self.palette())
                    item.setForeground(1, QBrush(tone))

    async def _look(self) -> None:
        try:
            found = await self.host.rooms.devices.devices()
        except ExecutorError as error:
            self._show(())
            self.problem.say(error.message.sentence, Tone.WARNING)
        else:
            self.problem.say("" if found else text("cli.devices.none"))
            self._show(found)

    def _show(self, devices: Sequence[Device]) -> None:
        chosen = self._chosen()
        self.devices = devices
        self.list.clear()
        for device in devices:
            item = QTreeWidgetItem()
            self.list.addTopLevelItem(item)
            if chosen is not None and device.device_id == chosen.device_id:
                self.list.setCurrentItem(item)
        self.retranslate()
        for column in range(len(_COLUMNS)):
            self.list.resizeColumnToContents(column)
        self._enable()

    def _chosen(self) -> Device | None:
        item = self.list.currentItem()
        row = self.list.indexOfTopLevelItem(item) if item is not None else -1
        return self.devices[row] if 0 <= row < len(self.devices) else None

    def _enable(self) -> None:
        device = self._chosen()
        self.default.setEnabled(device is not None and not device.is_default)
        self.no_default.setEnabled(any(device.is_default for device in self.devices))
        self.remove.setEnabled(device is not None)

    # --- what is changed ------------------------------------------------------------------

    def _make_default(self) -> None:
        if (device := self._chosen()) is not None:
            self.host.ask(self._do(device.device_id, is_default=True), "default device")

    def _clear_default(self) -> None:
        async def clear() -> None:
            await self.host.rooms.devices.clear_default()
            await self._look()

        self.host.ask(clear(), "no default device")

    def _ask_remove(self) -> None:
        if (device := self._chosen()) is not None:
            self.host.question(
                text("settings.remove_title", name=device.name),
                text("settings.remove_detail"),
                text("settings.remove_deed"),
                lambda: self.host.ask(self._do(device.device_id), "remove a device"),
            )

    async def _do(self, device_id: str, *, is_default: bool = False) -> None:
        services = self.host.rooms.devices
        await (services.make_default(device_id) if is_default else services.remove(device_id))
        await self._look()


def cells(device: Device) -> tuple[str, ...]:
    """A device as a row, a word or two for each column."""
    slots = f"{device.slots_used}/{device.slots_max}" if device.slots_max else "–"
    notes = [text("settings.is_default")] if device.is_default else []
    if device.is_this:
        notes.append(text("cli.devices.is_this"))
    return (
        device.name,
        f"● {text(f'state.device.{device.status}')}",
        slots,
        device.version or "–",
        ", ".join(notes),
    )
