"""A run that fails in the same way again and again comes to an end."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from executor_core.executor.stream import (
    FAST_CALL_S,
    FAST_S,
    MAX_CALLS,
    MAX_IDENTICAL_ERRORS,
    Repeats,
)
from executor_core.model import (
    AgentEvent,
    Notice,
    ReasoningDelta,
    RunState,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from tests.executor.room import Room, request

RETRY = Notice(code="model_retry", text="trying again")
MANY = MAX_IDENTICAL_ERRORS


def call(
    output: str = "no such file", *, name: str = "Bash", command: str = "cat x", fails: bool = True
) -> list[AgentEvent]:
    return [
        ToolStarted(call_id="1", name=name, input={"command": command}),
        ToolFinished(call_id="1", output=output, is_error=fails),
    ]


def stuck_after(events: Iterable[AgentEvent], every_s: float = 0.5) -> int | None:
    """The number of events after which the run is stuck; one comes every `every_s` seconds."""
    repeats = Repeats()
    moments = enumerate(events, 1)
    return next((n for n, event in moments if repeats.is_stuck(event, n * every_s)), None)


def test_so_many_retries_in_a_row_are_too_many() -> None:
    assert stuck_after([RETRY] * 100) == MANY


@pytest.mark.parametrize(
    "progress",
    [TextDelta(text="x"), ReasoningDelta(text="x"), *call(fails=False), call()[0]],
    ids=lambda event: type(event).__name__,
)
def test_retries_count_anew_after_any_progress(progress: AgentEvent) -> None:
    row: list[AgentEvent] = [RETRY] * (MANY - 1)
    assert stuck_after([*row, progress, *row]) is None


def test_other_notices_are_no_errors() -> None:
    assert stuck_after([Notice(code="silent", text="x")] * 100) is None


def test_the_same_call_with_the_same_error_so_many_times_is_too_many() -> None:
    events = (event for _ in range(100) for event in (*call(), TextDelta(text="again")))
    assert stuck_after(events) == 3 * MANY - 1


@pytest.mark.parametrize(
    "other",
    [
        call("another error"),
        call(command="cat y"),
        call(name="Read"),
        call("fine", fails=False),
        [RETRY],
    ],
    ids=["error", "input", "tool", "success", "retry"],
)
def test_calls_count_anew_after_anything_else(other: list[AgentEvent]) -> None:
    row = [event for _ in range(MANY - 1) for event in call()]
    assert stuck_after([*row, *other, *row]) is None


def test_calls_that_never_finish_are_not_kept_for_ever() -> None:
    repeats = Repeats()
    for number in range(10 * MAX_CALLS):
        repeats.is_stuck(ToolStarted(call_id=str(number), name="Bash"), number)
    assert len(repeats._calls) <= MAX_CALLS


def test_a_call_that_waits_before_it_fails_is_no_repetition() -> None:
    events = [event for _ in range(10 * MANY) for event in call("Exit code 7")]
    assert stuck_after(events, every_s=FAST_CALL_S) is None


def test_failures_that_are_far_apart_are_no_row() -> None:
    assert stuck_after([RETRY] * 10 * MANY, every_s=FAST_S) is None


async def test_the_run_fails_with_a_sentence_and_its_agent_is_stopped(room: Room) -> None:
    await room.submit(request())
    run = await room.agent.started()
    run.say("Trying. ")
    for _ in range(MANY):
        run.emit(RETRY)
    assert run.stop.is_set()
    run.say("Too late.")
    run.leave()
    await room.door.until(lambda: bool(room.door.deliveries("run_1")))
    outcome = room.door.deliveries("run_1")[0].end
    assert outcome.error is not None
    assert (outcome.state, outcome.error.code) == (RunState.FAILED, "same_error_again")
    assert str(MANY) in outcome.error.detail
    assert "trying again" in outcome.error.detail
    assert outcome.text == "Trying. "


async def test_a_run_below_the_limit_goes_on(room: Room) -> None:
    await room.submit(request())
    run = await room.agent.started()
    for _ in range(MANY - 1):
        run.emit(RETRY)
    assert not run.stop.is_set()
    run.finish("Done.")
    await room.door.until(lambda: bool(room.door.deliveries("run_1")))
    assert room.door.deliveries("run_1")[0].end.state is RunState.COMPLETED
