"""What a crash leaves: decided from the event files at the next start."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from executor_core.agents.scratch import MCP_FILE, write_secret
from executor_core.errors import ExecutorError
from executor_core.executor import Duplicate
from executor_core.executor.run import outcome_after_crash
from executor_core.journal import EventLog, Journal, RunRow
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Outcome,
    RunEnded,
    RunStarted,
    RunState,
    SessionStarted,
    Source,
    TextDelta,
    Timings,
    Usage,
)
from tests.executor.room import opened, request
from tests.support.clock import START, JumpingClock

FAILED = ExecutorError("model_refused", status=400, reason="no").message
USAGE = Usage(input_tokens=3)
TIMINGS = Timings(accepted_at=START, finished_at=START)
RECORDED = Outcome(state=RunState.COMPLETED, text="one two", timings=TIMINGS)
EVENTS: list[AgentEvent] = [
    RunStarted(agent="scripted", folder="/f"),
    SessionStarted(session_id="s"),
    TextDelta(text="one "),
    TextDelta(text="two"),
    AgentResult(final_text="two", usage=USAGE),
    RunEnded(outcome=RECORDED),
]
ROW = RunRow(
    run_id="run_1",
    source=Source.DEVICE,
    request_key="key",
    conversation_key="talk",
    address="server",
    reply_to={},
    agent="scripted",
    title="",
    task_id=1,
    subtask_id=1,
    state=RunState.RUNNING,
    accepted_at=START,
    started_at=START + timedelta(seconds=1),
    outcome=None,
    awaits_delivery=True,
    delivered_at=None,
    delivery_error=None,
)


@pytest.mark.parametrize(
    ("events", "state", "text", "session"),
    [
        (0, RunState.FAILED, "", None),
        (1, RunState.FAILED, "", None),
        (2, RunState.FAILED, "", "s"),
        (3, RunState.FAILED, "one ", "s"),
        (4, RunState.FAILED, "one two", "s"),
        (5, RunState.COMPLETED, "one two", "s"),
    ],
)
def test_each_beginning_of_a_story_keeps_its_text_and_has_one_end(
    events: int, state: RunState, text: str, session: str | None
) -> None:
    now = START + timedelta(hours=1)
    outcome = outcome_after_crash(ROW, EVENTS[:events], now)
    assert (outcome.state, outcome.text, outcome.session_id) == (state, text, session)
    assert (outcome.error is not None and outcome.error.code == "interrupted") == (events < 5)
    assert outcome.usage == (USAGE if events == 5 else None)
    assert (outcome.timings.accepted_at, outcome.timings.finished_at) == (START, now)


def test_an_end_that_is_on_file_stands() -> None:
    assert outcome_after_crash(ROW, EVENTS, START) == RECORDED


def test_a_failure_that_the_agent_said_is_kept() -> None:
    outcome = outcome_after_crash(ROW, [*EVENTS[:3], AgentResult(error=FAILED)], START)
    assert (outcome.state, outcome.text, outcome.error) == (RunState.FAILED, "one ", FAILED)


def test_a_result_that_was_read_stands_over_an_end_that_was_not() -> None:
    unread = AgentResult(error=ExecutorError("record_unreadable").message)
    assert outcome_after_crash(ROW, [*EVENTS[:5], unread], START).state is RunState.COMPLETED
    error = outcome_after_crash(ROW, [*EVENTS[:4], unread], START).error
    assert error is not None
    assert error.code == "record_unreadable"


def test_the_summary_stands_in_where_nothing_was_streamed() -> None:
    assert outcome_after_crash(ROW, [AgentResult(final_text="sum")], START).text == "sum"


def test_an_answer_that_replaces_what_was_streamed_does_so_after_a_crash_too() -> None:
    whole = AgentResult(final_text="Whole.", replaces_text=True)
    assert outcome_after_crash(ROW, [*EVENTS[:4], whole], START).text == "Whole."


async def test_a_start_answers_what_a_crash_cut_off_and_starts_nothing_of_it(
    tmp_path: Path, clock: JumpingClock
) -> None:
    before = Journal(tmp_path / "journal.db", clock)
    await before.open()
    for number in (1, 2, 3):
        await before.accept(request(number))
    await before.close()
    for number, events in ((2, EVENTS[:3]), (3, EVENTS[:5])):
        log = EventLog(tmp_path / "runs" / f"run_{number}" / "events.jsonl", clock)
        log.open()
        for event in events:
            log.append(event)
        log.close()
    with (tmp_path / "runs" / "run_2" / "events.jsonl").open("ab") as file:
        file.write(b'{"kind":"text_delta","te')
    secrets = tmp_path / "runs" / "run_2" / MCP_FILE
    write_secret(secrets, b"key")

    async with opened(tmp_path, clock) as room:
        found = [
            (d.run_id, d.end.state, d.end.text, d.reply_to)
            for d in await room.executor.undelivered(Source.DEVICE)
        ]
        assert found == [
            ("run_1", RunState.FAILED, "", {"task_id": 1, "subtask_id": 1}),
            ("run_2", RunState.FAILED, "one ", {"task_id": 2, "subtask_id": 2}),
            ("run_3", RunState.COMPLETED, "one two", {"task_id": 3, "subtask_id": 3}),
        ]
        assert not room.agent.is_waiting
        assert not secrets.exists()
        again = request(3, run_id="run_again")
        assert await room.executor.submit(again) == Duplicate("run_3")

    async with opened(tmp_path, clock) as room:
        assert len(await room.executor.undelivered(Source.DEVICE)) == 3
