"""The doctor's window: over checks that the test decides, and over the real doctor."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog

from desktop.doctor.report import ReportDialog
from desktop.doctor.row import CheckRow
from desktop.doctor.window import DoctorWindow
from desktop.help import HelpWindow
from desktop.parts.window import change_language
from desktop.windows import Windows
from executor_core.clock import SystemClock
from executor_core.config.home import Home
from executor_core.config.layers import load
from executor_core.control import LocalControl
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.computer import make_host
from executor_core.services.doctor import Doctor, write_zip
from executor_core.services.interface import Check, HealthService, Services, Verdict
from executor_core.texts import catalogue
from tests.support.clock import JumpingClock

WELL = Check(name="git", title="Git", verdict=Verdict.OK, reason="2.39", hint="not needed")
LOW = Check(
    name="disk", title="Disk", verdict=Verdict.WARNING, reason="almost full", hint="tidy up"
)
OPEN = Check(
    name="folders",
    title="Folders",
    verdict=Verdict.FAILED,
    reason="open",
    fix="Make it yours alone",
)
FILES = {"doctor.json": "[]\n", "executor.log": "line one\nline two\n"}


class Patient:
    """A HealthService whose findings are `checks`. Each is told when the test says `tell`."""

    def __init__(self) -> None:
        self.checks = [WELL, LOW, OPEN]
        self.fixed: list[str] = []
        self.trouble: ExecutorError | None = None
        self.examinations = 0
        self._may_tell = asyncio.Semaphore(0)

    def tell(self, count: int = 3) -> None:
        for _ in range(count):
            self._may_tell.release()

    async def examine(self) -> AsyncIterator[Check]:
        self.examinations += 1
        for check in self.checks:
            await self._may_tell.acquire()
            yield check

    async def fix(self, name: str) -> Check:
        if self.trouble is not None:
            raise self.trouble
        self.fixed.append(name)
        return Check(name=name, title="Folders", verdict=Verdict.OK, reason="yours alone")

    async def bundle(self) -> dict[str, str]:
        return dict(FILES)

    async def save_bundle(self, target: Path, files: Mapping[str, str]) -> Path:
        return write_zip(target, files)


@pytest.fixture
async def patient() -> Patient:
    return Patient()


@pytest.fixture
def window(
    control: LocalControl, jobs: Jobs, patient: Patient, clock: JumpingClock
) -> Iterator[DoctorWindow]:
    window = window_of(patient, control, jobs, clock)
    window.present()
    yield window
    window.close()


def window_of(
    health: HealthService, control: LocalControl, jobs: Jobs, clock: JumpingClock
) -> DoctorWindow:
    return DoctorWindow(control, services_of(health), jobs, clock=clock)


def services_of(health: HealthService) -> Services:
    # Any: of the services this window knows one room.
    other: Any = None
    return Services(
        account=other, devices=other, settings=other, workspaces=other, install=other,
        health=health, log=other,
    )  # fmt: skip


async def until(is_so: Callable[[], object], limit_s: float = 5) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():
            await asyncio.sleep(0.005)


async def examined(window: DoctorWindow, patient: Patient) -> None:
    patient.tell()
    await until(window.again.isEnabled)


def shown(row: CheckRow) -> list[str]:
    """The sentences and buttons of a row that a person sees."""
    parts = (row.title, row.verdict, row.reason, row.hint, row.fix, row.settings)
    return [part.text() for part in parts if part.isVisible()]


async def test_each_check_appears_as_soon_as_it_is_done(
    window: DoctorWindow, patient: Patient
) -> None:
    patient.tell(1)
    await until(lambda: window.rows)
    assert shown(window.rows[0]) == ["Git", "fine", "2.39"]
    assert window.summary.text() == "Looking … 1 done"
    assert not window.again.isEnabled()
    patient.tell(2)
    await until(window.again.isEnabled)
    assert [row.check.name for row in window.rows] == ["git", "disk", "folders"]
    assert window.summary.text() == "Failed: Folders."


async def test_a_check_that_is_not_well_has_its_hint_and_what_can_be_done(
    window: DoctorWindow, patient: Patient
) -> None:
    await examined(window, patient)
    assert shown(window.rows[1]) == [
        "Disk", "warning", "almost full", "tidy up", "Open the settings",
    ]  # fmt: skip
    assert shown(window.rows[2]) == ["Folders", "failed", "open", "Make it yours alone"]
    assert window.rows[1].accessibleName() == "Disk: warning"


async def test_a_fix_is_made_and_the_check_is_looked_at_again(
    window: DoctorWindow, patient: Patient
) -> None:
    await examined(window, patient)
    row = window.rows[2]
    row.fix.click()
    assert not row.fix.isEnabled()
    await until(lambda: patient.fixed == ["folders"] and not row.fix.isVisible())
    assert shown(row) == ["Folders", "fine", "yours alone"]
    assert window.summary.text() == "Nothing has failed. Worth a look: Disk."


async def test_a_fix_that_fails_is_explained_and_can_be_tried_again(
    window: DoctorWindow, patient: Patient
) -> None:
    await examined(window, patient)
    patient.trouble = ExecutorError("nothing_to_fix", check="folders")
    row = window.rows[2]
    row.fix.click()
    await until(row.fix.isEnabled)
    await until(window.messages.isVisible)
    assert window.messages.label.text() == patient.trouble.message.sentence


async def test_help_and_settings_are_opened_where_they_have_to_do_with_the_check(
    window: DoctorWindow, patient: Patient
) -> None:
    patient.checks = [LOW, Check(name="agent.codex", title="Codex", verdict=Verdict.FAILED)]
    window.close()
    window.present()
    asked: list[tuple[str, str]] = []
    window.open_asked.connect(lambda name, item: asked.append((name, item)))
    patient.tell(2)
    await until(window.again.isEnabled)
    for row in window.rows:
        row.explain.click()
        row.settings.click()
    assert asked == [
        ("help", "check-disk"), ("settings", "workspaces"),
        ("help", "check-agent"), ("settings", "agents"),
    ]  # fmt: skip


async def test_what_a_check_means_is_told_in_the_window_of_help(
    control: LocalControl, jobs: Jobs, patient: Patient
) -> None:
    windows = Windows(control, services_of(patient), jobs)
    doctor = windows.open("doctor")
    assert isinstance(doctor, DoctorWindow)
    await examined(doctor, patient)
    doctor.rows[1].explain.click()
    pages = windows.open("help")
    assert isinstance(pages, HelpWindow)
    assert pages.pages.source().path() == "check-disk"
    windows.close()
    windows.forget()


async def test_looking_again_replaces_what_was_found(
    window: DoctorWindow, patient: Patient
) -> None:
    await examined(window, patient)
    patient.checks = [WELL]
    window.again.click()
    assert window.rows == []
    await examined(window, patient)
    assert [row.check.name for row in window.rows] == ["git"]
    assert window.summary.text() == catalogue("en")["doctor.well"]


async def test_closing_ends_the_examination_and_opening_begins_another(
    window: DoctorWindow, patient: Patient
) -> None:
    patient.tell(1)
    await until(lambda: window.rows)
    window.close()
    await asyncio.sleep(0)
    patient.tell(2)
    await asyncio.sleep(0)
    assert len(window.rows) == 1
    window.present()
    await examined(window, patient)
    assert (patient.examinations, len(window.rows)) == (2, 3)


async def test_all_of_it_is_copied(window: DoctorWindow, patient: Patient) -> None:
    await examined(window, patient)
    window.copy.click()
    assert QGuiApplication.clipboard().text().splitlines() == [
        "✓ Git (fine)", "    2.39",
        "! Disk (warning)", "    almost full", "    tidy up",
        "✗ Folders (failed)", "    open",
    ]  # fmt: skip


async def test_a_report_is_read_first_and_what_was_read_is_saved(
    window: DoctorWindow, patient: Patient, tmp_path: Path
) -> None:
    dialog = await report(window, patient)
    assert dialog.list.item(1).text() == "executor.log  (0.0 KB)"
    dialog.list.setCurrentRow(1)
    assert dialog.content.toPlainText() == FILES["executor.log"]
    dialog.save.click()
    where = dialog.findChild(QFileDialog)
    assert where is not None
    assert where.selectedFiles()[0].endswith(".zip")
    where.fileSelected.emit(str(tmp_path / "report.zip"))
    where.reject()
    await until(lambda: "report.zip" in window.messages.label.text())
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == FILES


async def test_a_report_that_cannot_be_saved_says_why(
    window: DoctorWindow, patient: Patient, tmp_path: Path
) -> None:
    dialog = await report(window, patient)
    dialog.save_asked.emit(tmp_path / "nowhere" / "report.zip")
    await until(lambda: "nowhere" in window.messages.label.text())
    dialog.reject()


async def report(window: DoctorWindow, patient: Patient) -> ReportDialog:
    await examined(window, patient)
    window.bundle.click()
    await until(lambda: window.findChild(ReportDialog))
    dialog = window.findChild(ReportDialog)
    assert isinstance(dialog, ReportDialog)
    return dialog


async def test_another_language_looks_again_in_it(window: DoctorWindow, patient: Patient) -> None:
    await examined(window, patient)
    change_language("zh_CN")
    words = catalogue("zh_CN")
    assert window.again.text() == words["doctor.again"]
    await examined(window, patient)
    assert window.rows[0].verdict.text() == words["doctor.verdict.ok"]
    assert window.rows[0].explain.text() == words["doctor.explain"]


async def test_every_button_is_reached_by_keyboard(window: DoctorWindow, patient: Patient) -> None:
    await examined(window, patient)
    window.activateWindow()
    window.again.setFocus()
    reached = set()
    for _ in range(20):
        reached.add(window.focusWidget())
        QTest.keyClick(window.focusWidget(), Qt.Key.Key_Tab)
    buttons = {row.explain for row in window.rows} | {window.rows[2].fix, window.rows[1].settings}
    assert buttons | {window.again, window.copy, window.bundle} <= reached


async def test_the_real_doctor_is_shown_whole_and_mends_a_folder(
    control: LocalControl, jobs: Jobs, clock: JumpingClock, tmp_path: Path
) -> None:
    home = Home(tmp_path / "home" / "executor")
    home.create()
    home.path.chmod(0o755)
    own = {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin", "DISPLAY": ":0"}
    config = load(home, own)
    real = SystemClock()
    doctor = Doctor(config, make_host(config, real), real, control=control, has_tray=lambda: False)
    window = window_of(doctor, control, jobs, clock)
    window.present()
    await until(window.again.isEnabled, 30)
    rows = {row.check.name: row for row in window.rows}
    assert len(rows) == 20
    assert shown(rows["tray"])[1] == "warning"
    rows["folders"].fix.click()
    await until(lambda: rows["folders"].check.verdict is Verdict.OK, 20)
    assert home.path.stat().st_mode & 0o077 == 0
    window.close()
