"""`device.agent`: a server asks for Claude Code, and the agent that the user chose answers."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor_core.hub import Dialect
from tests.support import acp_agent, mcp_server
from tests.support.acp_agent import steps
from tests.support.executor_process import ExecutorProcess
from tests.support.hub_server import HubServer, Turn
from tests.support.openai_api import McpUse, OpenAiApi, Reply, openai_api, say, shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

KEY = "sk-key-of-the-task"
HOLD_S = 40
DIALECTS = pytest.mark.parametrize("dialect", ["responses", "progress"])


async def started(
    make: Callable[[Path], ExecutorProcess], bin: Path, hub: HubServer, toml: str
) -> ExecutorProcess:
    """An executor whose device answers everything with one agent, online."""
    executor = make(bin)
    if (node := shutil.which("node")) is not None:
        executor.env["PATH"] += f":{Path(node).parent}"
    executor.connect_to(hub.url, hub.hub.device_token())
    executor.configure(toml)
    executor.start()
    await executor.online()
    return executor


async def answered_by(executor: ExecutorProcess, hub: HubServer, *turns: Turn) -> str:
    """The agent of all these turns, each of which has had one last word; nothing of it runs."""
    await executor.until_delivered()
    assert [len(hub.terminals_of(turn)) for turn in turns] == [1] * len(turns)
    await executor.until_alone()
    runs = await executor.runs()
    sessions = {run.outcome.session_id for run in runs if run.outcome}
    assert len(runs) == len(turns)
    assert len(sessions) == 1
    [agent] = {run.run.agent for run in runs}
    return agent


def codex_model(api: OpenAiApi) -> dict[str, Any]:
    return {"model": "openai", "model_id": "gpt-5.5", "api_key": KEY, "base_url": api.url}


@DIALECTS
async def test_codex_answers_a_task_for_claude_code_and_goes_on_with_the_talk(
    dialect: Dialect,
    hub: HubServer,
    make_executor: Callable[[Path], ExecutorProcess],
    codex_cli: Path,
) -> None:
    device = await started(make_executor, codex_cli.parent, hub, 'device.agent = "codex"\n')
    script = [shell("echo hi > made.txt"), say("I wrote ", "it."), say("As I said.")]
    async with openai_api(script) as api:
        sent = await hub.dispatch("Write it", model_config=codex_model(api))
        answer = await hub.until_status(sent, "COMPLETED", HOLD_S)
        assert answer["text"] == "I wrote it."
        folder = device.home / "workspace" / str(sent.task_id)
        assert (folder / "made.txt").read_text() == "hi\n"
        again = await hub.follow_up(sent, "And?", model_config=codex_model(api))
        answer = await hub.until_status(again, "COMPLETED", HOLD_S)
        assert answer["text"] == "As I said."
        assert api.requests[-1].prompts[-2:] == ("Write it", "And?")
        assert {request.key for request in api.requests} == {KEY}
    assert await answered_by(device, hub, sent, again) == "codex"


@DIALECTS
async def test_an_acp_agent_answers_a_task_for_claude_code_and_goes_on_with_the_talk(
    dialect: Dialect, hub: HubServer, make_executor: Callable[[Path], ExecutorProcess]
) -> None:
    command = [sys.executable, acp_agent.__file__, "load"]
    toml = f'device.agent = "mine"\n[[agents.acp]]\nname = "mine"\ncommand = {json.dumps(command)}'
    device = await started(make_executor, Path(sys.executable).parent, hub, toml)
    first, second = steps(["say", "One ", "word."]), steps(["recall"])
    sent = await hub.dispatch(first)
    answer = await hub.until_status(sent, "COMPLETED", HOLD_S)
    assert answer["text"] == "One word."
    again = await hub.follow_up(sent, second)
    answer = await hub.until_status(again, "COMPLETED", HOLD_S)
    assert answer["text"].splitlines() == [first, second, "|0"]
    assert await answered_by(device, hub, sent, again) == "mine"


async def test_a_model_that_the_chosen_agent_cannot_speak_to_is_said_in_the_chat(
    hub: HubServer, make_executor: Callable[[Path], ExecutorProcess], codex_cli: Path
) -> None:
    device = await started(make_executor, codex_cli.parent, hub, 'device.agent = "codex"\n')
    model = {"model": "claude", "model_id": "claude-x", "api_key": KEY, "protocol": "anthropic"}
    sent = await hub.dispatch("Hello", model_config=model)
    answer = await hub.until_status(sent, "FAILED", HOLD_S)
    assert "Codex cannot talk to this model" in answer["error"]
    await device.until_alone()


async def test_a_tasks_own_server_of_tools_is_used_and_its_secret_stays_out_of_every_file(
    hub: HubServer, make_executor: Callable[[Path], ExecutorProcess], codex_cli: Path
) -> None:
    device = await started(make_executor, codex_cli.parent, hub, 'device.agent = "codex"\n')
    bot = {"id": 1, "name": "b", "shell_type": "ClaudeCode", "mcp_servers": mcp_server.config()}
    async with openai_api([Reply((McpUse("stub", "ping", {}),)), say("Done.")]) as api:
        sent = await hub.dispatch("Ping", model_config=codex_model(api), bot=[bot])
        answer = await hub.until_status(sent, "COMPLETED", HOLD_S)
        assert f"pong hello {mcp_server.WORD}" in api.requests[1].tool_results[0]
    assert [tool["name"] for tool in answer["tools"]] == ["mcp__stub__ping"]
    await device.until_alone()
    word = mcp_server.WORD.encode()
    # The agent's own record of the talk lies in its private home; all else is ours.
    ours = [path for name in ("runs", "logs") for path in (device.home / name).rglob("*")]
    files = [*(path for path in ours if path.is_file()), *device.home.glob("*.db*")]
    assert files
    assert not [path for path in files if word in path.read_bytes()]
    assert mcp_server.WORD not in device.output
