"""What a task may set in the environment of its agent."""

from __future__ import annotations

import pytest

from executor_core.agents import agents_here
from executor_core.agents.agent import named, task_variables
from executor_core.agents.claude_code import ClaudeCode
from executor_core.agents.codex import Codex
from executor_core.agents.opencode import OpenCode
from tests.agents.test_availability import Computer, computer

__all__ = ["computer"]


@pytest.mark.parametrize(
    "name",
    [
        "ANTHROPIC_BEDROCK_BASE_URL",
        "AWS_CA_BUNDLE",
        "BASH_ENV",
        "BUN_OPTIONS",
        "CLAUDE_CODE_SHELL_PREFIX",
        "CLAUDE_CONFIG_DIR",
        "CODEX_HOME",
        "DISABLE_AUTOUPDATER",
        "GCONV_PATH",
        "GIT_SSH_COMMAND",
        "HOME",
        "HTTPS_PROXY",
        "https_proxy",
        "IS_SANDBOX",
        "LD_PRELOAD",
        "NODE_EXTRA_CA_CERTS",
        "NODE_OPTIONS",
        "NODE_TLS_REJECT_UNAUTHORIZED",
        "NO_PROXY",
        "OPENCODE_CONFIG_CONTENT",
        "OPENSSL_CONF",
        "PATH",
        "PYTHONSTARTUP",
        "SSL_CERT_FILE",
        "TMPDIR",
        "WEGENT_RUN_MARKER",
        "XDG_CONFIG_HOME",
        "A=B",
        "",
    ],
)
@pytest.mark.parametrize(
    "names", [ClaudeCode.task_variables, Codex.task_variables, OpenCode.task_variables]
)
def test_a_task_sets_no_name_that_is_not_listed(names: frozenset[str], name: str) -> None:
    assert task_variables(names, {name: "x"}) == ({}, (name,))


def test_a_listed_name_is_taken_in_any_case_and_its_own_spelling_wins() -> None:
    wanted = {"openai_api_key": "a", "OPENAI_API_KEY": "b", "Openai_Base_Url": "c"}
    assert task_variables(Codex.task_variables, wanted).kept == {
        "OPENAI_API_KEY": "b",
        "OPENAI_BASE_URL": "c",
    }
    assert task_variables(Codex.task_variables, wanted).refused == ()


def test_a_value_that_no_environment_can_hold_is_refused() -> None:
    assert task_variables(Codex.task_variables, {"OPENAI_API_KEY": "a\0b"}) == (
        {},
        ("OPENAI_API_KEY",),
    )


def test_only_agents_that_we_know_take_any(computer: Computer) -> None:
    agents = agents_here(computer.host, ({"name": "mine", "command": "mine"},))
    taking = {name for name in agents.names if agents.get(name).task_variables}
    assert taking == {"claude_code", "codex", "codex_exec", "opencode"}


def test_what_a_stranger_wrote_is_named_within_bounds() -> None:
    assert named(["A", "B\x1b[2J"]) == r"A, 'B\x1b[2J'"
    assert named([str(n) for n in range(20)]) == "0, 1, 2, 3, 4, 5, 6, 7, …"
    assert len(named(["x" * 1000])) == 60
