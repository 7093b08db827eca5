"""The first run: the real program in this process, from an empty home to a finished task."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import keyring
import pytest
from PySide6.QtWidgets import QApplication, QPushButton

from desktop import start
from desktop.first_run import FirstRunWindow
from desktop.parts.window import change_language
from executor_core.app import is_standalone
from executor_core.cli.frame import Invocation
from executor_core.config.home import Home
from executor_core.config.layers import load
from executor_core.control import RemoteControl, Submission
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.texts import catalogue, text
from tests.config.memory_keyring import MemoryKeyring
from tests.desktop.computer import Computer, are_programs_gone, until
from tests.support.hub_server import HubServer

pytestmark = pytest.mark.slow

MOST_CLICKS = 6


class Program:
    """The tray application, started as from its icon; `click` counts what a person does."""

    def __init__(self, jobs: Jobs) -> None:
        self.invocation = Invocation({"api.listen": "127.0.0.1:0"})
        self.config = self.invocation.config()
        self.clicks = 0
        self._life = jobs.spawn(self._live(), "program")

    async def _live(self) -> None:
        await start.live(self.invocation, self.config, standalone=False, token_given=False)

    @property
    def window(self) -> FirstRunWindow | None:
        """The first run that is on the screen."""
        found = (w for w in QApplication.topLevelWidgets() if isinstance(w, FirstRunWindow))
        return next((window for window in found if window.isVisible()), None)

    async def step(self, name: str) -> FirstRunWindow:
        """Wait for this step."""
        await until(lambda: self.window is not None and self.window.step == name)
        assert self.window is not None
        return self.window

    async def click(self, button: QPushButton) -> None:
        await until(lambda: button.isVisible() and button.isEnabled())
        self.clicks += 1
        button.click()

    async def end(self) -> None:
        async with RemoteControl.of_home(self.config.home.api_json) as control:
            await control.stop()
        await self._life
        await until(are_programs_gone)


@pytest.fixture
async def program(
    qapp: QApplication, jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Program]:
    monkeypatch.setenv("WEGENT_EXECUTOR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(start, "leave_on_signals", lambda leave: None)
    program = Program(jobs)
    yield program
    await program.end()


async def try_it(program: Program) -> FirstRunWindow:
    """From the agents to the end of a task."""
    window = await program.step("agents")
    await program.click(window.go_on)
    window = await program.step("try")
    await program.click(window.try_it)
    await until(lambda: window.ending.text() == text("first.completed"))
    return window


async def test_a_newcomer_gets_to_a_finished_task_on_this_computer_only(program: Program) -> None:
    window = await program.step("where")
    await program.click(window.alone)
    window = await try_it(program)
    assert "demo agent" in window.output.toPlainText()
    assert "tray" in window.ending.text()
    await program.click(window.done)
    assert program.clicks <= MOST_CLICKS
    written = list((program.config.home.path / "workspace").rglob("hello-from-the-demo-agent.md"))
    assert len(written) == 1
    # The next start does the same, and asks nothing.
    assert is_standalone(program.invocation.config(), False)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubServer]:
    hub = HubServer(tmp_path)
    await hub.start()
    yield hub
    await hub.stop()


async def test_a_newcomer_connects_to_a_server_and_goes_on_by_itself(
    program: Program, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = MemoryKeyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: memory)
    window = await program.step("where")
    await program.click(window.server)
    window.form.address.setText(hub.url)
    window.form.token.setText(hub.hub.device_token())
    await until(lambda: window.form.verdict.text())
    await program.click(window.form.send)
    window = await program.step("agents")
    await hub.until_online()
    assert program.clicks + 3 <= MOST_CLICKS
    # There is no demo agent under a server, and none of the others is installed here.
    await until(lambda: window.why_not.isVisible())
    assert not window.go_on.isEnabled()


async def test_going_back_and_another_language_lose_nothing(program: Program) -> None:
    window = await program.step("where")
    window.server.click()
    window.form.address.setText("http://127.0.0.1:1")
    window.back.click()
    assert window.alone.isVisible()
    change_language("zh_CN")
    assert window.heading.text() == catalogue("zh_CN")["first.where"]
    assert window.prompt.text() == catalogue("zh_CN")["first.prompt"]
    window.server.click()
    assert window.form.address.text() == "http://127.0.0.1:1"


def test_a_server_on_the_command_line_is_meant_even_where_the_hub_was_chosen(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    home.config_toml.write_text("[hub]\nenabled = true\n")
    assert is_standalone(load(home, {}), False)
    assert not is_standalone(load(home, {}, {"server.url": "https://w.example.com"}), False)
    home.config_toml.unlink()
    assert is_standalone(load(home, {}), True)
    assert not is_standalone(load(home, {}), False)


# --- a try that goes wrong ---------------------------------------------------------------------


async def test_a_task_that_is_refused_is_said_and_can_be_tried_again(
    tmp_path: Path, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer = Computer(tmp_path)
    executor = computer.executor(standalone=True)
    await executor.start()
    try:
        window = FirstRunWindow(executor.control, computer.services(executor.control), jobs)
        window.program = computer.program
        window.present()
        window.alone.click()
        await until(lambda: window.step == "agents")
        assert computer.restarts == []

        async def refuse(submission: Submission) -> str:
            raise ExecutorError("draining")

        monkeypatch.setattr(executor.control, "submit", refuse)
        window.show_item("try")
        await until(window.try_it.isEnabled)
        window.try_it.click()
        sentence = ExecutorError("draining").message.sentence
        await until(lambda: window.ending.text() == sentence)
        await until(window.try_it.isEnabled)
        window.close()
    finally:
        await executor.stop()
        await until(are_programs_gone)
