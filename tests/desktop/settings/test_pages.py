"""The settings window against a real executor with its hub, a real services, and a keychain."""

# Qt's stubs leave out what kind of children are found.
# mypy: disable-error-code="var-annotated"

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import keyring
import pytest
import shiboken6
from keyring.errors import KeyringLocked, PasswordSetError
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QComboBox,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QWidget,
)

from desktop.parts.paragraph import Paragraph
from desktop.parts.style import is_dark, use_colours
from desktop.parts.window import change_language
from desktop.settings import sign_in
from desktop.settings.about import AboutPage
from desktop.settings.advanced import AdvancedPage
from desktop.settings.agents import AgentsPage
from desktop.settings.connection import ConnectionPage, until_words
from desktop.settings.devices import DevicesPage
from desktop.settings.login import LoginPage
from desktop.settings.page import Page
from desktop.settings.plain import AppearancePage, NotificationsPage, SlotsPage
from desktop.settings.sign_in import SignIn
from desktop.settings.window import SettingsWindow
from desktop.settings.workspaces import WorkspacesPage
from desktop.system.deletion import delete_later, delete_now
from executor_core.app import Application
from executor_core.config import options
from executor_core.control import Submission
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.interface import Account, Installed, InstallPlan
from executor_core.texts import catalogue, text
from tests.config.memory_keyring import MemoryKeyring
from tests.config.test_accounts import jwt
from tests.desktop.computer import Computer, are_programs_gone, until
from tests.support.clock import START
from tests.support.rest_server import RestServer

pytestmark = pytest.mark.slow


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    return Computer(tmp_path)


@pytest.fixture
def keychain(monkeypatch: pytest.MonkeyPatch) -> MemoryKeyring:
    memory = MemoryKeyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: memory)
    return memory


@pytest.fixture
async def executor(computer: Computer, qapp: QApplication) -> AsyncIterator[Application]:
    executor = computer.executor(standalone=True)
    await executor.start()
    yield executor
    await executor.stop()
    await until(are_programs_gone)


@pytest.fixture
async def window(
    computer: Computer, executor: Application, jobs: Jobs
) -> AsyncIterator[SettingsWindow]:
    window = SettingsWindow(executor.control, computer.services(executor.control), jobs)
    window.program = computer.program
    window.present()
    await until(lambda: window.settings)
    yield window
    window.close()
    use_colours("system")


def page_of(window: SettingsWindow, kind: type[Page]) -> Page:
    """Turn to the page of that kind."""
    window.show_item(kind.name)
    assert isinstance(window.page, kind)
    return window.page


def type_into(line: QLineEdit, words: str) -> None:
    line.setFocus()
    line.selectAll()
    QTest.keyClicks(line, words)
    QTest.keyClick(line, Qt.Key.Key_Return)


def question() -> QMessageBox:
    return next(w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox))


async def answer(word: str) -> None:
    await until(lambda: any(isinstance(w, QMessageBox) for w in QApplication.topLevelWidgets()))
    next(button for button in question().buttons() if button.text() == word).click()


# --- options -----------------------------------------------------------------------------------


async def test_slots_count_at_once_and_from_the_next_start(
    window: SettingsWindow, computer: Computer
) -> None:
    page = page_of(window, SlotsPage)
    assert isinstance(page, SlotsPage)
    await until(lambda: page.used.text().startswith("0 of 5"))
    field = page.fields["device.max_concurrent_tasks"]
    assert isinstance(field.editor, QLineEdit)
    type_into(field.editor, "3")
    await until(lambda: page.used.text().startswith("0 of 3"))
    assert "max_concurrent_tasks = 3" in computer.home.config_toml.read_text()
    assert window.restart_bar.isHidden()
    field.reset.click()
    await until(lambda: page.used.text().startswith("0 of 5"))
    assert field.editor.text() == "5"


async def test_a_value_that_is_not_allowed_is_refused_in_words_and_stays_to_be_mended(
    window: SettingsWindow, computer: Computer
) -> None:
    page = page_of(window, SlotsPage)
    assert isinstance(page, SlotsPage)
    field = page.fields["device.max_concurrent_tasks"]
    assert isinstance(field.editor, QLineEdit)
    type_into(field.editor, "99")
    await until(lambda: field.problem.isVisible())
    assert "from 1 to 32" in field.problem.text()
    assert field.editor.text() == "99"
    assert not computer.home.config_toml.exists()


