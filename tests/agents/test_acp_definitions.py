"""Agents of the Agent Client Protocol: how they are configured, known and found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.acp import AcpAgent, definitions_from
from executor_core.agents.catalog import AcpDefinition, known_agents
from executor_core.errors import ExecutorError
from tests.support.agent_stage import agent_host


def test_three_lines_define_an_agent() -> None:
    table = {"name": "mine", "command": "my-agent --mode 'two words'", "env": {"KEY": "v"}}
    assert definitions_from([table]) == (
        AcpDefinition(
            name="mine",
            title="mine",
            command=("my-agent", "--mode", "two words"),
            env={"KEY": "v"},
        ),
    )


def test_a_command_may_be_a_list_and_an_agent_may_have_a_title() -> None:
    table = {"name": "mine", "title": " My agent ", "command": ["/opt/my agent", "acp"]}
    (found,) = definitions_from([table])
    assert (found.title, found.command) == ("My agent", ("/opt/my agent", "acp"))


def test_no_configuration_defines_no_agent() -> None:
    assert definitions_from([]) == ()


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ("mine", "Agent number 1: it must be a table"),
        ([{"name": "a", "command": "a"}, "b"], "Agent number 2: it must be a table"),
        ([{"command": "a"}], "`name` must be a word"),
        ([{"name": "My Agent", "command": "a"}], "`name` must be a word"),
        ([{"name": "a" * 41, "command": "a"}], "`name` must be a word"),
        ([{"name": "a"}], "`command` must be a command line"),
        ([{"name": "a", "command": "  "}], "`command` must be a command line"),
        ([{"name": "a", "command": "a 'b"}], "`command` must be a command line"),
        ([{"name": "a", "command": ["a", 1]}], "`command` must be a command line"),
        ([{"name": "a", "command": "a", "env": ["K=v"]}], "`env` must be a table"),
        ([{"name": "a", "command": "a", "env": {"K": 1}}], "`env` must be a table"),
        ([{"name": "a", "command": "a", "title": ""}], "`title` must be a text"),
        ([{"name": "a", "command": "a", "args": []}], "no setting `args`"),
        ([{"name": "codex", "command": "a"}], "the name “codex” is taken"),
        ([{"name": "a", "command": "a"}] * 2, "Agent number 2: the name “a” is taken"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_number_and_the_reason(tables: Any, reason: str) -> None:
    with pytest.raises(ExecutorError) as caught:
        definitions_from(tables)
    assert caught.value.code == "acp_agent_invalid"
    assert reason in caught.value.message.detail


def test_keys_of_a_definition_are_not_shown_where_it_is_printed() -> None:
    assert "secret" not in repr(
        definitions_from([{"name": "a", "command": "a", "env": {"K": "secret"}}])
    )


def test_the_known_agents_are_complete_and_do_not_hide_ours() -> None:
    known = tuple(
        AcpDefinition(name=one.name, title=one.title, command=one.command, env=one.env)
        for one in known_agents()
    )
    assert {"gemini", "goose", "qwen_code"} <= {definition.name for definition in known}
    as_configured: list[Any] = [
        {"name": one.name, "title": one.title, "command": list(one.command), "env": one.env}
        for one in known
    ]
    assert definitions_from(as_configured) == known


async def test_an_agent_is_usable_where_its_program_is_found(tmp_path: Path) -> None:
    definition = AcpDefinition(name="mine", title="Mine", command=(sys.executable, "agent.py"))
    found = await AcpAgent(agent_host(tmp_path), definition).availability()
    assert (found.is_usable, found.path, found.problem) == (True, sys.executable, None)


async def test_a_missing_agent_says_which_program_was_looked_for(tmp_path: Path) -> None:
    definition = AcpDefinition(name="mine", title="Mine", command=("no-such-agent", "acp"))
    found = await AcpAgent(agent_host(tmp_path), definition).availability()
    assert not found.is_usable
    assert found.problem is not None
    assert found.problem.code == "acp_agent_missing"
    assert "`no-such-agent`" in found.problem.detail
