"""How the parts of an output look: colour and font by kind, and the little of Markdown that helps.

Looks belong to the screen, not to the text, so another palette repaints them.
"""

from __future__ import annotations

import re

from PySide6.QtGui import (
    QColor,
    QFont,
    QFontDatabase,
    QPalette,
    QSyntaxHighlighter,
    QTextCharFormat,
    QTextFormat,
)
from PySide6.QtWidgets import QPlainTextEdit

from desktop.parts.style import Tone, colour, muted
from desktop.runs.story import Kind

KIND = QTextFormat.Property.UserProperty + 1
"""The property of a block that says of what `Kind` it is."""
IS_HEAD = QTextFormat.Property.UserProperty + 2
"""The property of the one block of a fold that is always seen."""

_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_HEADING = re.compile(r"#{1,6} ")
_SPANS = (("code", re.compile(r"`[^`]+`")), ("bold", re.compile(r"\*\*[^*]+\*\*")))
_OUTSIDE, _IN_CODE = 0, 1
_HEAD = 0


class Looks(QSyntaxHighlighter):
    """Paints the blocks of an output, and again when the palette changes."""

    def __init__(self, view: QPlainTextEdit) -> None:
        super().__init__(view.document())
        self._view = view
        self._forms, self._spans = _looks(view.palette(), view.font())

    def renew(self) -> None:
        """Take over the palette and the font that the view has now."""
        self._forms, self._spans = _looks(self._view.palette(), self._view.font())
        self.rehighlight()

    def highlightBlock(self, words: str) -> None:
        block = self.currentBlock().blockFormat()
        kind = block.intProperty(KIND)
        if kind == Kind.ANSWER:
            self._paint_answer(words)
            return
        self.setCurrentBlockState(_OUTSIDE)
        form = self._forms.get(_HEAD if block.boolProperty(IS_HEAD) else kind)
        if form is not None:
            self.setFormat(0, len(words), form)

    def _paint_answer(self, words: str) -> None:
        is_fence = _FENCE.match(words) is not None
        was_in_code = self.previousBlockState() == _IN_CODE
        self.setCurrentBlockState(_IN_CODE if is_fence != was_in_code else _OUTSIDE)
        if is_fence or was_in_code:
            self.setFormat(0, len(words), self._spans["code"])
        elif _HEADING.match(words):
            self.setFormat(0, len(words), self._spans["bold"])
        else:
            for name, pattern in _SPANS:
                for found in pattern.finditer(words):
                    self.setFormat(found.start(), len(found.group()), self._spans[name])


def _looks(
    palette: QPalette, font: QFont
) -> tuple[dict[int, QTextCharFormat], dict[str, QTextCharFormat]]:
    """By kind of block, and by what stands within an answer."""
    fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    fixed.setPointSizeF(font.pointSizeF())
    code, bold = QTextCharFormat(), QTextCharFormat()
    code.setFont(fixed)
    bold.setFontWeight(QFont.Weight.Bold)
    soft = _ink(muted(palette))
    soft_code = QTextCharFormat(code)
    soft_code.setForeground(muted(palette))
    thought = QTextCharFormat(soft)
    thought.setFontItalic(True)
    blocks = {
        _HEAD: soft,
        Kind.REASONING: thought,
        Kind.TOOL: soft_code,
        Kind.NOTICE: _ink(colour(Tone.WARNING, palette)),
        Kind.FILE: code,
        Kind.HEADING: bold,
        Kind.RAW: code,
    }
    return blocks, {"code": code, "bold": bold}


def _ink(shade: QColor) -> QTextCharFormat:
    form = QTextCharFormat()
    form.setForeground(shade)
    return form
