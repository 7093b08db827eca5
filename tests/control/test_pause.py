"""A pause outlives the executor, until its end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from executor_core.control import LocalControl
from tests.support.clock import START, JumpingClock
from tests.support.office import Office


def restarted(office: Office) -> LocalControl:
    """Another control over the same home, as after a restart."""
    office.executor.resume()
    return Office(office.folder, office.clock).local


@pytest.fixture
def office(tmp_path: Path, clock: JumpingClock) -> Office:
    return Office(tmp_path, clock)


async def test_a_pause_comes_back_with_its_reason_and_its_end(
    office: Office, clock: JumpingClock, caplog: pytest.LogCaptureFixture
) -> None:
    await office.local.pause(3600, "video call")
    await office.local.close()
    await clock.advance(600)
    again = restarted(office)
    await again.restore_pause()
    status = await again.status()
    assert (status.paused, status.pause_reason) == (True, "video call")
    assert status.paused_until == START + timedelta(seconds=3600)
    assert "still paused, as before the start" in caplog.text
    await clock.advance(3001)
    assert not (await again.status()).paused
    await again.close()
    third = restarted(office)
    await third.restore_pause()
    assert not (await third.status()).paused


async def test_a_pause_whose_end_has_come_or_that_was_taken_back_does_not(
    office: Office, clock: JumpingClock
) -> None:
    await office.local.pause(60)
    await office.local.close()
    await clock.advance(61)
    again = restarted(office)
    await again.restore_pause()
    assert not (await again.status()).paused
    await again.pause()
    await again.resume()
    third = restarted(office)
    await third.restore_pause()
    assert not (await third.status()).paused
    assert not (office.folder / "pause.json").exists()