async def test_what_makes_no_sense_together_leaves_the_file_as_it_was(
    window: SettingsWindow, computer: Computer
) -> None:
    """Written all the same, no start would get past it."""
    page = page_of(window, SlotsPage)
    assert isinstance(page, SlotsPage)
    field = page.fields["heartbeat.timeout_s"]
    assert isinstance(field.editor, QLineEdit)
    type_into(field.editor, "5")
    await until(lambda: field.problem.isVisible())
    assert "heartbeat.interval_s" in field.problem.text()
    computer.load()


async def test_what_counts_from_the_next_start_offers_a_restart(
    window: SettingsWindow, computer: Computer
) -> None:
    page = page_of(window, AdvancedPage)
    assert isinstance(page, AdvancedPage)
    field = page.fields["device.name"]
    assert isinstance(field.editor, QLineEdit)
    type_into(field.editor, "my services")
    await until(lambda: window.restart_bar.isVisible())
    field.reset.click()
    await until(lambda: not window.restart_bar.isVisible())
    type_into(field.editor, "my services")
    await until(lambda: window.restart_bar.isVisible())
    window.restart_button.click()
    await until(lambda: computer.restarts == [("settings", "advanced")])


async def test_a_restart_asks_while_a_run_lives(
    window: SettingsWindow, computer: Computer, executor: Application
) -> None:
    run_id = await executor.control.submit(Submission(prompt="x" * 20_000, agent="demo"))
    window.needs_restart("device.name")
    window.restart_button.click()
    await answer(catalogue("en")["settings.no"])
    assert computer.restarts == []
    window.restart_button.click()
    await answer(catalogue("en")["settings.restart_deed"])
    assert computer.restarts == [("settings", "connection")]
    await executor.control.cancel(run_id)


async def test_an_overridden_option_is_read_only_and_says_by_what(
    window: SettingsWindow, computer: Computer
) -> None:
    computer.environment["LOG_LEVEL"] = "DEBUG"
    window.close()
    window.present()
    page = page_of(window, AdvancedPage)
    assert isinstance(page, AdvancedPage)
    field = page.fields["log.level"]
    await until(lambda: not field.editor.isEnabled())
    assert "environment LOG_LEVEL" in field.note.text()
    assert isinstance(field.editor, QComboBox)
    assert field.editor.currentText() == "DEBUG"


async def test_every_option_is_there_with_its_source_and_can_be_found(
    window: SettingsWindow,
) -> None:
    page = page_of(window, AdvancedPage)
    assert isinstance(page, AdvancedPage)
    assert page.fields.keys() == window.settings.keys()
    assert "from default" in page.fields["log.level"].note.text()
    page.filter.setText("log.lev")
    assert [name for name, field in page.fields.items() if field.isVisible()] == ["log.level"]
    page.filter.setText("no such thing")
    assert page.none.isVisible()


async def test_a_secret_is_never_shown(window: SettingsWindow, computer: Computer) -> None:
    page = page_of(window, AgentsPage)
    assert isinstance(page, AgentsPage)
    field = page.fields["agents.anthropic_api_key"]
    assert isinstance(field.editor, QLineEdit)
    assert field.editor.echoMode() is QLineEdit.EchoMode.Password
    type_into(field.editor, "sk-secret")
    await until(lambda: field.editor.placeholderText() == text("value.set"))  # type: ignore[union-attr]
    assert field.editor.text() == ""
    assert "sk-secret" in computer.home.config_toml.read_text()


async def test_notifications_count_at_once(window: SettingsWindow, computer: Computer) -> None:
    page = page_of(window, NotificationsPage)
    assert isinstance(page, NotificationsPage)
    page.fields["notifications.run_failed"].editor.click()  # type: ignore[union-attr]
    await until(lambda: computer.preferred == [("notifications.run_failed", False)])
    assert window.restart_bar.isHidden()


