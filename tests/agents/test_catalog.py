"""The agents of the protocol's registry: complete, found by every name, and held to our verdict."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from executor_core.agents import Agents, agents_here
from executor_core.agents.acp import SETTINGS, AcpAgent
from executor_core.agents.catalog import (
    AcpDefinition,
    KnownAgent,
    known_agent,
    known_agents,
    nearest_names,
    successor_of,
)
from executor_core.agents.install import PACKAGES, package_of
from executor_core.errors import ExecutorError
from tests.agents.conformance import SCENARIOS
from tests.support.agent_stage import agent_host

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
OURS = {"claude_code", "codex", "codex_exec", "opencode", "demo"}
EACH = pytest.mark.parametrize("agent", known_agents(), ids=lambda agent: agent.name)


def here(folder: Path) -> Agents:
    return agents_here(agent_host(folder), ())


def test_the_registry_of_the_protocol_is_there_whole_with_opencode_as_one_of_ours() -> None:
    names = [agent.name for agent in known_agents()]
    assert len(names) == 38
    assert names == sorted(set(names) - OURS)


@EACH
def test_each_says_where_it_comes_from_in_one_way(agent: KnownAgent) -> None:
    source = agent.install
    assert sum(one is not None for one in (source.npm, source.pypi, source.binary)) == 1
    assert NAME.fullmatch(agent.name)
    assert agent.command[0]
    assert agent.is_installable == (package_of(agent.name) is not None)
    for _, digest in (source.binary.files if source.binary else {}).values():
        assert re.fullmatch(r"[0-9a-f]{64}", digest)


@EACH
def test_a_verdict_has_a_word_for_every_scenario(agent: KnownAgent) -> None:
    if agent.seen is not None:
        assert agent.seen.scenarios.keys() == SCENARIOS.keys()
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", agent.seen.date)


def test_what_a_folder_configures_is_known_only_of_agents_that_there_are() -> None:
    assert {agent.name for agent in known_agents()} >= SETTINGS.keys()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mistral-vibe", "mistral_vibe"),
        ("github-copilot-cli", "copilot"),
        ("Factory-Droid", "droid"),
        ("claude-agent-acp", "claude_acp"),
        ("opencode", None),
        ("nobody", None),
    ],
)
def test_the_registrys_own_names_lead_to_ours(name: str, found: str | None, tmp_path: Path) -> None:
    known = known_agent(name)
    assert (known.name if known else None) == found
    if found is not None:
        assert here(tmp_path).get(name).name == found


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gemni", "gemini"),
        ("claude", "claude_code"),
        ("claude-code-acp", "claude_acp"),
        ("@zed-industries/claude-code-acp", "claude_acp"),
        ("quen code", "qwen_code"),
        ("opencod", "opencode"),
    ],
)
def test_a_name_that_is_not_known_says_the_nearest(name: str, meant: str, tmp_path: Path) -> None:
    assert meant in nearest_names(name)
    with pytest.raises(ExecutorError) as caught:
        here(tmp_path).get(name)
    assert meant in caught.value.message.detail


def test_a_name_that_is_like_none_says_only_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError) as caught:
        here(tmp_path).get("zzz")
    assert caught.value.message.detail == "Known on this computer: claude_code, codex, opencode."


async def test_a_program_that_is_not_kept_up_any_more_is_used_and_its_successor_named(
    tmp_path: Path,
) -> None:
    program = tmp_path / "claude-code-acp"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    definition = AcpDefinition(name="mine", title="Mine", command=(str(program),))
    found = await AcpAgent(agent_host(tmp_path), definition).availability()
    assert found.is_usable
    assert found.remark is not None
    assert "agents install claude_acp" in found.remark
    assert successor_of("claude-agent-acp") is None


async def test_one_that_is_not_there_says_what_gets_it(tmp_path: Path) -> None:
    found = await here(tmp_path).get("gemini").availability()
    assert found.problem is not None
    assert "agents install gemini" in found.problem.hint


def test_what_installs_them_is_npm_or_pypi_and_ours_are_as_before() -> None:
    gemini, vibe = package_of("gemini"), package_of("mistral-vibe")
    assert gemini is not None
    assert vibe is not None
    assert (gemini.name, gemini.program, gemini.is_pypi) == ("@google/gemini-cli", "gemini", False)
    assert (vibe.name, vibe.program, vibe.is_pypi) == ("mistral-vibe", "vibe-acp", True)
    assert package_of("codex") is PACKAGES["codex"]
    assert package_of("goose") is None
