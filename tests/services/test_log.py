"""The log as entries, across rotations, and as it grows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from executor_core.config.logs import LogFile, set_up_logging
from executor_core.errors import ExecutorError
from executor_core.services import log
from executor_core.services.interface import LogLine
from executor_core.services.log import LogFiles, written
from tests.support.clock import JumpingClock


def entry(number: int, more: str = "") -> str:
    at = f"2026-01-29 13:08:{number % 60:02d}"
    return f"{at} - [links.device] - [in /a b/link.py:{number}] - INFO - no {number}{more}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "executor.log"


@pytest.fixture
def files(path: Path, clock: JumpingClock) -> LogFiles:
    return LogFiles(path, clock)


async def last(files: LogFiles, count: int) -> list[str]:
    return [line.text async for line in files.lines(count)]


async def test_an_entry_is_taken_apart_and_put_together_again(path: Path, files: LogFiles) -> None:
    whole = entry(7, " - [x] - ERROR - y").rstrip("\n") + "\nTraceback:\n\n  File x\n"
    path.write_text(whole)
    [line] = [line async for line in files.lines(10)]
    assert line == LogLine(
        at="2026-01-29 13:08:07",
        level="INFO",
        logger="links.device",
        text="no 7 - [x] - ERROR - y\nTraceback:\n\n  File x",
        place="/a b/link.py:7",
    )
    assert written(line) + "\n" == whole


async def test_what_our_own_log_writes_is_understood(tmp_path: Path, clock: JumpingClock) -> None:
    file = LogFile(tmp_path / "logs")
    logs = set_up_logging(file)
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("executor.jobs").exception("two\nlines")
    finally:
        logs.close()
    [line] = [line async for line in LogFiles(file.path, clock).lines(5)]
    assert (line.logger, line.level) == ("jobs", "ERROR")
    assert line.text.startswith("two\\nlines\nTraceback")
    assert line.text.endswith("ValueError: x")
    assert written(line) + "\n" == file.path.read_text()


async def test_the_last_entries_come_from_as_many_rotations_as_needed(
    path: Path, files: LogFiles
) -> None:
    path.with_name("executor.log.2").write_text("".join(map(entry, range(0, 5))))
    path.with_name("executor.log.1").write_text("".join(map(entry, range(5, 10))))
    path.write_text(entry(10) + " more\n" + entry(11))
    assert await last(files, 2) == ["no 10\n more", "no 11"]
    assert await last(files, 4) == ["no 8", "no 9", "no 10\n more", "no 11"]
    assert await last(files, 8) == [f"no {n}" for n in range(4, 10)] + ["no 10\n more", "no 11"]
    assert len(await last(files, 1000)) == 12


async def test_a_file_that_is_rotated_meanwhile_is_not_read_twice(
    path: Path, files: LogFiles
) -> None:
    path.write_text(entry(1))
    path.with_name("executor.log.1").hardlink_to(path)
    path.with_name("executor.log.2").write_text(entry(0))
    assert await last(files, 5) == ["no 0", "no 1"]


async def test_of_a_large_file_only_the_end_is_read(
    path: Path, files: LogFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MAX_READ_BYTES", 256 * 1024)
    path.write_text("".join(entry(n, "x" * 1000) for n in range(1000)))
    got = await last(files, 10)
    assert [text.rstrip("x") for text in got] == [f"no {n}" for n in range(990, 1000)]
    bounded = await last(files, 1000)
    assert 200 < len(bounded) < 256
    assert bounded[-1].startswith("no 999")


async def test_lines_of_no_entry_stand_alone_and_a_torn_end_is_shown(
    path: Path, files: LogFiles
) -> None:
    path.write_bytes(b"old\xff 1\nold 2\n" + entry(1).encode() + b" torn")
    assert await last(files, 10) == ["old\ufffd 1", "old 2", "no 1\n torn"]


async def test_a_line_and_an_entry_are_cut_at_their_bound(path: Path, files: LogFiles) -> None:
    path.write_text(entry(1, "x" * 200_000) + "y\n" + entry(2) + ("z" * 1000 + "\n") * 200)
    first, second = await last(files, 5)
    assert log.MAX_TEXT - 200 < len(first) <= log.MAX_TEXT + 2
    assert len(second) <= log.MAX_TEXT + 200


async def test_without_a_log_it_says_so(files: LogFiles, path: Path) -> None:
    with pytest.raises(ExecutorError) as caught:
        await last(files, 1)
    assert caught.value.code == "no_log"
    assert str(path) in caught.value.message.detail


# --- as it grows ---------------------------------------------------------------------------------


class Reader:
    """Somebody who follows the log."""

    def __init__(self, lines: AsyncIterator[LogLine], clock: JumpingClock) -> None:
        self._lines = lines
        self._clock = clock

    async def next(self) -> str:
        """The next entry; time passes only while the reader really waits for it."""
        job = asyncio.Task(self._one())
        async with asyncio.timeout(5):
            while not job.done():
                await asyncio.wait({job}, timeout=0.005)
                if self._clock.next_deadline_s is not None:
                    await self._clock.advance(log.LOOK_EVERY_S)
        return job.result()

    async def _one(self) -> str:
        return (await anext(self._lines)).text


async def test_following_shows_each_entry_once_over_rotation_and_truncation(
    path: Path, files: LogFiles, clock: JumpingClock
) -> None:
    path.write_text(entry(0) + entry(1))
    async with aclosing(files.lines(1, follow=True)) as lines:
        reader = Reader(lines, clock)
        assert await reader.next() == "no 1"
        with path.open("a") as file:
            file.write(entry(2) + " more\n" + entry(3)[:30])
            file.flush()
            assert await reader.next() == "no 2\n more"
            file.write(entry(3)[30:])
        assert await reader.next() == "no 3"
        with path.open("a") as file:
            file.write(entry(4))
        path.rename(path.with_name("executor.log.1"))
        path.write_text(entry(5))
        assert await reader.next() == "no 4"
        assert await reader.next() == "no 5"
        path.write_text("short\n")  # the same file, emptied and begun anew
        assert await reader.next() == "short"


async def test_following_goes_on_while_there_is_no_file(
    path: Path, files: LogFiles, clock: JumpingClock
) -> None:
    path.write_text(entry(0))
    async with aclosing(files.lines(1, follow=True)) as lines:
        reader = Reader(lines, clock)
        assert await reader.next() == "no 0"
        path.unlink()
        job = asyncio.Task(reader.next())
        await asyncio.sleep(0.05)
        assert not job.done()
        path.write_text(entry(1))
        assert await job == "no 1"
