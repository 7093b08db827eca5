"""What one agent says, without a process: its last word, and how long it may be silent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from executor_core.agents.agent import FOR_MODEL, FOR_TOOL, Wait
from executor_core.agents.drive import GAP_LIMIT_S, WARN_S, Hearing
from executor_core.model import AgentEvent, AgentResult, Notice, TextDelta, ToolStarted
from tests.support.clock import JumpingClock

END = Wait(limit_s=600.0, is_background=True, then=(AgentResult(final_text="In time."),))


class Scripted:
    """A dialogue in which each line is the name of what happens."""

    def __init__(self) -> None:
        self.wait = FOR_MODEL

    def outgoing(self) -> bytes:
        return b""

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        match line:
            case b"word":
                yield TextDelta(text="word")
            case b"tool":
                yield ToolStarted(call_id="1", name="Bash")
            case b"end":
                yield AgentResult()

    def interrupt(self) -> None:
        return None

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        return AgentResult(final_text=f"{exit_code} {stderr}")

    def waits(self) -> Wait:
        return self.wait


class Stage:
    def __init__(self, clock: JumpingClock) -> None:
        self.clock = clock
        self.heard: list[AgentEvent] = []
        self.dialogue = Scripted()
        self.hearing = Hearing(self.dialogue, self.heard.append, clock)

    def hear(self, *lines: bytes, wait: Wait | None = None, gaps: int = 0) -> None:
        self.dialogue.wait = wait or self.dialogue.wait
        for line in lines:
            self.hearing.hear(line, gaps)

    async def code_after(self, seconds: float) -> str | None:
        """What the silence of so many seconds comes to."""
        await self.clock.advance(seconds)
        self.hearing.lose_patience()
        result = self.hearing.result
        return result.error.code if result is not None and result.error else None


@pytest.fixture
def stage(clock: JumpingClock) -> Stage:
    return Stage(clock)


async def test_a_model_that_says_nothing_is_told_and_then_ends_the_run_in_words(
    stage: Stage,
) -> None:
    limit_s = FOR_MODEL.limit_s or 0
    stage.hear(b"word")
    assert stage.hearing.left_s == WARN_S
    assert await stage.code_after(WARN_S) is None
    assert [e.code for e in stage.heard if isinstance(e, Notice)] == ["silent"]
    assert stage.hearing.left_s == limit_s - WARN_S
    stage.hear(b"word")
    assert await stage.code_after(limit_s - 1) is None
    stage.hear(b"word")
    assert await stage.code_after(limit_s - 1) is None
    assert stage.hearing.left_s == 1
    assert await stage.code_after(1) == "agent_silent"
    assert stage.hearing.over.is_set()


async def test_a_tool_may_work_for_hours(stage: Stage) -> None:
    stage.hear(b"tool", wait=FOR_TOOL)
    assert await stage.code_after(8 * 3600) is None
    assert not stage.hearing.over.is_set()


async def test_what_is_in_the_background_is_waited_for_from_the_answer_on(stage: Stage) -> None:
    stage.hear(b"word", wait=END)
    await stage.code_after(599)
    stage.hear(b"a line that changes nothing")
    assert stage.hearing.result is None
    await stage.code_after(1)
    assert stage.hearing.result == AgentResult(final_text="In time.")


async def test_nothing_in_the_background_is_waited_for_once_the_run_is_awaited(
    stage: Stage,
) -> None:
    stage.hear(b"word")
    stage.hearing.hurry()
    assert stage.hearing.left_s > 0
    stage.hear(b"word", wait=END)
    assert stage.hearing.left_s == 0


async def test_an_agent_that_is_silent_behind_a_lost_line_has_said_its_last_word(
    stage: Stage,
) -> None:
    stage.hear(b"word")
    stage.hear(b"", gaps=1)
    assert await stage.code_after(GAP_LIMIT_S) == "agent_word_lost"


async def test_a_line_that_is_lost_behind_others_is_not_looked_for_among_them(
    stage: Stage,
) -> None:
    stage.hear(b"word", b"word", b"", gaps=1)
    assert await stage.code_after(GAP_LIMIT_S) == "agent_word_lost"


async def test_a_lost_line_is_said_once_and_forgotten_with_the_next(stage: Stage) -> None:
    stage.hear(b"", gaps=1)
    stage.hear(b"word", gaps=1)
    stage.hear(b"", b"word", gaps=2)
    assert [e.code for e in stage.heard if isinstance(e, Notice)] == ["line_left_out"]
    assert await stage.code_after(GAP_LIMIT_S) is None


async def test_a_lost_line_while_a_tool_works_ends_nothing(stage: Stage) -> None:
    stage.hear(b"tool", wait=FOR_TOOL)
    stage.hear(b"", gaps=1)
    assert await stage.code_after(3600) is None


def test_a_turn_without_a_word_and_a_deed_is_a_failure(stage: Stage) -> None:
    stage.hear(b"end")
    assert stage.hearing.result is not None
    assert stage.hearing.result.error is not None
    assert stage.hearing.result.error.code == "agent_said_nothing"


def test_a_turn_without_a_word_in_which_it_worked_is_told(stage: Stage) -> None:
    stage.hear(b"tool", b"end")
    assert stage.hearing.result == AgentResult()
    assert [e.code for e in stage.heard if isinstance(e, Notice)] == ["no_words"]


@pytest.mark.parametrize("lines", [(b"word", b"end"), (b"word", b"tool", b"end")])
def test_a_turn_with_words_is_an_answer(stage: Stage, lines: tuple[bytes, ...]) -> None:
    stage.hear(*lines)
    assert stage.hearing.result == AgentResult()
    assert not [e for e in stage.heard if isinstance(e, Notice)]


def test_a_process_that_ends_behind_a_lost_line_says_so(stage: Stage) -> None:
    stage.hear(b"word")
    stage.hear(b"", gaps=1)
    error = stage.hearing.end(0, "").error
    assert error is not None
    assert error.code == "agent_word_lost"


def test_the_first_of_two_last_words_counts(stage: Stage) -> None:
    stage.hear(b"word", b"end", b"word", b"end")
    assert [type(event) for event in stage.heard] == [TextDelta, AgentResult]