async def test_the_executor_itself_looks_whether_to_stay_awake(
    window: SettingsWindow, computer: Computer
) -> None:
    page = page_of(window, SlotsPage)
    assert isinstance(page, SlotsPage)
    page.fields["desktop.keep_awake"].editor.click()  # type: ignore[union-attr]
    await until(lambda: window.settings["desktop.keep_awake"].value == "false")
    assert computer.preferred == []
    assert window.restart_bar.isHidden()


# --- appearance and language -------------------------------------------------------------------


async def test_the_language_switches_at_once_everywhere(window: SettingsWindow) -> None:
    page = page_of(window, AppearancePage)
    assert isinstance(page, AppearancePage)
    choice = page.fields["language"].editor
    assert isinstance(choice, QComboBox)
    choose(choice, "zh_CN")
    await until(lambda: window.windowTitle() == "设置")
    assert window.list.item(0).text() == "连接"
    await until(lambda: page.fields["desktop.colours"].label.text() == "颜色")
    choose(choice, "en")
    await until(lambda: window.windowTitle() == "Settings")


async def test_colours_switch_at_once(window: SettingsWindow) -> None:
    page = page_of(window, AppearancePage)
    assert isinstance(page, AppearancePage)
    choice = page.fields["desktop.colours"].editor
    assert isinstance(choice, QComboBox)
    for scheme, dark in (("dark", True), ("light", False)):
        choose(choice, scheme)
        await until(partial(is_shown_dark, window, dark))
        # Those with shades of their own follow.
        assert all(is_dark(one.palette()) == dark for one in page.findChildren(Paragraph))


def is_shown_dark(window: SettingsWindow, dark: bool) -> bool:
    return is_dark(window.palette()) == dark


def choose(choice: QComboBox, value: str) -> None:
    choice.setCurrentIndex(choice.findData(value))
    choice.activated.emit(choice.currentIndex())


# --- start at login ----------------------------------------------------------------------------


async def test_start_at_login_works_both_ways_and_names_its_file(
    window: SettingsWindow, tmp_path: Path
) -> None:
    page = page_of(window, LoginPage)
    assert isinstance(page, LoginPage)
    file = tmp_path / "autostart" / "wegent-executor.desktop"
    assert page.place.text() == str(file)
    page.switch.click()
    assert file.exists()
    page.switch.click()
    assert not file.exists()


async def test_start_at_login_that_cannot_be_written_is_said(
    window: SettingsWindow, tmp_path: Path
) -> None:
    (tmp_path / "autostart").write_text("in the way")
    page = page_of(window, LoginPage)
    assert isinstance(page, LoginPage)
    page.switch.click()
    assert not page.switch.isChecked()
    assert str(tmp_path / "autostart") in window.messages.label.text()


# --- connection --------------------------------------------------------------------------------


@pytest.fixture
async def server() -> AsyncIterator[RestServer]:
    async with RestServer() as server:
        server.answers["GET /api/users/me"] = (200, {"user_name": "ada"})
        server.has_sockets = True  # keys are tried there
        yield server


def form_of(window: SettingsWindow) -> SignIn:
    page = page_of(window, ConnectionPage)
    assert isinstance(page, ConnectionPage)
    return page.form


async def test_an_address_is_looked_at_while_it_is_typed(
    window: SettingsWindow, server: RestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "TYPING_S", 0.05)
    form = form_of(window)
    QTest.keyClicks(form.address, server.url)
    await until(lambda: "version 1.0.0" in form.verdict.text())
    assert [asked.path for asked in server.asked].count("/") == 1
    form.address.setText("http://far.example.com")
    await until(lambda: "https" in form.verdict.text())
    form.address.setText("http://127.0.0.1:1")
    await until(lambda: "127.0.0.1:1" in form.verdict.text())


