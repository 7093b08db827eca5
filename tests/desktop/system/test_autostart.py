from __future__ import annotations

import plistlib
import shlex
from pathlib import Path

import pytest

from desktop.system.autostart import autostart_for, desktop_entry, launch_agent

COMMAND = ["/opt/My App/wegent-executor-desktop", "--standalone"]


@pytest.mark.parametrize(
    ("platform", "file"),
    [
        ("linux", ".config/autostart/wegent-executor.desktop"),
        ("darwin", "Library/LaunchAgents/wegent-executor.plist"),
    ],
)
def test_start_at_login_works_both_ways(tmp_path: Path, platform: str, file: str) -> None:
    config_home = tmp_path / ".config"
    way = autostart_for(platform, COMMAND, user_home=tmp_path, config_home=config_home)
    assert not way.is_on()
    way.turn(True)
    assert way.is_on()
    assert way.place == str(tmp_path / file)
    way.turn(False)
    way.turn(False)
    assert not way.is_on()
    assert not (tmp_path / file).exists()


def test_an_entry_that_the_desktop_switched_off_is_off_and_can_be_switched_on(
    tmp_path: Path,
) -> None:
    way = autostart_for("linux", COMMAND, user_home=tmp_path, config_home=tmp_path)
    way.turn(True)
    file = Path(way.place)
    file.write_text(file.read_text() + "Hidden=true\n")
    assert not way.is_on()
    way.turn(True)
    assert way.is_on()


def test_windows_names_the_run_key(tmp_path: Path) -> None:
    way = autostart_for("win32", COMMAND, user_home=tmp_path, config_home=tmp_path)
    assert way.place.endswith(r"CurrentVersion\Run\wegent-executor")


def test_the_exec_line_survives_spaces_quotes_and_percents() -> None:
    entry = desktop_entry(['/opt/a b/100% "x" $HOME', "--flag"]).decode()
    line = next(line for line in entry.splitlines() if line.startswith("Exec="))
    # Undo the two escapes of the specification: of the file, then of the field codes.
    value = line.removeprefix("Exec=").replace("\\\\", "\\").replace("%%", "%")
    value = value.replace("\\$", "$")  # which shlex leaves as it is
    assert shlex.split(value) == ['/opt/a b/100% "x" $HOME', "--flag"]


def test_the_launch_agent_starts_with_the_session_only() -> None:
    agent = plistlib.loads(launch_agent(COMMAND))
    assert agent["ProgramArguments"] == COMMAND
    assert agent["RunAtLoad"] is True
    assert "KeepAlive" not in agent
