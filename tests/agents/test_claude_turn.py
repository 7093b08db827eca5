"""When a run of Claude Code is over: every cell of the table, and the stories behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor_core.agents.claude_turn import (
    MOVES,
    SETTLE_S,
    IllegalMove,
    State,
    Task,
    Told,
    Turn,
)
from tests.agents.test_claude_dialogue import dialogue

RECORDINGS = Path(__file__).parent / "recordings" / "claude_code_background"
BACKGROUND = sorted(RECORDINGS.glob("*.jsonl"))
JOB = Task("local_bash", "npm run dev", "call_1")
AGENT = Task("local_agent", "look around", "call_2")


def turn_in(state: State) -> Turn:
    turn = Turn()
    turn.state = state
    return turn


def answered(*, queued: int | None = None) -> Turn:
    turn = Turn()
    turn.began()
    turn.ended(Told.ANSWER, queued)
    return turn


@pytest.mark.parametrize("told", Told)
@pytest.mark.parametrize("state", State)
def test_each_cell_is_a_move_or_is_illegal_and_changes_nothing(state: State, told: Told) -> None:
    turn = turn_in(state)
    after = MOVES.get((state, told))
    if after is None:
        with pytest.raises(IllegalMove, match=f"{told} while {state}"):
            turn.ended(told, None)
    else:
        turn.ended(told, None)
    assert turn.state is (after or state)


def test_an_answer_with_nothing_left_is_the_end() -> None:
    assert not Turn().is_over
    assert answered().is_over


def test_the_report_of_an_earlier_process_is_not_the_answer() -> None:
    turn = Turn()
    assert turn.task_ended("of before") is None
    turn.began()
    turn.ended(Told.REPORT, 0)
    assert (turn.state, turn.is_over) == (State.ASKED, False)
    turn.began()
    turn.ended(Told.ANSWER, 0)
    assert turn.is_over


@pytest.mark.parametrize("tells_all", [True, False], ids=["2.1.332", "2.1.197"])
@pytest.mark.parametrize("task", [JOB, AGENT], ids=["job", "sub-agent"])
def test_what_is_left_in_the_background_reports_in_a_turn_of_its_own(
    task: Task, tells_all: bool
) -> None:
    queued = 0 if tells_all else None
    turn = Turn()
    turn.began()
    turn.tool_called(task.call_id)
    turn.task_started("t", task)
    turn.tool_returned(task.call_id)
    turn.ended(Told.ANSWER, queued)
    assert (turn.left, turn.is_over) == ((task,), False)
    assert turn.may_take_s(600) == (None if task is AGENT else 600)
    assert turn.task_ended("t") is task
    if tells_all:
        turn.background_is({})
    assert (turn.is_over, turn.may_take_s(600)) == (False, SETTLE_S)
    turn.began()
    assert turn.state is State.FURTHER
    turn.ended(Told.REPORT, queued)
    assert turn.is_over


def test_what_ran_in_the_foreground_leaves_nothing_to_wait_for() -> None:
    turn = Turn()
    turn.began()
    turn.tool_called(JOB.call_id)
    turn.task_started("t", JOB)
    turn.task_ended("t")
    turn.tool_returned(JOB.call_id)
    turn.ended(Told.ANSWER, None)
    assert turn.is_over


def test_a_report_that_came_during_the_turn_may_still_bring_one() -> None:
    turn = Turn()
    turn.began()
    turn.task_started("t", JOB)
    turn.task_ended("t")
    turn.ended(Told.ANSWER, None)
    assert (turn.is_over, turn.may_take_s(600)) == (False, SETTLE_S)


@pytest.mark.parametrize(("queued", "is_over"), [(0, True), (1, False)])
def test_a_version_that_counts_its_queue_is_believed(queued: int, is_over: bool) -> None:
    turn = Turn()
    turn.began()
    turn.task_started("t", JOB)
    turn.task_ended("t")
    turn.ended(Told.ANSWER, queued)
    assert turn.is_over is is_over


def test_what_vanishes_from_the_background_without_a_word_is_waited_for_a_moment() -> None:
    turn = Turn()
    turn.began()
    turn.background_is({"t": JOB})
    turn.ended(Told.ANSWER, 0)
    turn.background_is({})
    assert (turn.is_over, turn.may_take_s(600)) == (False, SETTLE_S)


def test_what_is_told_only_to_the_turn_that_runs_is_waited_for_a_moment() -> None:
    turn = Turn()
    turn.began()
    turn.task_started("t", AGENT)
    turn.task_stopped("t")
    turn.ended(Told.ANSWER, None)
    assert (turn.is_over, turn.left, turn.may_take_s(600)) == (False, (), SETTLE_S)
    turn.ended(Told.FAILURE, None)
    assert turn.is_over


def test_reports_that_come_one_by_one_each_bring_a_turn() -> None:
    turn = Turn()
    turn.began()
    for name in ("one", "two"):
        turn.task_started(name, AGENT)
    turn.ended(Told.ANSWER, None)
    for name in ("one", "two"):
        turn.task_stopped(name)
    for name, is_last in (("one", False), ("two", True)):
        assert turn.task_ended(name) is AGENT
        turn.began()
        turn.ended(Told.REPORT, None)
        assert turn.is_over is is_last


def test_a_report_during_a_further_turn_is_waited_for() -> None:
    turn = answered()
    turn.began()
    turn.task_ended("t")
    turn.ended(Told.REPORT, None)
    assert not turn.is_over


def test_what_stops_in_the_foreground_brings_no_report() -> None:
    turn = Turn()
    turn.began()
    turn.tool_called(JOB.call_id)
    turn.task_started("t", JOB)
    turn.task_stopped("t")
    assert turn.task_ended("t") is JOB
    turn.ended(Told.ANSWER, None)
    assert turn.is_over


def test_a_name_that_is_known_better_is_kept() -> None:
    turn = answered()
    turn.task_started("t", JOB)
    turn.background_is({"t": Task("local_bash", "a description")})
    assert turn.left == (JOB,)


def test_a_failure_waits_for_nothing() -> None:
    turn = Turn()
    turn.began()
    turn.task_started("t", AGENT)
    turn.ended(Told.FAILURE, None)
    assert (turn.is_over, turn.left) == (True, ())


def test_a_tool_is_at_work_from_its_call_to_its_result() -> None:
    turn = Turn()
    turn.began()
    turn.tool_called("a")
    turn.tool_called("b")
    turn.tool_returned("a")
    assert turn.is_using_tool
    turn.tool_returned("b")
    assert not turn.is_using_tool


@pytest.mark.parametrize("recording", BACKGROUND, ids=lambda file: file.stem)
def test_recorded_streams_are_over_with_their_last_result(recording: Path) -> None:
    lines = recording.read_bytes().splitlines()
    results = [n for n, line in enumerate(lines) if json.loads(line).get("type") == "result"]
    listener = dialogue()
    for number, line in enumerate(lines):
        words = list(listener.feed(line))
        assert listener._turn.is_over is (number >= results[-1]), (number, words)