async def test_a_token_goes_to_the_keychain_and_a_restart_connects_there(
    window: SettingsWindow, server: RestServer, keychain: MemoryKeyring, computer: Computer
) -> None:
    computer.home.config_toml.write_text("[hub]\nenabled = true\n")
    form = form_of(window)
    form.address.setText(server.url)
    form.token.setText(jwt(sub="ada", user_id=1, exp=4102444800))
    form.send.click()
    page = window.page
    assert isinstance(page, ConnectionPage)
    await until(lambda: "ada" in page.who.text())
    assert "keychain" in page.who.text()
    assert "2100" in page.until.text()
    assert form.token.text() == ""
    assert len(keychain.entries) == 1
    assert window.restart_bar.isVisible()
    assert "enabled = true" not in computer.home.config_toml.read_text()
    page.sign_out.click()
    await answer(catalogue("en")["settings.sign_out"])
    await until(lambda: page.who.text().startswith("Nobody is signed in"))
    assert keychain.entries == {}


async def test_a_password_becomes_a_token(
    window: SettingsWindow, server: RestServer, keychain: MemoryKeyring
) -> None:
    server.answers["POST /api/auth/login"] = (200, {"access_token": jwt(sub="ada")})
    form = form_of(window)
    form.address.setText(server.url)
    form.by_password.click()
    form.user_name.setText("ada")
    form.password.setText("pw")
    form.send.click()
    await until(lambda: keychain.entries)
    await until(lambda: form.password.text() == "")


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (None, "There is no keychain"),
        (KeyringLocked("x"), "The keychain is locked"),
        (PasswordSetError("x"), "The keychain refused"),
    ],
)
async def test_a_keychain_that_is_missing_locked_or_refuses_is_told_apart_and_offers_the_file(
    window: SettingsWindow,
    server: RestServer,
    computer: Computer,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    title: str,
) -> None:
    if error is not None:
        memory = MemoryKeyring()
        memory.error = error
        monkeypatch.setattr(keyring, "get_keyring", lambda: memory)
    form = form_of(window)
    form.address.setText(server.url)
    form.token.setText("wg-abc")
    assert form.to_file.isHidden()
    form.send.click()
    await until(lambda: form.to_file.isVisible())
    assert form.problem.text().startswith(title)
    assert "0600" in form.problem.text()
    assert "login --file" not in form.problem.text()
    assert not computer.home.token.exists()
    form.to_file.click()
    await until(lambda: form.to_file.isHidden())
    assert computer.home.token.stat().st_mode & 0o777 == 0o600


async def test_a_keychain_that_waits_for_its_user_does_not_hold_the_window(
    window: SettingsWindow, server: RestServer, keychain: MemoryKeyring
) -> None:
    """The watched loop would fail this test."""
    keychain.gate = threading.Event()
    form = form_of(window)
    form.address.setText(server.url)
    form.token.setText("wg-abc")
    form.send.click()
    await until(lambda: keychain.calls)  # it waits now, and the loop that looks here goes on
    assert not form.send.isEnabled()
    keychain.gate.set()
    await until(lambda: keychain.entries)
    await until(lambda: form.token.text() == "")


def test_the_expiry_counts_down_to_its_end() -> None:
    def words(days: float) -> str:
        ends = START.fromtimestamp(START.timestamp() + days * 86_400, START.tzinfo)
        return until_words(Account(expires_at=ends), START)[0]

    assert "for another 4 d" in words(4.5)
    assert "for another 12 h" in words(0.5)
    assert words(-1).startswith("The sign-in expired")
    assert until_words(Account(is_refused=True), START)[0] == text("settings.refused")


# --- devices -----------------------------------------------------------------------------------


def choose_first(page: DevicesPage) -> None:
    item = page.list.topLevelItem(0)
    assert item is not None
    page.list.setCurrentItem(item)


async def test_devices_are_listed_made_default_and_removed(
    window: SettingsWindow, executor: Application
) -> None:
    page = page_of(window, DevicesPage)
    assert isinstance(page, DevicesPage)

    async def online() -> None:
        while not page.devices:
            page.appear()
            await asyncio.sleep(0.05)

    async with asyncio.timeout(10):
        await online()
    item = page.list.topLevelItem(0)
    assert item is not None
    assert item.text(1) == "● online"
    assert "this computer" in item.text(4)
    page.list.setCurrentItem(item)
    if page.devices[0].is_default:
        page.no_default.click()
        await until(lambda: page.devices and not page.devices[0].is_default)
    choose_first(page)
    page.default.click()
    await until(lambda: page.devices and page.devices[0].is_default)
    choose_first(page)
    page.remove.click()
    assert "registers itself again" in question().informativeText()
    await answer(catalogue("en")["settings.no"])
    assert page.devices
    page.remove.click()
    await answer(catalogue("en")["settings.remove_deed"])
    await until(lambda: window.messages.isVisible() or page.problem.isVisible() or page.devices)


