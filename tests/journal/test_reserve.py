"""The room that is kept for the ends of runs is real, and it is given up for them."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from executor_core.errors import ExecutorError
from executor_core.journal import Journal
from executor_core.journal import journal as journal_module
from executor_core.journal.journal import RESERVE_BYTES, Reserve
from tests.journal.test_journal import OUTCOME, request
from tests.support.clock import JumpingClock


@pytest.fixture(params=["of the system", "by hand"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by hand":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)


@pytest.mark.usefixtures("by")
def test_the_room_is_set_apart_in_blocks_and_given_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 300_000)
    reserve.hold()
    status = (tmp_path / "reserve").stat()
    assert status.st_size == 300_000
    assert status.st_blocks * 512 >= 300_000
    reserve.hold()
    assert reserve.release()
    assert not reserve.release()
    assert list(tmp_path.iterdir()) == []


def test_room_that_is_not_there_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Reserve(tmp_path / "reserve").hold()
    assert list(tmp_path.iterdir()) == []


async def test_the_end_of_a_run_gets_the_room_that_was_kept_for_it(
    tmp_path: Path, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal.db", clock)
    await journal.open()
    await journal.accept(request())
    reserve, real = tmp_path / "reserve", journal_module._settle
    assert reserve.stat().st_size == RESERVE_BYTES

    def settle(*wanted: object) -> None:
        if reserve.exists():
            raise sqlite3.OperationalError("database or disk is full")
        real(*wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(journal_module, "_settle", settle)
    await journal.finish(request(), OUTCOME)
    row = await journal.run("run_1")
    assert row is not None
    assert row.outcome == OUTCOME
    await journal.close()


async def test_without_room_for_its_end_a_run_is_not_accepted(
    tmp_path: Path, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = Journal(tmp_path / "journal.db", clock)
    await journal.open()
    monkeypatch.setattr(Reserve, "hold", full)
    with pytest.raises(ExecutorError, match="journal_failed") as caught:
        await journal.accept(request())
    assert "journal.db: No space left" in caught.value.message.detail
    assert await journal.run("run_1") is None
    await journal.close()
