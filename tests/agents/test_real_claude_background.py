"""The real Claude Code and what goes on behind its answer: awaited, told, part of the answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents import AgentHost, ClaudeCode, claude_dialogue, drive
from executor_core.agents.agent import Wait
from executor_core.model import AgentResult, Notice
from tests.support.agent_stage import Run, agent_host, assignment, running
from tests.support.model_api import (
    Failure,
    ModelRequest,
    Reply,
    Script,
    Text,
    Turn,
    model_api,
    say,
    use,
)
from tests.support.scripted_api import Gate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
SETTINGS = {"permissions": {"disableBypassPermissionsMode": "disable"}}


class Conversation:
    """Turns of one conversation on this computer, whose owner's key pays for the model."""

    def __init__(self, folder: Path, host: AgentHost) -> None:
        self._folder = folder
        self._host = host
        self._session_id: str | None = None

    @asynccontextmanager
    async def turn(self, prompt: str, **more: Any) -> AsyncIterator[Run]:
        """The next turn, ended; nothing of it is left behind."""
        task = assignment(self._folder, prompt, session_id=self._session_id, **more)
        async with running(ClaudeCode(self._host), self._host, task) as run:
            await run.result()
            self._session_id = run.session_id
            assert run.processes() == []
            yield run


@asynccontextmanager
async def conversation(
    folder: Path, program: Path, script: Script, *, background_wait_s: float = 60
) -> AsyncIterator[Conversation]:
    async with model_api(script) as api:
        host = agent_host(
            folder,
            program,
            ANTHROPIC_BASE_URL=api.url,
            ANTHROPIC_API_KEY="sk-owner",
            CLAUDE_CODE_MAX_RETRIES="1",
        )
        host.background_wait_s = background_wait_s
        yield Conversation(folder, host)


def answering(first: Turn, then: Callable[[ModelRequest], Turn]) -> Callable[[ModelRequest], Turn]:
    """The main agent begins with `first` and says what its tool gave back; reports are repeated."""

    def answer(request: ModelRequest) -> Turn:
        prompts = request.prompts
        if prompts[-1:] == ("And now?",):
            return say("REAL-ANSWER")
        if "task-notification" in "".join(map(str, request.messages[-1:])):
            return say(
                "It is reported: " + ("SUB-DONE" if "SUB-DONE" in str(request) else "JOB-DONE")
            )
        if "Main task" not in "".join(prompts):
            return then(request)
        return say(f"MAIN-END {request.tool_results[-1][:8]}") if request.tool_results else first

    return answer


def worker(seconds: float) -> Callable[[ModelRequest], Turn]:
    """What the sub-agent does."""
    command = f"python3 -c 'import time; time.sleep({seconds})'; echo made > sub.txt"
    return lambda request: say("SUB-DONE") if request.tool_results else use("Bash", command=command)


def notices(run: Run) -> list[str]:
    return [event.text for event in run.of(Notice)]


def nobody(request: ModelRequest) -> Turn:
    return say("nobody asked")


SUB = {"description": "look", "prompt": "Sub task", "subagent_type": "general-purpose"}


@pytest.mark.parametrize(
    ("more", "seconds"),
    [({}, 25), ({"run_in_background": True}, 3)],
    ids=["default", "background"],
)
async def test_a_sub_agent_does_its_work_and_is_part_of_the_answer(
    each_claude_cli: Path, tmp_path: Path, more: dict[str, Any], seconds: float
) -> None:
    script = answering(use("Agent", **SUB, **more), worker(seconds))
    async with conversation(tmp_path, each_claude_cli, script, background_wait_s=0.1) as talk:
        async with talk.turn("Main task") as run:
            assert (tmp_path / "ws" / "sub.txt").read_text() == "made\n"
            assert "SUB-DONE" in run.text
            assert run.events[-1].error is None  # type: ignore[union-attr]
        async with talk.turn("And now?") as run:
            assert run.text == "REAL-ANSWER"


async def test_a_sub_agent_that_ends_while_the_turn_goes_on_holds_nothing_up(
    each_claude_cli: Path, tmp_path: Path
) -> None:
    call = use("Agent", **SUB, run_in_background=True)

    def script(request: ModelRequest) -> Turn:
        if "Main task" not in "".join(request.prompts):
            return say("SUB-DONE")
        if len(request.tool_results) == 1:
            return use("Bash", command="python3 -c 'import time; time.sleep(4)'")
        return say("MAIN-END") if request.tool_results else call

    async with (
        conversation(tmp_path, each_claude_cli, script) as talk,
        talk.turn("Main task") as run,
    ):
        assert run.text.startswith("MAIN-END")
        assert notices(run) == []


async def test_a_background_job_that_ends_reports_in_the_answer(
    each_claude_cli: Path, tmp_path: Path
) -> None:
    job = use("Bash", command="sleep 3; echo JOB-DONE > job.txt", run_in_background=True)
    async with conversation(tmp_path, each_claude_cli, answering(job, nobody)) as talk:
        async with talk.turn("Main task") as run:
            assert (tmp_path / "ws" / "job.txt").exists()
            assert run.text.startswith("MAIN-END")
            assert run.text.endswith("\n\nIt is reported: JOB-DONE")
            [waits] = notices(run)
            assert "sleep 3; echo JOB-DONE" in waits
        async with talk.turn("And now?") as run:
            assert run.text == "REAL-ANSWER"


