"""The event file of a run: whole lines, in order, bounded, readable while it grows."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest

from executor_core.journal import EventLog, events, follow, read_events
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Notice,
    Outcome,
    RunEnded,
    RunStarted,
    RunState,
    SessionStarted,
    TextDelta,
    Timings,
    ToolStarted,
)
from tests.support.clock import START, JumpingClock

ENDED = RunEnded(
    outcome=Outcome(state=RunState.COMPLETED, timings=Timings(accepted_at=START, finished_at=START))
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "run_1" / "events.jsonl"


@pytest.fixture
def log(path: Path, clock: JumpingClock) -> EventLog:
    log = EventLog(path, clock)
    log.open()
    return log


def texts(found: list[AgentEvent]) -> list[str]:
    return [event.text for event in found if isinstance(event, TextDelta)]


async def followed(path: Path, after: int, log: EventLog | None) -> list[AgentEvent]:
    async with asyncio.timeout(10):
        return [event async for event in follow(path, after, log)]


def test_events_are_numbered_stamped_and_read_back_as_they_were(log: EventLog, path: Path) -> None:
    given: list[AgentEvent] = [
        RunStarted(agent="a", folder="/f"),
        ToolStarted(call_id="1", name="Bash", input={"command": "true\n", "n": 1}),
        TextDelta(text="line\nbreak\u2028 你好 \0"),
        ENDED,
    ]
    written = [log.append(event) for event in given]
    log.close()
    assert read_events(path) == written
    assert [(event.seq, event.at) for event in written] == [(n, START) for n in range(1, 5)]


def test_only_the_owner_can_read_the_events(log: EventLog, path: Path) -> None:
    log.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_each_event_is_on_file_at_once(log: EventLog, path: Path) -> None:
    log.append(TextDelta(text="one"))
    assert texts(read_events(path)) == ["one"]
    log.close()


@pytest.mark.parametrize("torn", [b'{"kind":"text_delta","text":"tw', b"\xff\xfe", b'{"kind":"?"}'])
def test_a_torn_or_unknown_line_costs_only_itself(log: EventLog, path: Path, torn: bytes) -> None:
    log.append(TextDelta(text="one"))
    log.close()
    with path.open("ab") as file:
        file.write(torn)
    assert texts(read_events(path)) == ["one"]
    with path.open("ab") as file:
        file.write(b'\n{"kind":"text_delta","text":"three","seq":3}\n')
    assert texts(read_events(path)) == ["one", "three"]


@pytest.mark.parametrize(
    "lost",
    [
        b'{"kind":"result","seq":2,"usage":{"output_tokens":true}}',
        b'{"kind":"result","seq":2,"final_te',
        b'{"kind":"run_ended","seq":2}',
    ],
)
async def test_a_last_word_that_cannot_be_read_is_known_to_have_been_said(
    log: EventLog, path: Path, lost: bytes
) -> None:
    log.append(TextDelta(text="one"))
    log.close()
    with path.open("ab") as file:
        file.write(lost + b"\n")
    last = read_events(path)[-1]
    assert isinstance(last, AgentResult)
    assert last.error is not None
    assert last.error.code == "record_unreadable"
    assert [event.seq for event in await followed(path, 0, None)] == [1]


async def test_a_torn_last_line_ends_the_story_of_a_follower(log: EventLog, path: Path) -> None:
    log.append(TextDelta(text="one"))
    log.close()
    with path.open("ab") as file:
        file.write(b'{"kind":"text_de')
    assert texts(await followed(path, 0, None)) == ["one"]


def test_a_missing_file_is_an_empty_story(path: Path) -> None:
    assert read_events(path) == []


def test_beyond_the_bound_only_what_decides_the_end_is_written(
    log: EventLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_FILE_BYTES", 1000)
    for _ in range(100):
        log.append(TextDelta(text="0123456789"))
    short: list[AgentEvent] = [
        SessionStarted(session_id="s"),
        Notice(code="n", text="n"),
        AgentResult(final_text="end"),
        ENDED,
    ]
    kept = [log.append(event) for event in short]
    log.append(TextDelta(text="x"))
    log.close()
    found = read_events(path)
    assert found[-4:] == kept
    assert kept[0].seq == 101
    assert path.stat().st_size < 2000


def test_a_line_that_the_disk_took_in_part_is_the_last_one(
    log: EventLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(TextDelta(text="one"))
    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: real_write(file, data[:10]))
        log.append(TextDelta(text="two"))
    for word in ("three", "four"):
        log.append(TextDelta(text=word))
    log.close()
    assert texts(read_events(path)) == ["one"]


def test_a_disk_that_is_full_stops_the_history_and_nothing_else(
    log: EventLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    log.append(TextDelta(text="one"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert log.append(TextDelta(text="two")) == TextDelta(seq=2, at=START, text="two")
    log.close()
    assert texts(read_events(path)) == ["one"]


def test_half_characters_are_replaced_on_the_way_in(log: EventLog, path: Path) -> None:
    written = log.append(TextDelta(text="half \ud83d of \udcff"))
    log.close()
    assert read_events(path) == [written] == [TextDelta(seq=1, at=START, text="half ? of ?")]


async def test_a_follower_that_comes_before_the_file_sees_all_of_it(
    path: Path, clock: JumpingClock
) -> None:
    log = EventLog(path, clock)
    follower = asyncio.Task(followed(path, 0, log))
    await asyncio.sleep(0)
    log.open()
    for word in ("one", "two"):
        log.append(TextDelta(text=word))
        await asyncio.sleep(0)
    log.close()
    assert texts(await follower) == ["one", "two"]


async def test_a_follower_of_a_run_that_never_began_ends_with_it(
    path: Path, clock: JumpingClock
) -> None:
    log = EventLog(path, clock)
    follower = asyncio.Task(followed(path, 0, log))
    await asyncio.sleep(0)
    log.close()
    assert await follower == []


def test_half_a_line_is_read_when_its_rest_has_come(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = events._Reader(path)
    assert reader.read() == []
    for written, expected in (
        (b"one\ntw", [b"one\n"]),
        (b"", []),
        (b"o", []),
        (b"\nthree\n", [b"two\n", b"three\n"]),
    ):
        with path.open("ab") as file:
            file.write(written)
        assert reader.read() == expected


async def test_a_long_history_is_read_in_pieces_and_a_huge_line_whole(
    log: EventLog, path: Path
) -> None:
    huge = "x" * 3_000_000
    log.append(TextDelta(text=huge))
    for n in range(3000):
        log.append(TextDelta(text=f"{n:050}"))
    log.close()
    found = await followed(path, 0, log)
    assert [event.seq for event in found] == list(range(1, 3002))
    assert texts(found)[0] == huge


async def test_an_abandoned_follower_closes_its_file(log: EventLog, path: Path) -> None:
    log.append(TextDelta(text="one"))
    follower = follow(path, 0, log)
    await anext(follower)
    await follower.aclose()  # type: ignore[attr-defined]
    log.close()
