"""The real Claude Code through our executor, against a scripted model."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents import AgentHost, ClaudeCode
from executor_core.clock import SystemClock
from executor_core.executor import CancelAnswer
from executor_core.model import (
    FileChanged,
    Folder,
    Member,
    ModelConfig,
    Outcome,
    RunRequest,
    RunState,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from tests.executor.room import Room, opened, request
from tests.process.children import carriers_of, until
from tests.support.model_api import (
    Failure,
    ModelApi,
    ModelRequest,
    Reply,
    Script,
    Text,
    ToolUse,
    model_api,
    say,
    use,
)
from tests.support.scripted_api import Gate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
OWNER = f"{os.getpid():016x}"
"""Not that of another test session on this computer, whose runs have the same names."""


class Real:
    """A room whose agent is the real CLI, and the model that it talks to."""

    def __init__(self, room: Room, api: ModelApi, agent: ClaudeCode) -> None:
        self.room = room
        self.agent = agent
        self.api = api

    def task(self, prompt: str, number: int = 1, **fields: Any) -> RunRequest:
        model = ModelConfig(model="claude-sonnet-4-5", api_key="sk-task", base_url=self.api.url)
        wanted = {"prompt": prompt, "agent": "claude_code", "model": model}
        return request(number, **wanted | fields)

    async def run(self, prompt: str, number: int = 1, **fields: Any) -> Outcome:
        run_id = await self.room.submit(self.task(prompt, number, **fields))
        return await self.outcome(run_id)

    async def outcome(self, run_id: str = "run_1") -> Outcome:
        await self.room.door.until(lambda: bool(self.room.door.deliveries(run_id)), 60)
        assert carriers_of(f"{OWNER}:{run_id}") == set()
        return self.room.door.deliveries(run_id)[0].end

    async def said(self, is_so: Callable[[str], bool], run_id: str = "run_1") -> None:
        """Wait until the text so far fulfils `is_so`."""
        await self.room.door.until(lambda: is_so("".join(self.room.texts(run_id))), 60)


@pytest.fixture
def claude(claude_cli: Path, tmp_path: Path) -> Any:
    """`async with claude(script) as real`."""
    return claude_at(claude_cli, tmp_path)


def claude_at(claude_cli: Path, tmp_path: Path) -> Any:
    @asynccontextmanager
    async def start(script: Script) -> AsyncIterator[Real]:
        clock = SystemClock()
        host = AgentHost(
            base={"HOME": str(tmp_path), "LANG": "C.UTF-8", "ANTHROPIC_API_KEY": "sk-mine"},
            settings={},
            path=f"{claude_cli.parent}:/usr/local/bin:/usr/bin:/bin",
            platform="linux",
            owner=OWNER,
            is_root=os.geteuid() == 0,
            folder=tmp_path,
            clock=clock,
        )
        agent = ClaudeCode(host)
        async with model_api(script) as api, opened(tmp_path, clock, agent) as room:
            yield Real(room, api, agent)

    return start


async def test_text_arrives_while_it_is_written(claude: Any) -> None:
    gate = Gate()
    async with claude([say("one ", gate, "two")]) as real:
        await real.room.submit(real.task("Hello", system_prompt="Answer like a pirate."))
        await real.said(lambda words: words == "one ")
        gate.open()
        outcome = await real.outcome()
        assert (outcome.state, outcome.text) == (RunState.COMPLETED, "one two")
        assert outcome.session_id
        assert outcome.usage is not None
        assert outcome.usage.cost_usd is None
        [asked] = real.api.requests
        assert (asked.prompts[-1], asked.key) == ("Hello", "sk-task")
        assert "Answer like a pirate." in asked.system


async def test_members_and_instructions_reach_it_and_no_file_of_the_users_changes(
    each_claude_cli: Path, tmp_path: Path
) -> None:
    member = Member(name="reviewer-2", description="Reviews.", prompt="You are the reviewer.")
    folder = tmp_path / "workspace" / "project"
    folder.mkdir(parents=True)
    (folder / "AGENTS.md").write_text("Always use tabs.")
    call = use("Agent", description="d", prompt="Please review.", subagent_type=member.name)
    async with claude_at(each_claude_cli, tmp_path)(
        [call, *map(say, ("Fine.", "Done.", "All done."))]
    ) as real:
        await real.agent.availability()
        await real.run("Lead", members=(member,), workspace=Folder(path=str(folder)))
        reviewer = [asked for asked in real.api.requests if member.prompt in asked.system]
        assert {asked.prompts[-1] for asked in reviewer} == {"Please review."}
        [first, *_] = real.api.requests
        assert json.dumps(first.body).count("Always use tabs.") == 1
    assert [path.name for path in folder.iterdir()] == ["AGENTS.md"]


async def test_a_tool_writes_a_file_and_a_follow_up_knows_the_talk(claude: Any) -> None:
    script = [use("Write", file_path="hello.txt", content="hi\n"), say("Written."), say("Again.")]
    async with claude(script) as real:
        assert (await real.run("Write it")).text == "Written."
        assert (real.room.root / "1" / "hello.txt").read_text() == "hi\n"
        kinds = [type(event) for event in real.room.door.events()]
        assert {ToolStarted, ToolFinished, FileChanged} <= set(kinds)
        first = await real.outcome()
        again = await real.run("And?", run_id="run_2", request_key="another turn", subtask_id=2)
        assert (again.text, again.session_id) == ("Again.", first.session_id)
        assert real.api.requests[-1].prompts[-2:] == ("Write it", "And?")


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (401, "invalid x-api-key", "model_key_refused"),
        (400, "this model does not like pictures", "model_refused"),
        (404, "model: no-such-model", "model_unknown"),
    ],
)
async def test_an_error_of_the_model_ends_the_run_soon_and_in_words(
    claude: Any, status: int, message: str, code: str
) -> None:
    async with claude(lambda _: Failure(status, message)) as real:
        async with asyncio.timeout(15):
            outcome = await real.run("Hello")
        assert outcome.error is not None
        assert (outcome.state, outcome.error.code) == (RunState.FAILED, code)
        assert str(status) in outcome.error.detail


async def test_a_cancel_in_the_middle_of_a_text_keeps_it_and_leaves_nothing(claude: Any) -> None:
    async with claude([say("one ", Gate(), "two")]) as real:
        await real.room.submit(real.task("Hello"))
        await real.said(lambda words: words == "one ")
        async with asyncio.timeout(8):
            assert real.room.executor.cancel("run_1") is CancelAnswer.CANCELLING
            outcome = await real.outcome()
        assert (outcome.state, outcome.text) == (RunState.CANCELLED, "one ")


async def test_a_cancel_during_a_compound_shell_tool_leaves_nothing(claude: Any) -> None:
    command = "touch started; setsid sleep 300 & sleep 300; true"
    async with claude([use("Bash", command=command)]) as real:
        await real.room.submit(real.task("Hello"))
        await until((real.room.root / "1" / "started").exists, 60)
        async with asyncio.timeout(8.5):
            real.room.executor.cancel("run_1")
            outcome = await real.outcome()
        assert outcome.state is RunState.CANCELLED


async def test_a_lost_session_is_replaced_by_a_new_one(claude: Any) -> None:
    async with claude([say("New.")]) as real:
        lost = "00000000-0000-4000-8000-00000000dead"
        task = real.task("Hello")
        await real.room.journal.save_session(task.conversation_key, "claude_code", lost)
        outcome = await real.run("Hello")
        assert (outcome.state, outcome.text) == (RunState.COMPLETED, "New.")
        assert outcome.session_id != lost


@pytest.mark.parametrize("prompt", ["/clear the table", "-p --version", "--help", "# 你好\n\n!ls"])
async def test_prompts_are_words_and_never_commands(claude: Any, prompt: str) -> None:
    async with claude([say("Read.")]) as real:
        assert (await real.run(prompt)).text == "Read."
        assert real.api.requests[0].prompts[-1].strip() == prompt


async def test_a_long_chinese_answer_arrives_whole(claude: Any) -> None:
    parts = [f"第{n}行：你好，世界🌍。\n" * 10 for n in range(1000)]
    async with claude([say(*parts)]) as real:
        outcome = await real.run("Write a lot")
        assert outcome.text == "".join(parts)
        assert len(outcome.text.encode()) > 300_000


async def test_five_side_by_side_have_their_own_answers(claude: Any) -> None:
    def answer(asked: ModelRequest) -> Reply:
        if asked.tool_results:
            return say(f"answer to {asked.prompts[-1]}")
        return Reply((Text("I look. "), ToolUse("Bash", {"command": "pwd"})))

    async with claude(answer) as real:
        for number in range(1, 6):
            await real.room.submit(real.task(f"question {number}", number))
        for number in range(1, 6):
            outcome = await real.outcome(f"run_{number}")
            assert outcome.text.endswith(f"answer to question {number}")
            [tool] = [
                event
                for event in real.room.door.events(f"run_{number}")
                if isinstance(event, ToolFinished)
            ]
            assert tool.output == str(real.room.root / str(number))


async def test_the_users_key_never_reaches_the_model_service_of_a_task(claude: Any) -> None:
    async with claude([]) as real:
        model = ModelConfig(env={"ANTHROPIC_BASE_URL": real.api.url})
        outcome = await real.run("Hello", model=model)
        assert outcome.error is not None
        assert outcome.error.code == "claude_code_not_signed_in"
        assert real.api.requests == []
        assert not [e for e in real.room.door.events() if isinstance(e, TextDelta)]
