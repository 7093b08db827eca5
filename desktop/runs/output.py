"""What a run says and does, as a text that grows: quick, bounded, and folded where it is long.

Events are told some frames a second however fast they come; whoever brings them faster waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from PySide6.QtCore import QEvent, Qt, QTimer, Signal
from PySide6.QtGui import (
    QKeyEvent,
    QMouseEvent,
    QTextBlock,
    QTextBlockFormat,
    QTextCursor,
    QTextFormat,
)
from PySide6.QtWidgets import QPlainTextEdit, QWidget

from desktop.runs.looks import IS_HEAD, KIND, Looks
from desktop.runs.story import Head, Kind, Part, Teller, broken, raw
from executor_core.model import AgentEvent, ReasoningDelta, TextDelta
from executor_core.unicode import visible

FRAME_MS = 50
CATCH_UP_MS = 10
"""Between frames, where more is waiting than one frame tells."""
FRAME_EVENTS = 1000
FRAME_CHARS = 32 * 1024
MAX_WAITING = 4 * FRAME_EVENTS
MAX_LINES = 20_000
"""The beginning of what is longer is not shown; it stays in the folder of the run."""
MAX_LINE_CHARS = 2000
"""A longer line is broken: laying it out takes a time that grows with its length."""

_FOLD = QTextFormat.Property.UserProperty + 3
_CLOSED, _OPEN = "▸ ", "▾ "


class Output(QPlainTextEdit):
    """The text of one run.

    Signals:
        caught_up: everything that was taken is shown.
        shortened: the beginning has been left out.
    """

    caught_up = Signal()
    shortened = Signal()
    _looks: Looks | None = None  # Qt may tell of changes before it is made.

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setUndoRedoEnabled(False)
        self.setMaximumBlockCount(MAX_LINES)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse
            | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.setTabChangesFocus(True)
        self.document().setDocumentMargin(10)
        self._looks = Looks(self)
        self._waiting: deque[AgentEvent] = deque()
        self._room = asyncio.Event()
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self._frame)
        self._is_raw = False
        self.restart(is_raw=False)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        is_look = event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange)
        if is_look and self._looks is not None:
            self._looks.renew()

    # --- events ---------------------------------------------------------------------------

    def restart(self, *, is_raw: bool) -> None:
        """Forget everything; another run, or the same one as raw events."""
        self._waiting.clear()
        self._room.set()
        self._timer.stop()
        self._is_raw = is_raw
        self._teller = Teller()
        self._ends: dict[str, QTextCursor] = {}
        self._open: set[str] = set()
        self._is_cut = False
        self.clear()

    async def take(self, event: AgentEvent) -> None:
        """Show `event` soon. Waits while `MAX_WAITING` are not shown yet."""
        await self._room.wait()
        self._waiting.append(event)
        if len(self._waiting) >= MAX_WAITING:
            self._room.clear()
        if not self._timer.isActive():
            self._timer.start(FRAME_MS)

    def answer(self) -> str:
        """All that the agent said, as far as it is shown."""
        kinds = ((block, block.blockFormat().intProperty(KIND)) for block in self._blocks())
        return "\n".join(block.text() for block, kind in kinds if kind == Kind.ANSWER)

    def _frame(self) -> None:
        bar = self.verticalScrollBar()
        is_at_end = bar.value() >= bar.maximum() - 1
        writing = QTextCursor(self.document())
        writing.beginEditBlock()
        for part in self._due():
            self._put_head(part) if isinstance(part, Head) else self._put(part)
        writing.endEditBlock()
        self._room.set()
        if is_at_end:
            bar.setValue(bar.maximum())
        if not self._is_cut and self.blockCount() >= MAX_LINES:
            self._is_cut = True
            self.shortened.emit()
        if self._waiting:
            self._timer.start(CATCH_UP_MS)
        else:
            self.caught_up.emit()

    def _due(self) -> Iterator[Part | Head]:
        """One frame's worth of what is waiting; words that follow each other come as one."""
        left_chars, left_events = FRAME_CHARS, FRAME_EVENTS
        while self._waiting and left_chars > 0 and left_events > 0:
            event = self._waiting.popleft()
            left_events -= 1
            if self._is_raw:
                parts: Iterator[Part | Head] = iter([raw(event)])
            else:
                if isinstance(event, TextDelta | ReasoningDelta):
                    words = [event.text, *self._more(type(event), left_events)]
                    left_events -= len(words) - 1
                    event = type(event)(text="".join(words))
                parts = self._teller.tell(event)
            for part in parts:
                left_chars -= len(part.text)
                yield part

    def _more(self, kind: type[TextDelta | ReasoningDelta], limit: int) -> Iterator[str]:
        while limit > 0 and self._waiting and isinstance(self._waiting[0], kind):
            limit -= 1
            event = self._waiting.popleft()
            assert isinstance(event, kind)
            yield event.text

    # --- writing --------------------------------------------------------------------------

    def _put(self, part: Part) -> None:
        cursor = self._end_of(part.fold)
        of_before = cursor.block().blockFormat()
        goes_on = (
            not part.is_new
            and of_before.intProperty(KIND) == part.kind
            and not of_before.boolProperty(IS_HEAD)
        )
        words = visible(part.text)
        if not goes_on:
            self._begin_line(cursor, part.kind, part.fold)
            words = words.lstrip("\n")  # the space between parts is ours
        first = cursor.block()
        cursor.insertText(broken(words, cursor.positionInBlock(), MAX_LINE_CHARS))
        cursor.setKeepPositionOnInsert(True)
        if part.fold and part.fold not in self._open:
            # Before the edit is laid out, which so costs nothing for what is hidden.
            _show(first, part.fold, is_shown=False)

    def _put_head(self, head: Head) -> None:
        sign = _OPEN if head.fold in self._open else _CLOSED
        if head.fold in self._ends:
            block = self._head_of(head.fold)
            if block is not None:
                _replace_text(block, sign + visible(head.text))
                return
        cursor = self._end_of("")
        self._begin_line(cursor, head.kind, head.fold, is_head=True)
        cursor.insertText(sign + visible(head.text))
        self._ends[head.fold] = cursor

    def _end_of(self, fold: str) -> QTextCursor:
        """Where more of a fold is written: its own end, unless it has been cut away."""
        cursor = self._ends.get(fold)
        if cursor is not None and cursor.block().blockFormat().property(_FOLD) == fold:
            # It keeps its place while others write, and leaves it only here.
            cursor.setKeepPositionOnInsert(False)
            cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock)
            return cursor
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        return cursor

    def _begin_line(
        self, cursor: QTextCursor, kind: Kind, fold: str, *, is_head: bool = False
    ) -> None:
        form = QTextBlockFormat()
        form.setProperty(KIND, int(kind))
        if fold:
            form.setProperty(_FOLD, fold)
            form.setProperty(IS_HEAD, is_head)
        if self.document().isEmpty():
            cursor.setBlockFormat(form)
            return
        if _needs_space(cursor.block(), kind) and (is_head or not fold):
            cursor.insertBlock(QTextBlockFormat())
        cursor.insertBlock(form)

    # --- folds ----------------------------------------------------------------------------

    def toggle(self, block: QTextBlock) -> None:
        """Open or close the fold whose head or content `block` is; nothing for other text."""
        fold = block.blockFormat().property(_FOLD)
        head = self._head_of(fold) if fold else None
        if head is None:
            return
        is_open = fold not in self._open
        (self._open.add if is_open else self._open.discard)(fold)
        _replace_text(head, (_OPEN if is_open else _CLOSED) + head.text()[len(_OPEN) :])
        end = _show(head.next(), fold, is_shown=is_open)
        # Not within an edit: there it would hide the rest of the edit from the looks.
        self.document().markContentsDirty(head.position(), end - head.position())
        if not is_open:
            cursor = self.textCursor()
            cursor.setPosition(head.position())
            self.setTextCursor(cursor)

    def reveal(self, block: QTextBlock) -> None:
        """Open the fold that hides `block`."""
        if not block.isVisible():
            self.toggle(block)

    def _head_of(self, fold: str) -> QTextBlock | None:
        end = self._ends.get(fold)
        block = end.block() if end is not None else None
        while block is not None and block.isValid() and block.blockFormat().property(_FOLD) == fold:
            if block.blockFormat().boolProperty(IS_HEAD):
                return block
            block = block.previous()
        return None

    def _blocks(self) -> Iterator[QTextBlock]:
        block = self.document().begin()
        while block.isValid():
            yield block
            block = block.next()

    # --- a person -------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.toggle(self.textCursor().block())
            return
        super().keyPressEvent(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        super().mouseReleaseEvent(event)
        is_click = event.button() == Qt.MouseButton.LeftButton
        if is_click and not self.textCursor().hasSelection():
            block = self.cursorForPosition(event.position().toPoint()).block()
            if block.blockFormat().boolProperty(IS_HEAD):
                self.toggle(block)


def _needs_space(block: QTextBlock, kind: Kind) -> bool:
    """Whether an empty line sets two parts apart: around answers, and before a list."""
    before = block.blockFormat().intProperty(KIND)
    if not block.text():
        return False
    return kind is Kind.HEADING or (before != kind and Kind.ANSWER in (before, kind))


def _show(block: QTextBlock, fold: str, *, is_shown: bool) -> int:
    """Show or hide the content of a fold from `block` on; the position of its end."""
    end = block.position()
    while block.isValid() and block.blockFormat().property(_FOLD) == fold:
        block.setVisible(is_shown)
        block.setLineCount(1 if is_shown else 0)
        end = block.position() + block.length() - 1
        block = block.next()
    return end


def _replace_text(block: QTextBlock, words: str) -> None:
    cursor = QTextCursor(block)
    cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
    cursor.insertText(words)