async def test_devices_that_cannot_be_asked_for_are_said_in_words(
    window: SettingsWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise ExecutorError("no_server")

    monkeypatch.setattr(window.rooms.devices, "devices", fail)
    page = page_of(window, DevicesPage)
    assert isinstance(page, DevicesPage)
    await until(lambda: page.problem.isVisible())
    assert page.problem.text() == ExecutorError("no_server").message.sentence


# --- agents ------------------------------------------------------------------------------------


class Shop:
    """Installs nothing, and says so."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.problem: ExecutorError | None = None

    def installable(self) -> tuple[str, ...]:
        return ("codex",)

    async def plan(self, name: str) -> InstallPlan:
        return InstallPlan(name=name, title="Codex", folder="/p", command="npm install codex")

    async def install(self, name: str, say: Callable[[str], None]) -> Installed:
        say("fetching")
        await self.go.wait()
        if self.problem is not None:
            raise self.problem
        return Installed(name=name, version="9.9", path="/p/codex")


@pytest.fixture
def shop(window: SettingsWindow) -> Shop:
    from msgspec.structs import replace

    shop = Shop()
    window.rooms = replace(window.rooms, install=shop)
    return shop


async def test_an_agent_says_why_it_cannot_work_and_is_installed_after_its_plan_was_shown(
    window: SettingsWindow, shop: Shop
) -> None:
    page = page_of(window, AgentsPage)
    assert isinstance(page, AgentsPage)
    agents = page.list
    await until(lambda: "codex" in agents.rows)
    assert agents.rows["demo"].state.text() == text("settings.agent_usable")
    row = agents.rows["codex"]
    assert "not installed" in row.state.text()
    assert row.install.accessibleName() == "Install Codex"
    assert agents.rows["opencode"].install.isHidden()
    row.install.click()
    await until(lambda: any(isinstance(w, QMessageBox) for w in QApplication.topLevelWidgets()))
    assert "npm install codex" in question().informativeText()
    await answer(catalogue("en")["settings.install"])
    await until(lambda: agents.progress.toPlainText() == "fetching")
    assert not row.install.isEnabled()
    shop.go.set()
    await until(lambda: "9.9" in agents.note.text())


async def test_an_installation_that_fails_is_said_with_what_it_printed(
    window: SettingsWindow, shop: Shop
) -> None:
    page = page_of(window, AgentsPage)
    assert isinstance(page, AgentsPage)
    await until(lambda: "codex" in page.list.rows)
    shop.problem = ExecutorError("npm_missing")
    shop.go.set()
    page.list.rows["codex"].install.click()
    await answer(catalogue("en")["settings.install"])
    await until(lambda: page.list.note.text() == shop.problem.message.sentence)  # type: ignore[union-attr]
    assert page.list.progress.isVisible()
    await until(lambda: page.list.rows["codex"].install.isEnabled())


# --- workspaces --------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["trusted", "configuring"])
async def test_folders_come_and_go_even_with_a_comma(
    window: SettingsWindow, computer: Computer, tmp_path: Path, which: str
) -> None:
    page = page_of(window, WorkspacesPage)
    assert isinstance(page, WorkspacesPage)
    folders = getattr(page, which)
    option = {
        "trusted": options.WORKSPACE_TRUSTED_FOLDERS,
        "configuring": options.AGENTS_TRUSTED_FOLDERS,
    }[which]
    folders.put(tmp_path / "a, b")
    await until(lambda: folders.list.count() == 1)
    folders.put(tmp_path / "c")
    await until(lambda: folders.list.count() == 2)
    assert len(computer.load()[option]) == 2
    folders.list.setCurrentRow(0)
    folders.drop.click()
    await until(lambda: folders.list.count() == 1)
    assert folders.list.item(0).text() == str(tmp_path / "c")
    assert window.restart_bar.isVisible() is (which == "trusted")


async def test_cleaning_up_shows_what_goes_and_what_stays_before_it_does(
    window: SettingsWindow, computer: Computer
) -> None:
    root = computer.home.path / "workspace"
    for name in ("1", "2"):
        (root / name).mkdir(parents=True)
    (root / "2" / "notes.txt").write_text("mine")
    page = page_of(window, WorkspacesPage)
    assert isinstance(page, WorkspacesPage)
    page.appear()
    await until(lambda: page.list.topLevelItemCount() == 2)
    assert page.total.text().startswith("Workspaces: 2,")
    page.clean.click()
    await until(lambda: page.panel.isVisible())
    assert "– 1 stays: it was used lately" in page.preview.toPlainText()
    assert not page.go.isEnabled()
    page.stay.click()
    assert page.panel.isHidden()
    item = page.list.topLevelItem(1)
    assert item is not None
    item.setSelected(True)
    page.delete.click()
    assert "2" in question().informativeText()
    await answer(catalogue("en")["settings.delete_deed"])
    await until(lambda: not (root / "2").exists())
    await until(lambda: page.list.topLevelItemCount() == 1)
    assert "✓ 2 deleted" in page.preview.toPlainText()


# --- about -------------------------------------------------------------------------------------


async def test_about_names_version_folders_and_licences(
    window: SettingsWindow, computer: Computer
) -> None:
    page = page_of(window, AboutPage)
    assert isinstance(page, AboutPage)
    assert page.paths["settings.path_home"].text() == str(computer.home.path)
    await until(lambda: "LGPL" in page.licences.toPlainText())


# --- for everybody -----------------------------------------------------------------------------


def controls(widget: QWidget) -> list[QWidget]:
    """What can be used of it now."""
    return [
        one
        for one in widget.findChildren(QWidget)
        if one.isVisible() and one.isEnabled() and one.focusPolicy() & Qt.FocusPolicy.TabFocus
    ]


async def test_python_is_told_when_the_items_of_the_list_are_deleted(
    computer: Computer, executor: Application, jobs: Jobs
) -> None:
    window = SettingsWindow(executor.control, computer.services(executor.control), jobs)
    items = [window.list.item(row) for row in range(window.list.count())]
    delete_later(window)
    delete_now()
    assert items
    assert not any(shiboken6.isValid(item) for item in items)


async def test_the_keyboard_reaches_every_control_and_each_has_a_name(
    window: SettingsWindow,
) -> None:
    for row, page in enumerate(window.pages):
        window.list.setCurrentRow(row)
        await asyncio.sleep(0.05)
        for control in controls(page):
            is_inner = isinstance(control.parentWidget(), QLineEdit | QComboBox)
            name = control.accessibleName() or (
                control.text() if isinstance(control, QAbstractButton) else ""
            )
            assert name or is_inner, f"{page.name}: {control}"
        reached: set[QWidget] = set()
        window.list.setFocus()
        one: QWidget | None = window.list
        while one is not None and one not in reached:
            reached.add(one)
            one = one.nextInFocusChain()
        assert set(controls(page)) <= reached, page.name


async def test_tab_leaves_every_control_again(window: SettingsWindow) -> None:
    """Text fields that swallow the key would be a trap."""
    window.show_item("workspaces")
    window.activateWindow()
    window.list.setFocus()
    seen = []
    for _ in range(40):
        focus = QApplication.focusWidget()
        if focus is None:
            break
        seen.append(focus)
        QTest.keyClick(focus, Qt.Key.Key_Tab)
        if QApplication.focusWidget() is window.list:
            break
    assert QApplication.focusWidget() is window.list
    assert any(isinstance(one, QPushButton) for one in seen)


async def test_no_page_cuts_off_its_words(window: SettingsWindow) -> None:
    for language in ("en", "zh_CN"):
        change_language(language)
        for row, page in enumerate(window.pages):
            window.list.setCurrentRow(row)
            await asyncio.sleep(0.02)
            for control in page.findChildren(QWidget):
                if control.isVisible() and isinstance(control, QPushButton | QCheckBox):
                    assert control.width() >= control.sizeHint().width(), control.text()
                    right = control.mapTo(page, QPoint(control.width(), 0)).x()
                    assert right <= page.width(), control.text()
