"""A task's servers of tools, in the shape that each agent takes, and out of everybody's sight."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.acp_dialogue import AcpDialogue
from executor_core.agents.agent import Assignment
from executor_core.agents.claude_code import _EXPANDED, arguments
from executor_core.agents.codex_dialogue import CodexDialogue
from executor_core.agents.mcp import McpServer, mcp_servers, without_keys
from executor_core.agents.scratch import MCP_FILE, forget_secrets
from executor_core.model import AgentEvent, ModelConfig, Notice
from executor_core.process import MARKER

DOCS = {"type": "http", "url": "https://docs.example.com/mcp", "headers": {"Authorization": "s3"}}
FILES = {"command": "serve-files", "args": ["--root", "/"], "env": {"TOKEN": "s3"}}
NEWS = {"type": "sse", "url": "https://news.example.com/sse"}
ALL: dict[str, dict[str, Any]] = {"docs": DOCS, "my.files": FILES, "news": NEWS}


def task(folder: Path, **more: Any) -> Assignment:
    fields: dict[str, Any] = {"run_id": "r", "prompt": "Hi", "folder": folder, "scratch": folder}
    return Assignment(**fields | {"mcp_servers": ALL} | more)


def test_servers_are_read_as_claude_code_writes_them() -> None:
    found, notices = mcp_servers(ALL, agent="Any")
    assert notices == []
    assert [(server.name, server.kind) for server in found] == [
        ("docs", "http"),
        ("my_files", "stdio"),
        ("news", "sse"),
    ]
    assert found[1] == McpServer(
        name="my_files",
        title="my.files",
        kind="stdio",
        command="serve-files",
        args=("--root", "/"),
        env={"TOKEN": "s3"},
    )
    assert "s3" not in repr(found)


@pytest.mark.parametrize(
    "config",
    [
        DOCS | {"url": "https://docs.example.com/?k=${ANTHROPIC_API_KEY}"},
        DOCS | {"headers": {"X": "a ${GH_TOKEN:-b}"}},
        FILES | {"args": ["${HOME}"]},
        FILES | {"env": {"A": "${A}"}},
        FILES | {"command": "${SHELL}"},
    ],
)
def test_one_that_would_read_the_owners_variables_is_left_out_in_words(
    config: dict[str, Any],
) -> None:
    found, [notice] = mcp_servers({"evil": config}, agent="Any", expands=_EXPANDED)
    assert (found, notice.code, "evil" in notice.text) == ([], "mcp_left_out", True)
    assert mcp_servers({"evil": config}, agent="Any")[0]


def test_a_program_of_a_task_gets_none_of_the_owners_keys() -> None:
    docs, files = mcp_servers({"docs": DOCS, "files": FILES}, agent="Any")[0]
    env = {"HOME": "/h", "ANTHROPIC_API_KEY": "k", "TOKEN": "mine", "SSH_AUTH_SOCK": "/s"}
    assert without_keys(docs, env) == docs
    assert without_keys(files, env).env == {"ANTHROPIC_API_KEY": "", "TOKEN": "s3"}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"type": "stdio"},
        {"type": "http", "command": "x"},
        {"type": "odd", "url": "x"},
        {"url": 7},
    ],
)
def test_one_that_cannot_be_used_is_left_out_in_words(config: dict[str, Any]) -> None:
    found, [notice] = mcp_servers({"docs": config}, agent="Mine")
    assert found == []
    assert "Mine" in notice.text
    assert "docs" in notice.text


@pytest.mark.parametrize(
    ("titles", "names"),
    [
        (["天气", "地图"], ["server", "server_2"]),
        (["a.b", "a_b", "a/b"], ["a_b_2", "a_b", "a_b_3"]),
        (["天气", "server"], ["server_2", "server"]),
        (["天气 api", "地图 api"], ["___api", "___api_2"]),
        (["x" * 65, "x" * 66], ["x" * 64, "x" * 64 + "_2"]),
        ([""], ["server"]),
    ],
)
def test_two_servers_stay_two_whatever_they_are_called(titles: list[str], names: list[str]) -> None:
    found, _ = mcp_servers(dict.fromkeys(titles, DOCS), agent="Any")
    assert [(server.title, server.name) for server in found] == list(
        zip(titles, names, strict=True)
    )


# --- Claude Code ----------------------------------------------------------------------------------


def test_claude_code_is_named_a_file_that_only_this_user_can_read_and_that_goes(
    tmp_path: Path,
) -> None:
    argv = arguments(task(tmp_path), mcp_servers(ALL, agent="Claude Code")[0])
    path = tmp_path / MCP_FILE
    assert f"--mcp-config={path}" in argv
    assert "s3" not in " ".join(argv)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["mcpServers"] == {
        "docs": DOCS,
        "my_files": {"type": "stdio", **FILES},
        "news": NEWS | {"headers": {}},
    }
    forget_secrets(tmp_path)
    assert not path.exists()
    forget_secrets(tmp_path)


def test_without_servers_there_is_no_file(tmp_path: Path) -> None:
    assert not [part for part in arguments(task(tmp_path)) if part.startswith("--mcp-config")]
    assert not (tmp_path / MCP_FILE).exists()


# --- Codex ----------------------------------------------------------------------------------------


def heard(dialogue: CodexDialogue | AcpDialogue, *messages: dict[str, Any]) -> list[AgentEvent]:
    return [event for one in messages for event in dialogue.feed(json.dumps(one).encode())]


def test_codex_is_told_them_with_its_thread_and_left_out_ones_are_said(tmp_path: Path) -> None:
    own = {"private_home": tmp_path, "model": ModelConfig(model="m", api_key="k")}
    dialogue = CodexDialogue(task(tmp_path, **own))
    opened = json.loads(dialogue.outgoing().splitlines()[-1])
    assert opened["params"]["config"]["mcp_servers"] == {
        "docs": {"url": DOCS["url"], "http_headers": DOCS["headers"]},
        "my_files": {**FILES, "env_vars": [MARKER]},
    }
    events = heard(dialogue, {"id": "thread", "result": {"thread": {"id": "t"}}})
    [notice] = [event.text for event in events if isinstance(event, Notice)]
    assert "news" in notice


def test_codex_keeps_the_users_provider_beside_them(tmp_path: Path) -> None:
    dialogue = CodexDialogue(task(tmp_path), provider={"name": "Codex"})
    heard(dialogue, {"id": "login", "result": {"account": None, "requiresOpenaiAuth": True}})
    opened = json.loads(dialogue.outgoing().splitlines()[-1])
    assert opened["params"]["config"].keys() == {"model_providers", "mcp_servers"}


# --- Agent Client Protocol ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("abilities", "told", "left_out"),
    [
        ({}, ["my_files"], ["docs", "news"]),
        ({"mcpCapabilities": {"http": True}}, ["docs", "my_files"], ["news"]),
        ({"mcpCapabilities": {"http": True, "sse": True}}, ["docs", "my_files", "news"], []),
    ],
)
@pytest.mark.parametrize("session", [None, "s"])
def test_an_acp_agent_is_told_those_of_the_kinds_that_it_takes(
    abilities: dict[str, Any],
    told: list[str],
    left_out: list[str],
    session: str | None,
    tmp_path: Path,
) -> None:
    dialogue = AcpDialogue(task(tmp_path, session_id=session), "Mine")
    dialogue.outgoing()
    able = {"loadSession": True} | abilities
    heard(dialogue, {"id": 1, "result": {"protocolVersion": 1, "agentCapabilities": able}})
    opened = json.loads(dialogue.outgoing())
    servers = opened["params"]["mcpServers"]
    assert [server["name"] for server in servers] == told
    assert {"name": "TOKEN", "value": "s3"} in servers[told.index("my_files")]["env"]
    events = heard(dialogue, {"id": 2, "result": {"sessionId": "s"}})
    notices = " ".join(event.text for event in events if isinstance(event, Notice))
    assert [name for name in ALL if name in notices] == left_out
