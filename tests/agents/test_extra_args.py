"""Further arguments for an agent's command: what is listed passes, all else is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from executor_core.agents import Agents, Assignment, ClaudeCode, claude_code, codex
from executor_core.agents.agent import checked_extra_args
from executor_core.agents.registry import agents_here
from executor_core.errors import ExecutorError
from tests.support.agent_stage import agent_host


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ([], []),
        (["--max-turns", "5"], ["--max-turns=5"]),
        (["--max-turns=5", "--effort", "high"], ["--max-turns=5", "--effort=high"]),
        (["--fallback-model=claude-x[1m]"], ["--fallback-model=claude-x[1m]"]),
        (["--max-budget-usd", "1.50"], ["--max-budget-usd=1.50"]),
    ],
)
def test_listed_arguments_pass_as_one_word_each(given: list[str], passed: list[str]) -> None:
    assert checked_extra_args("claude_code", claude_code.EXTRA_ARGS, given) == passed


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--add-dir", "/"], "--add-dir"),
        (["--max-turns"], "--max-turns"),
        (["--max-turns", "many"], "--max-turns many"),
        (["--max-turns=5\n"], "--max-turns 5"),
        (["--effort", "--dangerously-skip-permissions"], "--effort --dangerously-skip-permissions"),
        (["--fallback-model", "-p"], "--fallback-model -p"),
        (["--max-turns", "5", "hello"], "hello"),
        ([""], ""),
        (["-" * 500], "-" * 80),
    ],
)
def test_all_else_is_refused_with_what_is_allowed(given: list[str], named: str) -> None:
    with pytest.raises(ExecutorError) as caught:
        checked_extra_args("claude_code", claude_code.EXTRA_ARGS, given)
    assert caught.value.code == "extra_arg_refused"
    info = caught.value.message
    assert f"“{named}" in info.detail
    assert "--effort low|medium|high|xhigh|max" in info.hint


@pytest.mark.parametrize(
    "setting",
    [
        'model_provider="x"',
        "sandbox_mode=danger-full-access",
        "model_reasoning_effort=high\nx",
        "mcp_servers.x.command=sh",
        "shell_environment_policy.inherit=all",
    ],
)
def test_codex_takes_no_setting_but_how_hard_it_thinks(setting: str) -> None:
    with pytest.raises(ExecutorError, match="extra_arg_refused"):
        checked_extra_args("codex", codex.EXTRA_ARGS, ["--config", setting])
    assert checked_extra_args("codex", codex.EXTRA_ARGS, ["--config=model_verbosity=low"])


def test_every_agent_is_asked_by_name_and_one_without_a_table_takes_none(tmp_path: Path) -> None:
    class Silent:
        name = "silent"

    agents = agents_here(agent_host(tmp_path), ())
    for name in agents.names:
        agents.check_extra_args(name, ())
        with pytest.raises(ExecutorError, match="extra_arg_refused"):
            agents.check_extra_args(name, ["--add-dir=/"])
    foreign: Any = Silent()
    with pytest.raises(ExecutorError, match="extra_arg_refused"):
        Agents([foreign]).check_extra_args("silent", ["--x"])
    with pytest.raises(ExecutorError, match="agent_unknown"):
        agents.check_extra_args("nobody", ())


def test_they_stand_on_the_command_of_the_agent(tmp_path: Path) -> None:
    extra = ("--max-turns", "5")
    task = Assignment(run_id="r", prompt="p", folder=tmp_path, scratch=tmp_path, extra_args=extra)
    assert "--max-turns=5" in claude_code.arguments(task)
    assert ClaudeCode.extra_args is claude_code.EXTRA_ARGS
    extra = ("--config", "model_reasoning_effort=low")
    task = Assignment(run_id="r", prompt="p", folder=tmp_path, scratch=tmp_path, extra_args=extra)
    assert "--config=model_reasoning_effort=low" in codex.arguments(task)
    assert "--config=model_reasoning_effort=low" in codex.exec_arguments(task)
