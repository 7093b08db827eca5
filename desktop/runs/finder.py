"""Finding text in an output: every place is marked, folds that hide one are opened."""

# Qt's stubs leave out the fields of plain structs.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

from PySide6.QtGui import QTextCursor
from PySide6.QtWidgets import QTextEdit

from desktop.parts.find_bar import FindBar
from desktop.parts.style import Tone, tint
from desktop.runs.output import Output

MAX_PLACES = 500


class OutputFinder:
    """Joins a `FindBar` to an `Output`. What comes later is found when somebody asks again."""

    def __init__(self, output: Output, bar: FindBar) -> None:
        self._output = output
        self._bar = bar
        self._places: list[QTextCursor] = []
        self._at = 0
        bar.wanted.connect(self._look)
        bar.stepped.connect(self._step)

    def _look(self, wanted: str) -> None:
        self._places = []
        here = QTextCursor(self._output.document())
        while wanted and len(self._places) < MAX_PLACES:
            here = self._output.document().find(wanted, here)
            if here.isNull():
                break
            self._places.append(here)
        self._mark()
        before = self._output.textCursor().selectionStart()
        first = (n for n, place in enumerate(self._places) if place.selectionStart() >= before)
        self._go_to(next(first, 0))

    def _step(self, by: int) -> None:
        if not self._places:
            return
        at = self._at + by
        if not 0 <= at < len(self._places):
            # Around the end the text is looked through again: it may have grown.
            self._look(self._bar.line.text())
            at %= len(self._places) or 1
        self._go_to(at)

    def _mark(self) -> None:
        marks = []
        for place in self._places:
            mark = QTextEdit.ExtraSelection()
            mark.cursor = place
            mark.format.setBackground(tint(Tone.WARNING, self._output.palette()))
            marks.append(mark)
        self._output.setExtraSelections(marks)

    def _go_to(self, at: int) -> None:
        self._at = at
        count = len(self._places)
        self._bar.say(at + 1, count, has_more=count == MAX_PLACES)
        if count:
            self._output.reveal(self._places[at].block())
            self._output.setTextCursor(self._places[at])
            self._output.centerCursor()