async def test_a_server_that_is_left_behind_is_named_and_ended_and_the_follow_up_answers(
    each_claude_cli: Path, tmp_path: Path
) -> None:
    server = use("Bash", command="tail -f /dev/null", run_in_background=True)
    script = answering(server, nobody)
    async with conversation(tmp_path, each_claude_cli, script, background_wait_s=1) as talk:
        async with talk.turn("Main task") as run:
            waits, ended = notices(run)
            assert "Waits for 1 background" in waits
            assert "ended with the run: tail -f /dev/null" in ended
            assert run.text.startswith("MAIN-END")
        async with talk.turn("And now?") as run:
            assert run.text == "REAL-ANSWER"
            assert notices(run) == []


async def test_a_server_is_not_waited_for_once_the_next_turn_is_there(
    each_claude_cli: Path, tmp_path: Path
) -> None:
    server = use("Bash", command="tail -f /dev/null", run_in_background=True)
    script = answering(server, nobody)
    async with conversation(tmp_path, each_claude_cli, script, background_wait_s=3600) as talk:
        task = assignment(tmp_path, "Main task")
        async with running(ClaudeCode(talk._host), talk._host, task) as run:
            await run.until(lambda: bool(run.of(Notice)))
            task.is_awaited.set()
            assert (await run.result(30)).error is None
            assert "ended with the run" in notices(run)[-1]


async def test_each_of_three_turns_costs_what_it_costs(
    each_claude_cli: Path, tmp_path: Path
) -> None:
    async with conversation(tmp_path, each_claude_cli, lambda _: say("Here.")) as talk:
        used = []
        for prompt in ("One", "Two", "Three"):
            async with talk.turn(prompt) as run:
                used.append(run.of(AgentResult)[-1].usage)
    costs = [usage.cost_usd for usage in used if usage and usage.cost_usd]
    assert costs == pytest.approx([costs[0]] * 3)
    assert {(usage.input_tokens, usage.output_tokens) for usage in used if usage} == {(100, 20)}


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (400, "prompt is too long: 250000 tokens > 200000 maximum", "model_context_full"),
        (400, "messages.0.content.1.image.source.base64: image exceeds 5 MB", "session_unusable"),
        (400, "Your credit balance is too low", "model_credit_used_up"),
        (403, "This key may not do that", "model_access_denied"),
        (404, "model: no-such-model", "model_unknown"),
    ],
)
async def test_each_kind_of_failure_is_told_by_its_code(
    each_claude_cli: Path, tmp_path: Path, status: int, words: str, code: str
) -> None:
    script = [Failure(status, words)] * 4
    async with conversation(tmp_path, each_claude_cli, script) as talk, talk.turn("Go") as run:
        error = run.of(AgentResult)[-1].error
        assert error is not None
        assert error.code == code


async def test_an_answer_that_stands_still_is_told_and_ends_in_words(
    each_claude_cli: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive, "WARN_S", 5.0)
    monkeypatch.setattr(claude_dialogue, "FOR_MODEL", Wait(limit_s=8.0))
    script = [Reply((Text("half of ", Gate()),))] * 2
    async with conversation(tmp_path, each_claude_cli, script) as talk, talk.turn("Go") as run:
        error = run.of(AgentResult)[-1].error
        assert error is not None
        assert error.code == "agent_silent"
        assert [notice.code for notice in run.of(Notice)] == ["silent"]
        assert run.text == "half of "


async def test_work_that_settings_forbid_is_no_completed_run(
    each_claude_cli: Path, tmp_path: Path
) -> None:
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "settings.json").write_text(json.dumps(SETTINGS))
    script = [use("Bash", command="echo hi > made.txt"), say("I made it.")]
    async with conversation(tmp_path, each_claude_cli, script) as talk, talk.turn("Go") as run:
        error = run.of(AgentResult)[-1].error
        assert error is not None
        assert error.code == "agent_forbidden"
        assert {notice.code for notice in run.of(Notice)} == {"permission_mode", "tool_denied"}


async def test_a_tool_server_that_does_not_start_is_named(
    each_claude_cli: Path, tmp_path: Path
) -> None:
    servers = {"todo-list": {"type": "stdio", "command": "/no/such/program", "args": []}}
    async with (
        conversation(tmp_path, each_claude_cli, [say("Added.")]) as talk,
        talk.turn("Go", mcp_servers=servers) as run,
    ):
        assert run.text == "Added."
        assert "todo-list" in notices(run)[0]


async def test_a_tool_server_that_ends_behind_the_beginning_is_named(
    claude_cli: Path, tmp_path: Path
) -> None:
    ends = {"type": "stdio", "command": "sh", "args": ["-c", "sleep 4; exit 3"]}
    script = [use("Bash", command="python3 -c 'import time; time.sleep(6)'"), say("Done.")]
    async with (
        conversation(tmp_path, claude_cli, script) as talk,
        talk.turn("Go", mcp_servers={"todo-list": ends}) as run,
    ):
        assert run.text == "Done."
        [words] = notices(run)
        assert "todo-list" in words
