"""Start at login, sleep, keep-awake, and the second start."""

from __future__ import annotations

import asyncio
import plistlib
import shlex
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from desktop.autostart import autostart_for, desktop_entry, launch_agent
from desktop.awake import KeepAwake, SystemSignals, keep_awake_command, slept, watch_sleep
from desktop.single import Doorbell, channel_of
from executor_core.jobs import Jobs
from executor_core.process.environment import child_environment
from tests.desktop.conftest import settle
from tests.support.clock import JumpingClock

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


def test_a_gap_of_the_wall_clock_is_a_sleep() -> None:
    then = datetime(2026, 3, 1, tzinfo=UTC)
    assert not slept(then, then + timedelta(seconds=20))
    assert slept(then, then + timedelta(minutes=5))
    assert not slept(then, then - timedelta(hours=1))


class SleepyClock(JumpingClock):
    """Each sleep takes as long on the wall as the test says."""

    def __init__(self, *wall_s: float) -> None:
        super().__init__()
        self._left = list(wall_s)
        self._at = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self._at

    async def sleep(self, seconds: float) -> None:
        if not self._left:
            await asyncio.Event().wait()
        self._at += timedelta(seconds=self._left.pop(0))


async def test_links_are_tried_after_each_sleep_and_not_else(jobs: Jobs) -> None:
    woken: list[int] = []

    async def on_wake() -> None:
        woken.append(1)

    jobs.spawn(watch_sleep(SleepyClock(15, 3600, 15, 600), on_wake), "watch")
    await settle()
    assert len(woken) == 2


def test_the_system_says_when_it_woke() -> None:
    told: list[str] = []
    signals = SystemSignals(lambda: told.append("now"))
    signals.on_sleep(True)
    assert told == []
    signals.on_sleep(False)
    assert told == ["now"]
    signals.close()
    signals.on_sleep(False)
    assert told == ["now"]


async def test_what_keeps_the_system_awake_ends_with_its_input() -> None:
    awake = KeepAwake("linux")
    awake._command = ["cat"]  # what both systems' commands run
    await awake.hold(True)
    await awake.hold(True)
    holder = awake._holder
    assert holder is not None
    assert holder.returncode is None
    await awake.hold(False)
    assert holder.returncode == 0


async def test_a_system_that_cannot_be_kept_awake_is_left_alone() -> None:
    awake = KeepAwake("linux")
    awake._command = ["no-such-program-here"]
    await awake.hold(True)
    await awake.hold(False)


def test_every_system_has_its_way_to_stay_awake() -> None:
    assert keep_awake_command("win32") is None
    for platform in ("linux", "darwin"):
        assert (keep_awake_command(platform) or [])[-1] == "cat"


async def test_a_second_start_rings_and_a_first_does_not(tmp_path: Path) -> None:
    channel = channel_of(tmp_path)
    assert await second_start(channel) == "False"
    rung = asyncio.Event()
    bell = Doorbell(channel, rung.set)
    assert await second_start(channel) == "True"
    assert rung.is_set()
    bell.close()
    assert await second_start(channel) == "False"


async def second_start(channel: str) -> str:
    code = "import sys; from desktop.single import *; print(raise_running(sys.argv[1]))"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, channel, stdout=asyncio.subprocess.PIPE
    )
    return (await child.communicate())[0].decode().strip()


def test_agents_see_nothing_of_qt() -> None:
    ours = {
        name: "x" for name in ("QT_QPA_PLATFORM", "QT_PLUGIN_PATH", "QT_API", "QT_SCALE_FACTOR")
    }
    found = child_environment(ours | {"HOME": "/h"}, path="/bin", extra={}, platform="linux")
    assert not ours.keys() & found.keys()
