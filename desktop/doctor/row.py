"""One check of the doctor: its verdict by mark and word, why, and what can be done."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QRectF, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import GAP, Tone, colour, make_heading, muted
from executor_core.services.interface import Check, Verdict
from executor_core.texts import text

MARKS = {Verdict.OK: "✓", Verdict.WARNING: "!", Verdict.FAILED: "✗", Verdict.SKIPPED: "–"}
_TONES = {Verdict.OK: Tone.GOOD, Verdict.WARNING: Tone.WARNING, Verdict.FAILED: Tone.BAD}
_BADGE = 22
# Where in the settings a person can do something about a check.
_PAGES: Mapping[str, str] = {
    "agent": "agents",
    "disk": "workspaces",
    "network": "connection",
    "server": "connection",
    "tls": "connection",
    "token": "connection",
}


def words_of(verdict: Verdict) -> str:
    """A verdict in a word."""
    return text(f"doctor.verdict.{verdict.value}")


class Badge(QWidget):
    """A ring around the verdict's mark. The colour repeats what the mark says."""

    def __init__(self) -> None:
        super().__init__()
        self._verdict = Verdict.SKIPPED
        self.setFixedSize(_BADGE, _BADGE)

    def show_verdict(self, verdict: Verdict) -> None:
        """Draw this one from now on."""
        self._verdict = verdict
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        tone = _TONES.get(self._verdict)
        ink = muted(self.palette()) if tone is None else colour(tone, self.palette())
        place = QRectF(self.rect()).adjusted(1, 1, -1, -1)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(ink, 1.5))
        painter.drawEllipse(place)
        font = self.font()
        font.setBold(True)
        painter.setFont(font)
        painter.drawText(place, Qt.AlignmentFlag.AlignCenter, MARKS[self._verdict])


class CheckRow(QFrame):
    """A check, its reason and hint, and a button for each thing that can be done about it.

    Signals:
        fix_asked: the doctor is to do what the check offers.
        explain_asked: what it means is wanted.
        settings_asked(str): the page of the settings that has to do with it is wanted.
    """

    fix_asked = Signal()
    explain_asked = Signal()
    settings_asked = Signal(str)

    def __init__(self, check: Check) -> None:
        super().__init__()
        self.check = check
        self.badge, self.title, self.verdict = Badge(), QLabel(), QLabel()
        self.reason, self.hint = Paragraph(), Paragraph(is_muted=True)
        self.fix, self.settings, self.explain = QPushButton(), QPushButton(), QToolButton()
        self._lay_out()
        self.fix.clicked.connect(self._ask_fix)
        self.settings.clicked.connect(lambda: self.settings_asked.emit(self._page()))
        self.explain.clicked.connect(lambda: self.explain_asked.emit())
        self.settings.setText(text("doctor.settings"))
        self.explain.setText(text("doctor.explain"))
        self.show_check(check)

    def _lay_out(self) -> None:
        make_heading(self.title, 1.0)
        for label in (self.title, self.verdict):
            label.setTextFormat(Qt.TextFormat.PlainText)
        self.explain.setAutoRaise(True)
        head = QHBoxLayout()
        head.addWidget(self.title)
        head.addWidget(self.verdict, 1)
        head.addWidget(self.explain)
        deeds = QHBoxLayout()
        deeds.addWidget(self.fix)
        deeds.addWidget(self.settings)
        deeds.addStretch(1)
        sentences = QVBoxLayout()
        sentences.setSpacing(GAP // 2)
        sentences.addLayout(head)
        sentences.addWidget(self.reason)
        sentences.addWidget(self.hint)
        sentences.addLayout(deeds)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, GAP // 2, 0, GAP // 2)
        row.setSpacing(GAP)
        row.addWidget(self.badge, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(sentences, 1)

    def show_check(self, check: Check) -> None:
        """Show what it came to this time."""
        self.check = check
        is_bad = check.verdict in (Verdict.WARNING, Verdict.FAILED)
        word = words_of(check.verdict)
        self.badge.show_verdict(check.verdict)
        self.title.setText(check.title)
        self.verdict.setText(word)
        self.reason.say(check.reason)
        self.hint.say(check.hint if is_bad else "")
        self.fix.setText(check.fix or "")
        self.fix.setVisible(check.fix is not None)
        self.fix.setEnabled(True)
        self.settings.setVisible(is_bad and bool(self._page()))
        self.setAccessibleName(f"{check.title}: {word}")
        for button, name in ((self.fix, check.fix), (self.settings, self.settings.text())):
            button.setAccessibleName(f"{check.title}: {name}")
        self.explain.setAccessibleName(text("doctor.explain_named", check=check.title))

    def _page(self) -> str:
        return _PAGES.get(self.check.name.partition(".")[0], "")

    def _ask_fix(self) -> None:
        # Until it was looked at again, once is enough.
        self.fix.setEnabled(False)
        self.fix_asked.emit()

    def as_text(self) -> str:
        """The check as it is copied."""
        check = self.check
        lines = [f"{MARKS[check.verdict]} {check.title} ({words_of(check.verdict)})"]
        hint = "" if self.hint.isHidden() else check.hint
        return "\n    ".join(part for part in (*lines, check.reason, hint) if part)
