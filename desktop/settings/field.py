"""One option as a control: switch, list or line, with its source, and what is wrong with it."""

from __future__ import annotations

from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from desktop.parts.commands import plain
from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, Tone
from desktop.parts.switches import CheckBox
from desktop.parts.window import ServicesWindow
from executor_core.errors import ExecutorError
from executor_core.services.interface import Setting
from executor_core.texts import has_text, text

SWITCH = ("true", "false")


class Field(QWidget):
    """Shows an option and changes it. `is_brief` leaves out where the value comes from."""

    def __init__(self, window: ServicesWindow, setting: Setting, *, is_brief: bool = True) -> None:
        super().__init__()
        self._window = window
        self._is_brief = is_brief
        self.setting = setting
        self.label = Paragraph()
        self.editor = self._make_editor(setting)
        self.reset = QToolButton()
        self.reset.setAutoRaise(True)
        self.reset.clicked.connect(lambda: self._change(None))
        self.note, self.problem = Paragraph(is_muted=True), Paragraph()
        self._lay_out()
        self.show_setting(setting)

    def _make_editor(self, setting: Setting) -> CheckBox | QComboBox | QLineEdit:
        if setting.choices == SWITCH:
            switch = CheckBox()
            switch.clicked.connect(lambda on: self._change("true" if on else "false"))
            return switch
        if setting.choices:
            choice = QComboBox()
            choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
            choice.activated.connect(lambda _: self._change(choice.currentData()))
            return choice
        line = QLineEdit()
        if setting.is_secret:
            line.setEchoMode(QLineEdit.EchoMode.Password)
        line.editingFinished.connect(self._line_done)
        return line

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, GAP)
        column.setSpacing(GAP // 2)
        row = QHBoxLayout()
        if isinstance(self.editor, CheckBox):
            self.label.hide()
        else:
            column.addWidget(self.label)
        row.addWidget(self.editor, 1 if isinstance(self.editor, QLineEdit) else 0)
        row.addWidget(self.reset)
        if not isinstance(self.editor, QLineEdit):
            row.addStretch(1)
        column.addLayout(row)
        column.addWidget(self.problem)
        column.addWidget(self.note)

    # --- what it shows --------------------------------------------------------------------

    def show_setting(self, setting: Setting) -> None:
        """The option as it is now, in the language of now."""
        self.setting = setting
        words = label_of(setting)
        can_change = setting.is_editable and setting.overridden_by is None
        self._show_value(setting, words)
        self.editor.setAccessibleName(plain(words))
        self.editor.setEnabled(can_change)
        is_set = setting.value != (setting.default or "")
        self.reset.setVisible(can_change and is_set)
        self.reset.setText(text("settings.reset"))
        self.reset.setAccessibleName(text("settings.reset_of", label=words))
        self.note.say(self._note_of(setting))
        self.problem.say("")

    def _show_value(self, setting: Setting, words: str) -> None:
        match self.editor:
            case CheckBox() as switch:
                switch.setText(words)
                switch.setChecked(setting.value == "true")
            case QComboBox() as choice:
                self.label.setText(words)
                choice.clear()
                for name in setting.choices:
                    choice.addItem(choice_name(setting.name, name), name)
                choice.setCurrentIndex(choice.findData(setting.value))
            case QLineEdit() as line:
                self.label.setText(words)
                line.setText("" if setting.is_secret else setting.value)
                placeholder = setting.value if setting.is_secret else setting.default
                line.setPlaceholderText(placeholder or text("settings.nothing"))

    def _note_of(self, setting: Setting) -> str:
        parts = []
        if not self._is_brief:
            parts.append(setting.name)
            if setting.source and setting.overridden_by is None:
                parts.append(text("settings.from", source=setting.source))
            if setting.default and setting.default != setting.value:
                parts.append(text("settings.default", value=setting.default))
            if setting.is_editable:
                parts.append(text("settings.allowed", allowed=setting.allowed))
            elif setting.overridden_by is None:
                parts.append(text("settings.read_only"))
        if setting.overridden_by is not None:
            parts.append(text("settings.overridden", source=setting.overridden_by))
        return " · ".join(parts)

    # --- what is changed ------------------------------------------------------------------

    def _line_done(self) -> None:
        assert isinstance(self.editor, QLineEdit)
        typed = self.editor.text().strip()
        if self.setting.is_secret and not typed:
            return
        if typed != self.setting.value:
            self._change(typed or None)
        else:
            self.problem.say("")

    def _change(self, value: str | None) -> None:
        self._window.ask(self._apply(value), "change an option")

    async def _apply(self, value: str | None) -> None:
        try:
            setting = await self._window.change(self.setting.name, value)
        except ExecutorError as error:
            # What was typed stays, so that it can be mended; a switch has nothing typed.
            if not isinstance(self.editor, QLineEdit):
                self._show_value(self.setting, label_of(self.setting))
            self.problem.say(error.message.sentence, Tone.BAD)
        else:
            self.show_setting(setting)


def label_of(setting: Setting) -> str:
    """What people call it: a short name where there is one, else the help sentence."""
    key = f"settings.label.{setting.name}"
    return text(key) if has_text(key) else setting.help


def choice_name(option: str, choice: str) -> str:
    """What people call one of the values."""
    key = f"settings.choice.{option}.{choice}"
    return text(key) if has_text(key) else choice
