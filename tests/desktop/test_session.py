"""The tray application against a real executor: what is shown, and what choosing does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication, QMessageBox, QWidget

from desktop import windows
from desktop.parts.window import Window, change_language
from desktop.session import COLLECT_S, Session
from desktop.system.autostart import autostart_for
from desktop.tray.glance import TrayState
from desktop.tray.notices import Notice, NoticeKind
from desktop.tray.tray import LOOK_S, NO_TRAY_S, Tray
from executor_core.control import RemoteControl
from executor_core.texts import catalogue
from tests.support.clock import JumpingClock
from tests.support.office import Office, outcome


class Plain(Window):
    """Stands in for windows that are tested elsewhere."""

    name = "plain"
    title = "status.title"
    item = ""

    def show_item(self, item: str) -> None:
        self.item = item


class Desktop:
    has_tray = True


@pytest.fixture(autouse=True)
def _plain_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = windows.Entry("runs", "tray.runs", __name__, "Plain")
    monkeypatch.setattr(windows, "ENTRIES", (entry,))
    monkeypatch.setattr("desktop.tray.menu.ENTRIES", (entry,))


@pytest.fixture
def desktop(monkeypatch: pytest.MonkeyPatch) -> Desktop:
    """A desktop with a tray, which the offscreen platform never has."""
    found = Desktop()
    monkeypatch.setattr(Tray, "is_available", property(lambda _: found.has_tray))
    return found


@pytest.fixture
async def session(
    desktop: Desktop, office: Office, clock: JumpingClock, tmp_path: Path
) -> AsyncIterator[Session]:
    session = make_session(office, clock, tmp_path)
    session.open()
    await until(lambda: session.menu.headline.text().startswith("Online"))
    yield session
    await session.close()


def make_session(
    office: Office, clock: JumpingClock, folder: Path, *, attached_to: str | None = None
) -> Session:
    return Session(
        office.local if attached_to is None else office.remote,
        None,
        notices=frozenset(NoticeKind),
        autostart=autostart_for("linux", ["x"], user_home=folder, config_home=folder),
        leave=office.leaving.set,
        clock=clock,
        attached_to=attached_to,
    )


async def until(is_true: Callable[[], bool]) -> None:
    """Wait for the executor's threads and Qt."""
    async with asyncio.timeout(5):
        while not is_true():
            await asyncio.sleep(0.005)


async def next_change(clock: JumpingClock, is_true: Callable[[], bool]) -> None:
    """The same where changes are told together after a while."""
    async with clock.jumping():
        await until(is_true)


def shown(session: Session) -> list[str]:
    return [menu.title() for menu in session.menu.runs if menu.menuAction().isVisible()]


async def test_a_run_is_a_line_of_the_menu_while_it_lives(
    session: Session, office: Office, clock: JumpingClock
) -> None:
    run_id = await office.begin(prompt="Salt & pepper")
    await next_change(clock, lambda: bool(shown(session)))
    assert shown(session)[0].startswith("Salt && pepper · ")
    assert session.menu.headline.text().startswith("Online · 1 of 2 slots in use · connected for")
    assert session.tray.icon.toolTip() == session.menu.headline.text()
    office.playing.finish("done")
    await outcome(office.local, run_id)
    await next_change(clock, lambda: not shown(session))
    await until(lambda: session.menu.recent_runs[0].isVisible())
    assert session.menu.recent_runs[0].text().startswith("✓ Salt && pepper")


async def test_a_run_is_cancelled_from_the_menu(
    session: Session, office: Office, clock: JumpingClock
) -> None:
    run_id = await office.begin()
    await next_change(clock, lambda: bool(shown(session)))
    session.menu.runs[0].actions()[1].trigger()
    async with clock.jumping():
        assert (await outcome(office.local, run_id)).state == "cancelled"


async def test_a_run_is_opened_from_the_menu(
    session: Session, office: Office, clock: JumpingClock
) -> None:
    run_id = await office.begin()
    await next_change(clock, lambda: bool(shown(session)))
    session.menu.runs[0].actions()[0].trigger()
    window = session.windows.open("runs")
    assert isinstance(window, Plain)
    assert window.item == run_id
    office.playing.finish()
    await outcome(office.local, run_id)


async def test_pause_and_resume_take_turns(
    session: Session, office: Office, clock: JumpingClock
) -> None:
    pauses = session.menu.pause.actions()
    assert pauses[0].text() == "For 30 minutes"
    pauses[0].trigger()
    await next_change(clock, lambda: session.menu.resume.isVisible())
    status = await office.local.status()
    assert status.paused
    assert status.paused_until is not None
    assert not session.menu.pause.menuAction().isVisible()
    session.menu.resume.trigger()
    await next_change(clock, lambda: session.menu.pause.menuAction().isVisible())


async def test_the_menu_changes_its_language_in_place(session: Session) -> None:
    change_language("zh_CN")
    assert session.menu.quit.text() == catalogue("zh_CN")["tray.quit"]
    assert session.menu.headline.text().startswith("在线")
    assert session.tray.window.button.text() == catalogue("zh_CN")["status.menu"]


async def test_start_at_login_is_switched_in_the_menu(session: Session, tmp_path: Path) -> None:
    entry = tmp_path / "autostart" / "wegent-executor.desktop"
    session.menu.login.trigger()
    assert entry.exists()
    session.menu.login.trigger()
    assert not entry.exists()


# --- quitting ----------------------------------------------------------------------------------


async def test_an_idle_executor_is_quit_without_a_question(
    session: Session, office: Office
) -> None:
    session.menu.quit.trigger()
    assert office.leaving.is_set()


