"""A real process that speaks the protocol through its own library, driven as every agent is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.acp import AcpAgent, AcpDefinition
from executor_core.errors import ExecutorError
from executor_core.model import (
    FileChanged,
    Image,
    ModelConfig,
    Notice,
    Permission,
    ReasoningDelta,
    ToolFinished,
    ToolStarted,
    Usage,
)
from tests.process.children import until
from tests.support import acp_agent
from tests.support.acp_agent import SESSION, steps
from tests.support.agent_stage import Run, agent_host, assignment, running

PROGRAM = str(Path(acp_agent.__file__))
END_S = 8.0


@asynccontextmanager
async def playing(
    folder: Path, *wanted: list[Any], abilities: tuple[str, ...] = (), **fields: Any
) -> AsyncIterator[Run]:
    """A run of the scripted agent that goes these steps."""
    host = agent_host(folder)
    command = (sys.executable, PROGRAM, *abilities)
    agent = AcpAgent(host, AcpDefinition(name="mine", title="Mine", command=command))
    async with running(agent, host, assignment(folder, steps(*wanted), **fields)) as run:
        yield run


async def test_a_turn_streams_and_changes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "ws" / "a.txt"
    turn = (
        ["print", "Welcome to my agent!"],
        ["think", "Hm."],
        ["say", "I ", "write."],
        ["edit", str(file), "hi\n"],
        ["ask_for_file"],
        ["plan", "Rest"],
        ["cost", 0.25],
    )
    async with playing(tmp_path, *turn) as run:
        result = await run.result()
        assert result.error is None
        assert result.usage == Usage(
            input_tokens=105, output_tokens=20, cached_tokens=5, cost_usd=0.25
        )
        assert run.text == "I write.\n\nrefused with -32601"
        assert [event.text for event in run.of(ReasoningDelta)] == ["Hm."]
        assert [event.name for event in run.of(ToolStarted)] == [f"edit {file}", "plan"]
        assert not any(event.is_error for event in run.of(ToolFinished))
        assert run.of(FileChanged) == [FileChanged(path=str(file), change="written")]
        assert file.read_text() == "hi\n"
        assert run.processes() == []


async def test_words_behind_the_end_of_the_turn_are_part_of_the_answer(tmp_path: Path) -> None:
    turn = (["say", "The answer is "], ["say_late", "forty-two."])
    async with playing(tmp_path, *turn) as run:
        assert (await run.result()).error is None
        assert run.text == "The answer is forty-two."


async def test_a_tool_server_without_a_program_is_told(tmp_path: Path) -> None:
    (tmp_path / "ws").mkdir()
    own = tmp_path / "ws" / "serve"
    own.touch(mode=0o755)
    servers = {"天气": {"command": "no-such-program"}, "own": {"command": "./serve"}}
    servers |= {"shell": {"command": "sh"}, "web": {"url": "https://x"}}
    async with playing(tmp_path, ["say", "Hi."], mcp_servers=servers) as run:
        await run.result()
        told = [(notice.code, notice.text) for notice in run.of(Notice)]
    [(dead, words), (left_out, _)] = told
    assert (dead, left_out) == ("mcp_dead", "mcp_left_out")
    assert "天气" in words
    assert "no-such-program" in words


async def test_a_cancel_in_the_middle_leaves_no_process(tmp_path: Path) -> None:
    turn = (
        ["shell", "sleep 300; true", False],
        ["shell", "nohup sleep 300 & sleep 300", True],
        ["say", "started"],
        ["wait"],
    )
    async with playing(tmp_path, *turn) as run:
        await run.until(lambda: run.text == "started")
        await until(lambda: run.processes().count("sleep") == 3)
        assert await run.cancel() < END_S
        assert run.processes() == []


@pytest.mark.slow
@pytest.mark.parametrize("ability", ["load", "resume"])
async def test_a_later_turn_goes_on_with_the_session(tmp_path: Path, ability: str) -> None:
    async with playing(tmp_path, ["say", "one"], abilities=(ability,)) as first:
        await first.result()
    fields = {"session_id": first.session_id, "system_prompt": "Be kind."}
    async with playing(tmp_path, ["recall"], abilities=(ability,), **fields) as second:
        assert (await second.result()).error is None
        assert second.session_id == SESSION
        prompts = second.text.removesuffix("|0").splitlines()
        assert prompts == [steps(["say", "one"]), steps(["recall"])]


@pytest.mark.slow
async def test_a_lost_session_is_told_so_that_a_new_one_can_be_begun(tmp_path: Path) -> None:
    async with playing(tmp_path, abilities=("load",), session_id="gone") as run:
        error = (await run.result()).error
        assert error
        assert error.code == "session_not_found"


@pytest.mark.slow
async def test_an_attended_agent_may_write_in_its_folder_only(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    permission = Permission.WORKSPACE_WRITE
    turn = (["edit", str(outside), "x"], ["say", "I may not."])
    async with playing(tmp_path, *turn, permission=permission) as run:
        assert (await run.result()).error is None
        assert [event.is_error for event in run.of(ToolFinished)] == [True]
        [notice] = run.of(Notice)
        assert (notice.code, str(outside) in notice.text) == ("tool_denied", True)
        assert not outside.exists()


@pytest.mark.slow
async def test_images_arrive(tmp_path: Path) -> None:
    images = (Image(media_type="image/png", data="aGk="),) * 2
    async with playing(tmp_path, ["recall"], abilities=("image",), images=images) as run:
        await run.result()
        assert run.text.endswith("|2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("turn", "abilities", "code"),
    [
        ([["fail", "Incorrect API key provided"]], (), "model_key_refused"),
        ([["fail", "", {"codex_error_info": "usage_limit_exceeded"}]], (), "model_usage_limit"),
        ([["think", "Hm."]], (), "agent_said_nothing"),
        ([["stop", "refusal"]], (), "agent_refused"),
        ([["say", "half"], ["die", 3]], (), "agent_ended_early"),
        ([], ("signed_out",), "agent_not_signed_in"),
        ([], ("old",), "acp_version_unknown"),
    ],
)
async def test_a_failure_is_told_in_words(
    tmp_path: Path, turn: list[list[Any]], abilities: tuple[str, ...], code: str
) -> None:
    async with playing(tmp_path, *turn, abilities=abilities) as run:
        error = (await run.result()).error
        assert error is not None
        assert error.code == code
        assert error.sentence.strip()


@pytest.mark.slow
async def test_the_tasks_key_stays_away_from_an_agent_that_cannot_use_it(tmp_path: Path) -> None:
    # The step prints the agent's own environment through a shell of its own.
    model = ModelConfig(model="m", api_key="sk-task", env={"OPENAI_API_KEY": "sk-task"})
    script = ["shell", "env > env.txt; mv env.txt done.txt", False]
    async with playing(tmp_path, script, ["say", "ok"], ["wait"], model=model) as run:
        await until(lambda: (tmp_path / "ws" / "done.txt").exists())
        assert [notice.code for notice in run.of(Notice)] == ["model_not_passed"]
        assert "sk-task" not in (tmp_path / "ws" / "done.txt").read_text()


async def test_a_missing_program_is_told_before_anything_starts(tmp_path: Path) -> None:
    definition = AcpDefinition(name="mine", title="Mine", command=("no-such-agent",))
    agent = AcpAgent(agent_host(tmp_path), definition)
    with pytest.raises(ExecutorError, match="acp_agent_missing"):
        await agent.run(assignment(tmp_path), lambda _: None, asyncio.Event())
