"""Sentences as people see them: commands in a fixed font, and nothing taken for markup."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PySide6.QtGui import QAccessible, QFontMetrics, QTextCursor, QTextDocument
from PySide6.QtWidgets import QApplication, QLabel

from desktop.parts.commands import plain, rich
from desktop.parts.paragraph import Paragraph
from executor_core.texts import LANGUAGES, catalogue


def seen(paragraph: Paragraph) -> str:
    """What a paragraph shows, as its reader for the blind has it."""
    return QAccessible.queryAccessibleInterface(paragraph).text(QAccessible.Text.Name)


def is_fixed(document: QTextDocument, words: str) -> bool:
    cursor = QTextCursor(document.find(words))
    assert not cursor.isNull()
    # By its letters: where Chinese fonts are installed, a fixed font has a second width for theirs.
    metrics = QFontMetrics(cursor.charFormat().font())
    return metrics.horizontalAdvance("iiii") == metrics.horizontalAdvance("WWWW")


def test_a_command_is_shown_in_a_fixed_font_without_its_marks(qapp: QApplication) -> None:
    paragraph = Paragraph()
    paragraph.say("Run `codex login` on this computer.")
    assert seen(paragraph) == "Run codex login on this computer."
    assert paragraph.text() == "Run `codex login` on this computer."
    document = QTextDocument()
    document.setHtml(QLabel.text(paragraph))
    assert is_fixed(document, "codex login")
    assert not is_fixed(document, "on this computer")


@pytest.mark.parametrize("frame", ["{}", "{} See `a --help`.", "`{}`"])
def test_nothing_from_outside_is_markup(qapp: QApplication, frame: str) -> None:
    bad = 'the server said <img src="x"> <b>&amp;</b>'
    paragraph = Paragraph()
    paragraph.say(frame.format(bad))
    assert seen(paragraph) == plain(frame.format(bad))


@given(st.text(alphabet="ab <>&\"'`/;\n中", max_size=40).map(str.strip))
@example("a `<i>` b\nc  `d`")
def test_all_that_is_written_is_shown(qapp: QApplication, words: str) -> None:
    document = QTextDocument()
    document.setHtml(rich(words))
    assert document.toPlainText() == plain(words)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_command_of_the_catalogue_is_found(language: str) -> None:
    shown = ("check.", "error.", "link.", "acp.reason.", "option.")
    sentences = {key: one for key, one in catalogue(language).items() if key.startswith(shown)}
    assert [key for key, one in sentences.items() if "`" in plain(one)] == []
