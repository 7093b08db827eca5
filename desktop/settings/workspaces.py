"""Which folders tasks may use, what they left behind, and cleaning up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
)

from desktop.parts.paragraph import Paragraph
from desktop.parts.phrases import duration
from desktop.parts.style import GAP, Tone
from desktop.parts.window import ServicesWindow
from desktop.settings.folders import FolderList
from desktop.settings.page import Page
from executor_core.control import CleanReport, WorkspaceInfo
from executor_core.errors import ExecutorError
from executor_core.services.interface import Setting
from executor_core.texts import text

TRUSTED = "workspace.trusted_folders"
CONFIGURING = "agents.trusted_folders"
_COLUMNS = ("name", "size", "age", "state")


class WorkspacesPage(Page):
    """Nothing is deleted before it was shown what goes and what stays."""

    name = "workspaces"
    title = "settings.workspaces"

    def __init__(self, window: ServicesWindow) -> None:
        super().__init__(window)
        self._found: Sequence[WorkspaceInfo] | None = None
        self.subheading("settings.trusted")
        self.sentence("settings.trusted_note", is_muted=True)
        self.trusted = FolderList(self, TRUSTED, "settings.trusted")
        self.subheading("settings.configuring")
        self.sentence("settings.configuring_note", is_muted=True)
        self.configuring = FolderList(self, CONFIGURING, "settings.configuring")
        self.list = QTreeWidget()
        self.total, self.problem = Paragraph(), Paragraph()
        self.clean = self.button("settings.clean", self._forecast)
        self.delete = self.button("settings.delete_chosen", self._ask_delete)
        self.refresh = self.button("settings.refresh", self.appear)
        self.panel, self.preview = QFrame(), QPlainTextEdit()
        self.go = self.button("settings.clean_deed", self._go)
        self.stay = self.button("settings.no", self.panel.hide)
        self._lay_out()
        self.list.itemSelectionChanged.connect(self._enable)
        self._enable()

    def _lay_out(self) -> None:
        column = self.column
        self.subheading("settings.left_behind")
        for widget in (self.total, self.problem):
            column.addWidget(widget)
        self.problem.hide()
        self.list.setRootIsDecorated(False)
        self.list.setColumnCount(len(_COLUMNS))
        self.list.setAllColumnsShowFocus(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setMinimumHeight(16 * GAP)
        self.host.words(self.list.setAccessibleName, "settings.left_behind")
        column.addWidget(self.list, 1)
        self.row(self.clean, self.delete, self.refresh)
        inside = QVBoxLayout(self.panel)
        inside.setContentsMargins(0, 0, 0, 0)
        self.preview.setReadOnly(True)
        self.preview.setTabChangesFocus(True)
        self.preview.setFixedHeight(18 * GAP)
        self.host.words(self.preview.setAccessibleName, "settings.preview")
        inside.addWidget(self.preview)
        row = QHBoxLayout()
        row.addWidget(self.go)
        row.addWidget(self.stay)
        row.addStretch(1)
        inside.addLayout(row)
        self.panel.hide()
        column.addWidget(self.panel)

    def take(self, settings: Mapping[str, Setting]) -> None:
        self.trusted.take(settings)
        self.configuring.take(settings)

    # --- what was left --------------------------------------------------------------------

    def appear(self) -> None:
        self.problem.say("")
        if self._found is None:
            self.total.say(text("settings.counting"))
        self.host.follow(self._look(), "workspaces")

    async def _look(self) -> None:
        try:
            self._found = await self.host.rooms.workspaces.workspaces()
        except ExecutorError as error:
            self.problem.say(error.message.sentence, Tone.BAD)
            self.total.say("")
            return
        self.list.clear()
        for info in self._found:
            self.list.addTopLevelItem(QTreeWidgetItem(self._cells(info)))
        for column in range(len(_COLUMNS)):
            self.list.resizeColumnToContents(column)
        self.retranslate()

    def retranslate(self) -> None:
        self.list.setHeaderLabels([text(f"settings.workspace_{name}") for name in _COLUMNS])
        for row, info in enumerate(self._found or ()):
            item = self.list.topLevelItem(row)
            for number, words in enumerate(self._cells(info)):
                if item is not None:
                    item.setText(number, words)
        if self._found is not None:
            size = size_text(sum(info.size_bytes for info in self._found))
            count = len(self._found)
            key = "cli.workspaces.total" if count else "cli.workspaces.none"
            self.total.say(text(key, count=count, size=size))
        self._enable()

    def _cells(self, info: WorkspaceInfo) -> list[str]:
        state = "in_use" if info.is_in_use else info.state
        age = duration(self.host.clock.now() - info.used_at)
        return [info.name, size_text(info.size_bytes), age, text(f"state.workspace.{state}")]

    def _enable(self) -> None:
        self.delete.setEnabled(bool(self.list.selectedItems()))
        self.clean.setEnabled(bool(self._found))

    # --- cleaning up ----------------------------------------------------------------------

    def _forecast(self) -> None:
        async def look() -> None:
            report = await self.host.rooms.workspaces.forecast()
            self.preview.setPlainText(preview(report, is_done=False))
            self.go.setEnabled(bool(report.removed))
            self.go.show()
            self.panel.show()

        self.host.ask(look(), "preview of cleaning up")

    def _go(self) -> None:
        self.panel.hide()

        async def clean() -> None:
            await self._tell(await self.host.rooms.workspaces.clean())

        self.host.ask(clean(), "clean up")

    def _ask_delete(self) -> None:
        names = [item.text(0) for item in self.list.selectedItems()]

        async def remove() -> None:
            await self._tell(await self.host.rooms.workspaces.remove(names))

        self.host.question(
            text("settings.delete_title", count=len(names)),
            text("settings.delete_detail", names=", ".join(names)),
            text("settings.delete_deed"),
            lambda: self.host.ask(remove(), "delete workspaces"),
        )

    async def _tell(self, report: CleanReport) -> None:
        self.preview.setPlainText(preview(report, is_done=True))
        self.go.hide()
        self.panel.show()
        await self._look()


def preview(report: CleanReport, *, is_done: bool) -> str:
    """What goes, or went, and what stays with the reason."""
    key = "cli.workspaces.gone" if is_done else "cli.workspaces.would_go"
    lines = [text(key, name=one.name, facts=size_text(one.size_bytes)) for one in report.removed]
    for kept in report.kept:
        is_recent = kept.reason == "recent"
        reason = text("settings.kept_recent" if is_recent else f"cli.workspaces.kept.{kept.reason}")
        if kept.detail:
            reason += f" ({kept.detail})"
        lines.append(text("cli.workspaces.stays", name=kept.name, reason=reason))
    total = "cli.workspaces.freed" if is_done else "cli.workspaces.would_free"
    lines.append(text(total, size=size_text(report.freed_bytes)))
    return "\n".join(lines)


def size_text(size_bytes: int) -> str:
    """A size as people read it."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
