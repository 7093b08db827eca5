"""What the journal keeps, and what it does with a file that it cannot use."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from executor_core.aside import set_database_aside
from executor_core.errors import ExecutorError
from executor_core.journal import Journal
from executor_core.model import (
    ModelConfig,
    Outcome,
    RunRequest,
    RunState,
    Source,
    TaskFolder,
    Timings,
)
from executor_core.texts import Message
from tests.support.clock import START, JumpingClock

FULL = 2
OUTCOME = Outcome(
    state=RunState.COMPLETED,
    text="Done. 你好",
    timings=Timings(accepted_at=START, finished_at=START),
)


def request(run_id: str = "run_1", **fields: Any) -> RunRequest:
    wanted: dict[str, Any] = {
        "run_id": run_id,
        "source": Source.DEVICE,
        "request_key": f"key of {run_id}",
        "agent": "claude_code",
        "prompt": "Do it.",
        "workspace": TaskFolder(name="1"),
        "conversation_key": "talk",
        "address": "server",
        "reply_to": {"task_id": 1},
    }
    return RunRequest(**wanted | fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "journal.db"


@pytest.fixture
async def journal(path: Path, clock: JumpingClock) -> AsyncIterator[Journal]:
    journal = Journal(path, clock)
    await journal.open()
    yield journal
    await journal.close()


async def complete(journal: Journal, *run_ids: str, deliver: bool = True) -> None:
    for run_id in run_ids:
        await journal.finish(request(run_id), OUTCOME)
        if deliver:
            await journal.delivered(run_id)


# --- the life of a run ---------------------------------------------------------------------------


async def test_a_run_is_known_from_its_acceptance_to_its_delivery(
    journal: Journal, clock: JumpingClock
) -> None:
    await journal.accept(request(title="T" * 500, task_id=1, subtask_id=2))
    [row] = await journal.unfinished()
    assert (row.state, row.outcome, row.awaits_delivery) == (RunState.QUEUED, None, True)
    assert (row.title, row.reply_to, row.task_id) == ("T" * 120, {"task_id": 1}, 1)
    assert await journal.undelivered(Source.DEVICE) == []
    await clock.advance(1)
    await journal.start("run_1")
    row = await journal.run("run_1") or row
    assert (row.state, row.started_at) == (RunState.RUNNING, clock.now())
    await journal.finish(request(), OUTCOME)
    assert await journal.unfinished() == []
    [row] = await journal.undelivered(Source.DEVICE)
    assert row.outcome == OUTCOME
    assert await journal.undelivered(Source.RUNNER) == []
    await journal.delivered("run_1", "never")
    assert await journal.undelivered(Source.DEVICE) == []
    row = await journal.run("run_1") or row
    assert (row.awaits_delivery, row.delivered_at, row.delivery_error) == (
        False,
        clock.now(),
        "never",
    )


async def test_the_first_outcome_of_a_run_stands(journal: Journal) -> None:
    await journal.accept(request())
    await journal.settle("run_1", OUTCOME)
    late = Outcome(state=RunState.CANCELLED, timings=OUTCOME.timings)
    await journal.finish(request(), late)
    row = await journal.run("run_1")
    assert row is not None
    assert (row.state, row.outcome) == (RunState.COMPLETED, OUTCOME)


async def test_a_run_that_was_never_accepted_is_recorded_with_its_outcome(journal: Journal) -> None:
    await journal.finish(request(), OUTCOME)
    assert [row.run_id for row in await journal.undelivered(Source.DEVICE)] == ["run_1"]


async def test_the_latest_run_of_a_request_is_the_one_accepted_last_whatever_the_clock_says(
    journal: Journal, clock: JumpingClock
) -> None:
    await clock.advance(3600)
    await journal.finish(request("run_1", request_key="key"), OUTCOME)
    clock._now -= 3600  # the computer's clock was set back
    await journal.finish(request("run_2", request_key="key"), OUTCOME)
    latest = await journal.latest("key")
    assert latest is not None
    assert latest.run_id == "run_2"
    outbox = await journal.undelivered(Source.DEVICE)
    assert [row.run_id for row in outbox] == ["run_1", "run_2"]


async def test_the_newest_runs_come_first_and_are_paged(
    journal: Journal, clock: JumpingClock
) -> None:
    for number in range(4):
        await journal.accept(request(f"run_{number}"))
        await clock.advance(1)
    first = await journal.recent(2)
    assert [row.run_id for row in first] == ["run_3", "run_2"]
    second = await journal.recent(2, before=first[-1].run_id)
    assert [row.run_id for row in second] == ["run_1", "run_0"]


async def test_sessions_are_kept_per_conversation_and_agent(journal: Journal) -> None:
    await journal.save_session("talk", "a", "s-1")
    await journal.save_session("talk", "a", "s-2")
    await journal.save_session("talk", "b", "s-3")
    assert await journal.session("talk", "a") == "s-2"
    assert await journal.session("other", "a") is None
    await journal.forget_session("talk", "a")
    assert await journal.session("talk", "a") is None
    assert await journal.session("talk", "b") == "s-3"
    await journal.forget_session("talk")
    assert await journal.session("talk", "b") is None


# --- what is on disk -----------------------------------------------------------------------------


async def test_what_a_door_keeps_with_a_conversation_is_its_newest_word(
    journal: Journal, path: Path
) -> None:
    assert await journal.kept("talk", "profile") is None
    for number, kept in enumerate(({"profile": "a"}, {"profile": "b"}, {}), start=1):
        await journal.accept(request(f"run_{number}", reply_to=kept))
    await journal.accept(request("run_4", conversation_key="other", reply_to={"profile": "c"}))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE runs SET reply_to = '{broken' WHERE run_id = 'run_3'")
    assert await journal.kept("talk", "profile") == "b"


async def test_every_commit_is_on_disk_before_it_counts(journal: Journal) -> None:
    def setting(name: str) -> object:
        return journal._connection().execute(f"PRAGMA {name}").fetchone()[0]

    assert await journal._run(lambda: setting("journal_mode")) == "wal"
    assert await journal._run(lambda: setting("synchronous")) == FULL


async def test_only_the_owner_can_read_the_files(journal: Journal, path: Path) -> None:
    await journal.accept(request())
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    names = ("journal.db", "journal.db-wal", "journal.db-shm", "reserve")
    assert files == dict.fromkeys(names, 0o600)


async def test_prompts_keys_and_texts_of_people_are_not_in_the_file(
    journal: Journal, path: Path
) -> None:
    secret = request(
        prompt="secret-prompt",
        system_prompt="secret-system",
        model=ModelConfig(api_key="secret-key", headers={"h": "secret-header"}),
        mcp_servers={"s": {"env": {"K": "secret-mcp"}}},
    )
    await journal.accept(secret)
    await journal.start(secret.run_id)
    await journal.finish(secret, OUTCOME)
    for file in path.parent.iterdir():
        assert b"secret" not in file.read_bytes()


async def test_what_was_written_survives_without_a_close(
    journal: Journal, path: Path, clock: JumpingClock
) -> None:
    await journal.accept(request())
    other = Journal(path, clock)
    await other.open()
    assert [row.run_id for row in await other.unfinished()] == ["run_1"]
    await other.close()


# --- files that cannot be used -------------------------------------------------------------------


async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    path: Path, clock: JumpingClock, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database " * 1000)
    journal = Journal(path, clock)
    await journal.open()
    await journal.accept(request())
    await journal.close()
    kept = path.with_name("journal.db.damaged-1")
    assert kept.read_bytes() == b"not a database " * 1000
    assert str(kept) in caplog.text


def test_what_belongs_to_a_damaged_file_goes_with_it(path: Path) -> None:
    path.parent.mkdir()
    names = [f"journal.db{companion}" for companion in ("", "-wal", "-shm")]
    for name in names:
        path.with_name(name).write_text(name)
    set_database_aside(path)
    assert {file.name: file.read_text() for file in path.parent.iterdir()} == {
        f"{name}.damaged-1": name for name in names
    }


async def test_a_file_that_is_damaged_inside_is_noticed_at_the_start(
    path: Path, clock: JumpingClock
) -> None:
    journal = Journal(path, clock)
    await journal.open()
    for number in range(50):
        await journal.accept(request(f"run_{number}", reply_to={"x": "y" * 500}))
    await journal.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xff" * 4096 * 3
    path.write_bytes(content)
    journal = Journal(path, clock)
    await journal.open()
    assert await journal.unfinished() == []
    await journal.close()
    assert list(path.parent.glob("*.damaged-*"))


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(
    path: Path, clock: JumpingClock
) -> None:
    journal = Journal(path, clock)
    await journal.open()
    await journal.close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    journal = Journal(path, clock)
    with pytest.raises(ExecutorError, match="journal_newer"):
        await journal.open()
    await journal.close()
    assert path.read_bytes() == before


def spoil(path: Path, run_id: str, column: str, value: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE runs SET {column} = {value} WHERE run_id = ?", (run_id,))


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("""'{"state":"completed","text":"one","usage":{"output_tokens":true}}'""", "one"),
        ("""'{"state":"completed","text":"one"}'""", "one"),
        ("""'{"text":7}'""", ""),
        ("'{'", ""),
        ("X'FF'", ""),
        ("7", ""),
    ],
)
async def test_an_outcome_that_cannot_be_read_is_a_failure_and_hides_no_other(
    journal: Journal, path: Path, caplog: pytest.LogCaptureFixture, written: str, text: str
) -> None:
    await complete(journal, "run_1", "run_2", deliver=False)
    spoil(path, "run_1", "outcome", written)
    for rows in [await journal.undelivered(Source.DEVICE) for _ in range(3)]:
        assert [row.run_id for row in rows] == ["run_1", "run_2"]
        assert rows[0].state is RunState.FAILED
        outcome = rows[0].outcome
        assert outcome is not None
        assert outcome.error is not None
        assert (outcome.state, outcome.text) == (RunState.FAILED, text)
        assert outcome.error.code == "record_unreadable"
        assert rows[1].outcome == OUTCOME
    assert caplog.text.count("run_1 cannot be read") == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("reply_to", "'{'"), ("accepted_at", "'once'"), ("source", "'moon'"), ("state", "'?'")],
)
async def test_a_record_that_cannot_be_read_at_all_hides_no_other(
    journal: Journal, path: Path, caplog: pytest.LogCaptureFixture, column: str, value: str
) -> None:
    await complete(journal, "run_1", "run_2")
    spoil(path, "run_1", column, value)
    assert [row.run_id for row in await journal.recent()] == ["run_2"]
    assert await journal.run("run_1") is None
    assert caplog.text.count("run_1 cannot be read") == 1


async def test_a_broken_letter_costs_only_itself(journal: Journal, path: Path) -> None:
    await complete(journal, "run_1", "run_2")
    spoil(path, "run_1", "title", "CAST(X'4142FF43' AS TEXT)")
    row = await journal.run("run_1")
    assert row is not None
    assert row.title == "AB\ufffdC"
    assert len(await journal.recent()) == 2


async def test_a_folder_that_cannot_be_used_is_said_in_words(
    tmp_path: Path, clock: JumpingClock
) -> None:
    (tmp_path / "home").write_text("a file")
    journal = Journal(tmp_path / "home" / "journal.db", clock)
    with pytest.raises(ExecutorError, match="database_unusable"):
        await journal.open()
    await journal.close()


@pytest.mark.parametrize(
    "fields", [{"task_id": 2**70}, {"reply_to": {"x": "\ud83d"}}, {"title": "\ud83d"}]
)
async def test_what_sqlite_has_no_form_for_fails_like_a_full_disk(
    journal: Journal, fields: dict[str, Any]
) -> None:
    with pytest.raises(ExecutorError, match="journal_failed"):
        await journal.accept(request(**fields))
    await journal.accept(request())


async def test_a_closed_journal_says_so_and_can_be_closed_again(journal: Journal) -> None:
    await journal.close()
    await journal.close()
    with pytest.raises(ExecutorError, match="journal_failed"):
        await journal.accept(request())


async def test_a_lock_of_another_program_does_not_hold_the_loop(
    journal: Journal, path: Path
) -> None:
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    accepting = asyncio.Task(journal.accept(request()))
    await asyncio.sleep(0)
    other.rollback()
    other.close()
    await accepting
    assert await journal.run("run_1") is not None


# --- bounds --------------------------------------------------------------------------------------


async def test_the_oldest_delivered_runs_are_forgotten_and_no_others(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor_core.journal.journal.MAX_RUNS", 3)
    await complete(journal, "undelivered", deliver=False)
    await journal.accept(request("unfinished"))
    await complete(journal, "a", "b", "c", "d", "e")
    known = await journal.prune()
    assert known.settled == ("e", "d", "c", "b", "a")
    assert known.owed == {"undelivered", "unfinished"}
    left = {row.run_id for row in await journal.recent()}
    assert left == {"undelivered", "unfinished", "c", "d", "e"}
    assert (await journal.prune()).settled == ("e", "d", "c")


async def test_the_sessions_used_last_are_kept(
    journal: Journal, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor_core.journal.journal.MAX_SESSIONS", 1)
    for key in ("old", "new"):
        await journal.save_session(key, "agent", "s")
        await clock.advance(1)
    await journal.prune()
    assert await journal.session("old", "agent") is None
    assert await journal.session("new", "agent") == "s"


async def test_an_error_is_kept_without_words_and_one_with_words_stays_readable(
    journal: Journal, path: Path
) -> None:
    told = ExecutorError("time_limit", time=Message("duration.hours", {"count": 1})).message
    await journal.finish(request(), replace(OUTCOME, state=RunState.FAILED, error=told))
    row = await journal.run("run_1")
    assert row is not None
    assert row.outcome is not None
    assert row.outcome.error == told
    with closing(sqlite3.connect(path)) as db:
        (written,) = db.execute("SELECT outcome FROM runs").fetchone()
    assert told.title.encode() not in written
    words = '{"code":"time_limit","title":"Old.","detail":"It took 1 h.","hint":"Ask."}'
    spoil(path, "run_1", "outcome", f"json_set(outcome, '$.error', json('{words}'))")
    row = await journal.run("run_1")
    assert row is not None
    assert row.outcome is not None
    assert row.outcome.error is not None
    assert row.outcome.error.words("zh_CN") == ("Old.", "It took 1 h.", "Ask.")
