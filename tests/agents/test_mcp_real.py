"""The real CLIs use a task's own server of tools, and what it needs stands in no command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from executor_core.agents.agent import Agent
from executor_core.agents.claude_code import ClaudeCode
from executor_core.agents.codex import Codex
from executor_core.agents.host import AgentHost
from executor_core.agents.opencode import OpenCode
from executor_core.model import ModelConfig, Notice, ToolFinished, ToolStarted
from tests.process.children import carriers_of, told_by
from tests.support import mcp_server, openai_api
from tests.support.agent_stage import agent_host, assignment, running
from tests.support.chat_api import chat_api
from tests.support.model_api import Reply, Text, ToolUse, model_api, say
from tests.support.real_cli import real_cli
from tests.support.scripted_api import Gate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ANSWER = f"pong hello {mcp_server.WORD}"
SERVERS = mcp_server.config() | {"odd": {"type": "carrier-pigeon", "url": "x"}}


class Case(NamedTuple):
    """An agent, the model API that it speaks, and what the tool is called on both sides."""

    agent: Callable[[AgentHost], Agent]
    api: Callable[[Any], Any]
    reply: Callable[..., Any]
    call: Any
    shown: str


CASES = {
    "claude_code": Case(
        ClaudeCode, model_api, Reply, ToolUse("mcp__stub__ping", {}), "mcp__stub__ping"
    ),
    "codex": Case(
        Codex,
        openai_api.openai_api,
        openai_api.Reply,
        openai_api.McpUse("stub", "ping", {}),
        "mcp__stub__ping",
    ),
    "opencode": Case(OpenCode, chat_api, Reply, ToolUse("stub_ping", {}), "stub_ping"),
}


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    """An agent whose program is there: on first use npm installs it, which takes a while."""
    request.getfixturevalue(f"{request.param.removesuffix('_code')}_cli")
    return str(request.param)


async def test_a_tasks_server_of_tools_is_used_and_its_secrets_are_seen_nowhere(
    name: str, tmp_path: Path
) -> None:
    case = CASES[name]
    gate = Gate()
    says = openai_api.say if name == "codex" else say
    script = [case.reply((Text("I ", gate, "ask."), case.call)), says("Done.")]
    (tmp_path / "private").mkdir()
    async with case.api(script) as api:
        host = agent_host(tmp_path, real_cli(name))
        model = ModelConfig(
            model="gpt-5.5" if name == "codex" else "m1", api_key="sk-task", base_url=api.url,
            protocol="anthropic" if name == "claude_code" else None,
        )  # fmt: skip
        task = assignment(
            tmp_path, model=model, private_home=tmp_path / "private", mcp_servers=SERVERS
        )
        async with running(case.agent(host), host, task) as run:
            await run.until(lambda: run.text.startswith("I "))
            argv = told_by(carriers_of(run.marker), psutil.Process.cmdline)
            gate.open()
            assert (await run.result()).error is None
            assert run.text.endswith("Done.")
            assert [event.name for event in run.of(ToolStarted)] == [case.shown]
            assert [event.output for event in run.of(ToolFinished)] == [ANSWER]
            assert [notice.code for notice in run.of(Notice)] == ["mcp_left_out"]
            assert run.processes() == []
        assert len(api.requests) == 2
    assert any(mcp_server.PROGRAM in words for words in argv)
    assert mcp_server.WORD not in str(argv)
    # What the tool said belongs to the agent's own record of the talk; what it was given does not.
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [content for content in files if b"STUB_API_KEY" in content]