def question() -> QMessageBox:
    return next(w for w in QApplication.topLevelWidgets() if isinstance(w, QMessageBox))


@pytest.mark.parametrize("answer", ["quit.finish", "quit.cancel", "quit.stay"])
async def test_quitting_asks_while_a_run_lives(
    session: Session, office: Office, clock: JumpingClock, answer: str
) -> None:
    run_id = await office.begin()
    await next_change(clock, lambda: bool(shown(session)))
    session.menu.quit.trigger()
    box = question()
    assert box.isVisible()
    assert not office.leaving.is_set()
    button = next(b for b in box.buttons() if b.text() == catalogue("en")[answer])
    button.click()
    await until(lambda: office.executor.table.is_draining == (answer == "quit.finish"))
    assert office.leaving.is_set() == (answer == "quit.cancel")
    office.playing.finish()
    await outcome(office.local, run_id)


async def test_the_systems_own_quit_asks_like_ours(session: Session, office: Office) -> None:
    application = QApplication.instance()
    assert application is not None
    QApplication.sendEvent(application, QEvent(QEvent.Type.Quit))
    assert office.leaving.is_set()


# --- no tray -----------------------------------------------------------------------------------


async def test_without_a_tray_a_window_takes_its_place_and_gives_it_back(
    session: Session, clock: JumpingClock, desktop: Desktop
) -> None:
    window = session.tray.window
    desktop.has_tray = False
    await clock.advance(NO_TRAY_S)
    assert not window.isVisible()
    await clock.advance(2 * LOOK_S)
    assert window.isVisible()
    assert "no tray" in window.note.text()
    assert window.headline.text() == "Online"
    assert window.button.menu() is session.menu
    desktop.has_tray = True
    await clock.advance(LOOK_S)
    assert not window.isVisible()
    assert session.tray.icon.isVisible()


async def test_closing_the_window_that_stands_in_for_the_tray_quits(
    session: Session, office: Office, clock: JumpingClock, desktop: Desktop
) -> None:
    desktop.has_tray = False
    await clock.advance(NO_TRAY_S + 2 * LOOK_S)
    session.tray.window.close()
    assert session.tray.window.isVisible()
    assert office.leaving.is_set()


# --- notifications -----------------------------------------------------------------------------


@pytest.fixture
def told(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[Notice]:
    """The notifications that were shown."""
    found: list[Notice] = []
    monkeypatch.setattr(session.tray, "notify", found.append)
    return found


async def fail_a_run(office: Office, clock: JumpingClock, session: Session) -> str:
    run_id = await office.begin(prompt="Fix it")
    await next_change(clock, lambda: bool(shown(session)))
    office.playing.fail(RuntimeError("no"))
    await outcome(office.local, run_id)
    await next_change(clock, lambda: not shown(session))
    await until(lambda: session.menu.recent_runs[0].isVisible())
    return run_id


async def test_a_run_that_failed_is_told_and_a_click_opens_it(
    session: Session, office: Office, clock: JumpingClock, told: list[Notice]
) -> None:
    run_id = await fail_a_run(office, clock, session)
    await clock.advance(COLLECT_S)
    assert [(notice.kind, notice.run_id) for notice in told] == [(NoticeKind.RUN_FAILED, run_id)]
    session.tray.notice_clicked.emit(told[0])
    window = session.windows.open("runs")
    assert isinstance(window, Plain)
    assert window.item == run_id


async def test_whoever_looks_at_a_window_of_ours_is_not_disturbed(
    session: Session,
    office: Office,
    clock: JumpingClock,
    told: list[Notice],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    window = QWidget()
    monkeypatch.setattr(QApplication, "activeWindow", lambda: window)
    await fail_a_run(office, clock, session)
    await clock.advance(COLLECT_S)
    assert told == []


# --- attached ----------------------------------------------------------------------------------


async def test_an_executor_of_another_process_is_shown_and_left_alone(
    office: Office, clock: JumpingClock, tmp_path: Path
) -> None:
    session = make_session(office, clock, tmp_path, attached_to="4711")
    session.open()
    try:
        assert isinstance(office.remote, RemoteControl)
        await until(lambda: session.menu.headline.text().startswith("Online"))
        assert session.menu.attached.isVisible()
        assert "4711" in session.menu.attached.text()
        run_id = await office.begin()
        await next_change(clock, lambda: bool(shown(session)))
        session.menu.quit.trigger()
        assert office.leaving.is_set()
        assert not office.executor.table.is_draining
        office.playing.finish()
        await outcome(office.local, run_id)
    finally:
        await session.close()


async def test_an_executor_that_ends_is_seen_to_end(
    office: Office, clock: JumpingClock, tmp_path: Path
) -> None:
    session = make_session(office, clock, tmp_path, attached_to="4711")
    session.open()
    try:
        await until(lambda: session.menu.headline.text().startswith("Online"))
        await office.listener.stop()
        await until(lambda: session.menu.headline.text() == catalogue("en")["tray.gone"])
        assert session.tray._glance is not None
        assert session.tray._glance.state is TrayState.OFFLINE
    finally:
        await session.close()


async def test_a_window_is_whole_until_the_last_of_its_jobs_has_ended(
    office: Office, clock: JumpingClock, tmp_path: Path
) -> None:
    session = make_session(office, clock, tmp_path)
    session.open()
    window = session.windows.open("runs")
    said: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            window.messages.label.setText("ended")
            said.append(window.messages.label.text())

    window.ask(work(), "work")
    await asyncio.sleep(0)
    await session.close()
    assert said == ["ended"]
