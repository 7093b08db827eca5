"""The window with the pages of help."""

from __future__ import annotations

import re

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QColor, QDesktopServices, QPalette
from PySide6.QtTest import QTest

from desktop.help import HelpWindow, linked
from desktop.parts.style import Tone, colour
from desktop.parts.window import change_language
from executor_core import help_pages
from executor_core.control import LocalControl
from executor_core.jobs import Jobs
from executor_core.texts import LANGUAGES


@pytest.fixture
def window(control: LocalControl, jobs: Jobs) -> HelpWindow:
    window = HelpWindow(control, None, jobs)
    window.present()
    return window


def listed(window: HelpWindow) -> list[str]:
    items = (window.list.item(row) for row in range(window.list.count()))
    return [item.text() for item in items if not item.isHidden()]


def heading(window: HelpWindow) -> str:
    return window.pages.toPlainText().split("\n")[0]


async def test_every_topic_is_listed_and_shows_its_page(window: HelpWindow) -> None:
    assert listed(window) == [help_pages.title(topic) for topic in help_pages.topics()]
    for row, title in enumerate(listed(window)):
        window.list.setCurrentRow(row)
        assert heading(window) == title


async def test_a_topic_can_be_asked_for_by_its_name(window: HelpWindow) -> None:
    window.show_item("check-token")
    assert heading(window) == help_pages.title("check-token")
    assert window.list.currentItem().text() == help_pages.title("check-token")


async def test_links_can_be_read_on_dark_ground_too(window: HelpWindow) -> None:
    window.show_item("check-token")
    place = window.pages.toPlainText().index(help_pages.title("token", "en"), 10)
    for ground, letters in (("#202020", "#f0f0f0"), ("#f0f0f0", "#202020")):
        palette = window.pages.palette()
        palette.setColor(QPalette.ColorRole.Window, QColor(ground))
        palette.setColor(QPalette.ColorRole.WindowText, QColor(letters))
        window.pages.setPalette(palette)
        cursor = window.pages.textCursor()
        cursor.setPosition(place + 1)
        assert cursor.charFormat().isAnchor()
        assert cursor.charFormat().foreground().color() == colour(Tone.ACCENT, palette)


async def test_a_link_leads_to_another_page_and_back(window: HelpWindow) -> None:
    window.show_item("troubleshooting")
    assert 'href="topic:slots"' in window.pages.toHtml()
    window.pages.setSource(QUrl("topic:slots"))
    assert heading(window) == help_pages.title("slots")
    assert window.list.currentItem().text() == help_pages.title("slots")
    window.back.click()
    assert heading(window) == help_pages.title("troubleshooting")
    window.forward.click()
    assert heading(window) == help_pages.title("slots")


async def test_an_address_of_the_web_is_opened_elsewhere(
    window: HelpWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    window.show_item("check-git")
    assert 'href="https://git-scm.com"' in window.pages.toHtml()
    window.pages.setSource(QUrl("https://git-scm.com"))
    assert opened == ["https://git-scm.com"]
    assert heading(window) == help_pages.title("check-git")


async def test_searching_leaves_the_titles_that_have_every_word(window: HelpWindow) -> None:
    QTest.keyClicks(window.search, "check TOK")
    assert listed(window) == [help_pages.title("check-token")]
    QTest.keyClick(window.search, Qt.Key.Key_Return)
    assert heading(window) == help_pages.title("check-token")
    QTest.keyClicks(window.search, " nowhere")
    assert listed(window) == []
    assert window.none.isVisible()
    window.search.clear()
    assert len(listed(window)) == len(help_pages.topics())
    assert not window.none.isVisible()


async def test_the_page_that_is_open_changes_its_language(window: HelpWindow) -> None:
    window.show_item("slots")
    change_language("zh_CN")
    assert heading(window) == help_pages.title("slots", "zh_CN")
    assert window.list.currentItem().text() == help_pages.title("slots", "zh_CN")


def test_a_page_links_to_others_but_not_from_code_and_not_to_itself() -> None:
    page = "See `slots` and `token`, or `wegent-executor help check-tls`.\n```\n`slots`\n```\n`x`"
    address = "As `https://host` or https://host/a."
    assert linked(address, "token") == "As `https://host` or <https://host/a>."
    assert linked(page, "token") == (
        f"See [{help_pages.title('slots')}](topic:slots) and `token`, or "
        f"[{help_pages.title('check-tls')}](topic:check-tls).\n```\n`slots`\n```\n`x`"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_is_damaged_by_its_links(language: str) -> None:
    for topic in help_pages.topics():
        page = help_pages.page(topic, language)
        whole = linked(page, topic)
        assert whole.count("```") == page.count("```")
        targets = re.findall(r"\]\(topic:([^)]*)\)", whole)
        assert set(targets) <= set(help_pages.topics()) - {topic}
