"""One agent process from its first byte to its last descendant, with small real programs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor_core.agents import Assignment
from executor_core.agents.claude_dialogue import ClaudeDialogue
from executor_core.agents.drive import EXIT_GRACE_S, FAILED_GRACE_S, MAX_STDERR, drive
from executor_core.model import AgentEvent, AgentResult, Notice, TextDelta
from tests.process.children import ENV, HurriedClock, carriers_of, new_marker, shell, until

SAY = """say() { printf '%s\\n' "$1"; }; """
TEXT = """say '{"type":"assistant","message":{"content":[{"type":"text","text":"one"}]}}'; """
RESULT = """say '{"type":"result","subtype":"success","is_error":false,"result":"Done."}'; """
FAILURE = """say '{"type":"result","is_error":true,"api_error_status":400,"result":"no"}'; """
LEAVE_AT_INT = "trap 'exit 0' INT; "
STAY = "while :; do sleep 0.05; done"


class Stage:
    """Drives one shell script as if it were Claude Code; keeps what it says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = new_marker()
        self.clock = HurriedClock()
        self.stop = asyncio.Event()
        self.heard: list[AgentEvent] = []
        self.on_event: Callable[[AgentEvent], None] = self.heard.append

    async def play(self, script: str, prompt: str = "Hello") -> AgentResult:
        assignment = Assignment(
            run_id="r", prompt=prompt, folder=self.folder, scratch=self.folder, session_id=None
        )
        async with asyncio.timeout(20):
            return await drive(
                ClaudeDialogue(assignment),
                shell(SAY + script),
                cwd=self.folder,
                env=ENV,
                marker=self.marker,
                clock=self.clock,
                emit=lambda event: self.on_event(event),
                stop=self.stop,
            )

    def stop_at_text(self, event: AgentEvent) -> None:
        self.heard.append(event)
        if isinstance(event, TextDelta):
            self.stop.set()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    assert carriers_of(stage.marker) == set()


def code_of(result: AgentResult) -> str | None:
    return result.error.code if result.error else None


async def test_the_prompt_goes_in_and_the_events_and_the_result_come_out(stage: Stage) -> None:
    result = await stage.play("read -r line; " + TEXT + RESULT + 'say "$line" > prompt')
    assert (result.final_text, stage.heard) == ("Done.", [TextDelta(text="one"), result])
    assert '"text":"Hello"' in (stage.folder / "prompt").read_text()


@pytest.mark.slow
async def test_a_process_that_stays_after_its_result_is_ended_after_a_grace(stage: Stage) -> None:
    began = stage.clock.monotonic()
    result = await stage.play(RESULT + LEAVE_AT_INT + STAY)
    assert result.final_text == "Done."
    assert EXIT_GRACE_S <= stage.clock.monotonic() - began < 60


async def test_a_process_that_stays_after_a_failure_is_ended_soon(stage: Stage) -> None:
    began = stage.clock.monotonic()
    assert code_of(await stage.play(FAILURE + LEAVE_AT_INT + STAY)) == "model_refused"
    assert FAILED_GRACE_S <= stage.clock.monotonic() - began < EXIT_GRACE_S


async def test_a_stop_shortens_the_grace_and_keeps_the_result(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor_core.agents.drive.EXIT_GRACE_S", 1e6)

    def stop_at_result(event: AgentEvent) -> None:
        asyncio.get_running_loop().call_later(0.05, stage.stop.set)

    stage.on_event = stop_at_result
    assert (await stage.play(RESULT + LEAVE_AT_INT + STAY)).final_text == "Done."


async def test_what_is_said_after_the_result_is_not_heard(stage: Stage) -> None:
    result = await stage.play(RESULT + TEXT + FAILURE)
    assert stage.heard == [result]


async def test_an_end_without_a_result_is_a_failure_even_with_exit_code_0(stage: Stage) -> None:
    result = await stage.play(TEXT + "exit 0")
    assert code_of(result) == "agent_ended_early"
    assert stage.heard == [TextDelta(text="one"), result]


async def test_stderr_stands_in_for_a_missing_result_and_is_bounded(stage: Stage) -> None:
    script = "i=0; while [ $i -lt 2000 ]; do echo $i warning $PATH >&2; i=$((i+1)); done; exit 1"
    result = await stage.play(script)
    assert result.error is not None
    assert "ended with code 1" in result.error.detail
    assert "1999 warning" in result.error.detail
    assert len(result.error.detail) < MAX_STDERR + 100


async def test_a_stop_asks_politely_first(stage: Stage) -> None:
    stage.on_event = stage.stop_at_text
    await stage.play("read -r p; " + TEXT + 'read -r word; say "$word" > word; read -r end; exit 0')
    assert '"subtype":"interrupt"' in (stage.folder / "word").read_text()


async def test_a_stop_ends_who_does_not_listen(stage: Stage) -> None:
    stage.on_event = stage.stop_at_text
    began = stage.clock.monotonic()
    await stage.play("trap '' INT TERM; setsid sleep 300 & " + TEXT + STAY)
    assert stage.clock.monotonic() - began < 60
    assert stage.heard == [TextDelta(text="one")]


async def test_a_stop_before_the_start_leaves_nothing(stage: Stage) -> None:
    stage.stop.set()
    result = await stage.play(TEXT + LEAVE_AT_INT + STAY)
    assert result == AgentResult()


async def test_a_program_that_reads_no_prompt_does_not_hold_the_run(stage: Stage) -> None:
    assert (await stage.play(RESULT, prompt="x" * 3_000_000)).final_text == "Done."
    stage.heard.clear()
    assert code_of(await stage.play("exit 2", prompt="x" * 3_000_000)) == "agent_ended_early"


async def test_a_daemon_that_the_agent_left_is_ended_with_the_run(stage: Stage) -> None:
    result = await stage.play("setsid sleep 300 >/dev/null 2>&1 & " + RESULT)
    assert result.final_text == "Done."


@pytest.mark.slow
async def test_a_listener_that_breaks_ends_the_process(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(event: AgentEvent) -> None:
        raise RuntimeError("scripted")

    stage.on_event = broken
    with pytest.raises(RuntimeError, match="scripted"):
        await stage.play(TEXT + LEAVE_AT_INT + STAY)


async def test_a_cancelled_drive_leaves_no_process(stage: Stage) -> None:
    driving = asyncio.Task(stage.play(TEXT + LEAVE_AT_INT + STAY))
    await until(lambda: bool(stage.heard))
    driving.cancel()
    await asyncio.gather(driving, return_exceptions=True)
    assert driving.cancelled()


async def test_a_line_too_long_to_keep_is_told_once(stage: Stage) -> None:
    huge = f"head -c {17 * 2**20} /dev/zero; echo; "
    await stage.play(huge + TEXT + huge + RESULT)
    notices = [event for event in stage.heard if isinstance(event, Notice)]
    assert [notice.code for notice in notices] == ["line_left_out"]
    assert isinstance(stage.heard[-1], AgentResult)
