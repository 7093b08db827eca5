"""With what Claude Code is started: its arguments, its variables, and whose login it uses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents import AgentHost, Assignment, ClaudeCode
from executor_core.agents.claude_code import (
    _VENDOR_VARIABLES,
    arguments,
    unread_instructions,
    variables,
)
from executor_core.errors import ExecutorError
from executor_core.model import ModelConfig, Permission
from tests.support.agent_stage import agent_host
from tests.support.clock import JumpingClock

OWN = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "ANTHROPIC_API_KEY": "my-key",
    "ANTHROPIC_BASE_URL": "http://mine.example.com",
    "ANTHROPIC_MODEL": "my-model",
    "CLAUDE_CODE_OAUTH_TOKEN": "my-login",
    "CLAUDE_CODE_USE_BEDROCK": "1",
    "HTTPS_PROXY": "http://proxy.example.com",
    "WEGENT_AUTH_TOKEN": "server-token",
}


def assignment(folder: Path, **fields: Any) -> Assignment:
    return Assignment(run_id="r", prompt="secret prompt", folder=folder, scratch=folder, **fields)


def environment(tmp_path: Path, *, is_root: bool = False, **fields: Any) -> dict[str, str]:
    """What the process sees, as ClaudeCode puts it together."""
    host = AgentHost(
        base=OWN, settings={}, path="/bin", platform="linux", owner="o", is_root=is_root,
        folder=tmp_path, clock=JumpingClock(),
    )  # fmt: skip
    wanted = assignment(tmp_path, **fields)
    without = _VENDOR_VARIABLES if wanted.brings_access else None
    return host.environment(variables(wanted, is_root=is_root), without=without)


def vendor(seen: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in seen.items() if _VENDOR_VARIABLES.match(name)}


# --- arguments -----------------------------------------------------------------------------------


def test_the_arguments_hold_neither_prompt_nor_secret(tmp_path: Path) -> None:
    model = ModelConfig(model="m", api_key="secret-key", headers={"h": "secret"})
    argv = arguments(assignment(tmp_path, model=model, system_prompt="secret words"))
    assert not [part for part in argv if "secret" in part]


@pytest.mark.parametrize(
    ("fields", "there", "missing"),
    [
        ({}, "--permission-mode bypassPermissions", "--resume"),
        ({"session_id": "s"}, "--resume=s", "--model"),
        ({"permission": Permission.WORKSPACE_WRITE}, "--permission-mode acceptEdits", "bypass"),
        ({"permission": Permission.PLAN}, "--permission-mode plan", "Bash"),
        ({"permission": Permission.AUTO}, "--permission-mode auto", "Bash"),
        ({"permission": Permission.READ_ONLY}, "--permission-mode dontAsk", "bypass"),
        ({"permission": Permission.READ_ONLY}, "AskUserQuestion,Bash,PowerShell,Edit,", "bypass"),
        ({"model": ModelConfig(model="opus")}, "--model=opus", "--resume"),
        ({"model": ModelConfig(model="-x")}, "--model=-x", "--resume"),
        ({"model": ModelConfig(model="m", api_key="k")}, "--strict-mcp-config", "--model"),
    ],
)
def test_arguments(tmp_path: Path, fields: dict[str, Any], there: str, missing: str) -> None:
    argv = " ".join(arguments(assignment(tmp_path, **fields)))
    assert there in argv
    assert missing not in argv


def test_a_conversation_of_another_task_is_gone_on_from_and_not_gone_on_in(tmp_path: Path) -> None:
    argv = arguments(assignment(tmp_path, session_id="s", is_fork=True))
    assert argv[-2:] == ["--resume=s", "--fork-session"]


@pytest.mark.parametrize(
    ("files", "reads_it", "is_told"),
    [
        (["AGENTS.md"], False, True),
        (["AGENTS.md"], True, False),
        (["agents.md"], True, True),
        (["AGENTS.md", "CLAUDE.md"], False, False),
        (["AGENTS.md", ".claude/CLAUDE.md"], False, False),
        ([], False, False),
    ],
)
def test_instructions_that_it_does_not_read_itself_are_told(
    files: list[str], reads_it: bool, is_told: bool, tmp_path: Path
) -> None:
    (tmp_path / ".claude").mkdir()
    for name in files:
        (tmp_path / name).write_text("Use tabs.")
    assert ("Use tabs." in unread_instructions(tmp_path, reads_it=reads_it)) is is_told


def test_instructions_are_told_from_the_top_of_the_repository_down(tmp_path: Path) -> None:
    folder = tmp_path / "project" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "project" / ".git").mkdir()
    for place in (tmp_path, tmp_path / "project", folder):
        (place / "AGENTS.md").write_text(f"Of {place.name}.")
    told = unread_instructions(folder, reads_it=False)
    assert [line for line in told.splitlines() if line.startswith("Of ")] == [
        "Of project.",
        "Of inner.",
    ]


def test_instructions_that_lie_elsewhere_are_not_told(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "secret").write_text("key")
    (project / "AGENTS.md").symlink_to(tmp_path / "secret")
    assert unread_instructions(project, reads_it=False) == ""


def test_a_system_prompt_of_any_length_goes_by_file(tmp_path: Path) -> None:
    words = "长" * 200_000
    [argument] = [
        part
        for part in arguments(assignment(tmp_path, system_prompt=words))
        if part.startswith("--append-system-prompt-file=")
    ]
    assert Path(argument.partition("=")[2]).read_text(encoding="utf-8") == words


# --- variables -----------------------------------------------------------------------------------


def test_without_model_access_of_its_own_a_task_uses_the_users_login(tmp_path: Path) -> None:
    seen = environment(tmp_path, model=ModelConfig(model="opus"))
    assert vendor(seen) == {name: value for name, value in OWN.items() if "my" in value} | {
        "ANTHROPIC_BASE_URL": OWN["ANTHROPIC_BASE_URL"],
        "CLAUDE_CODE_USE_BEDROCK": "1",
    }
    assert "CLAUDE_CONFIG_DIR" not in seen
    assert seen["HTTPS_PROXY"] == OWN["HTTPS_PROXY"]
    assert "WEGENT_AUTH_TOKEN" not in seen


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ModelConfig(api_key="k"), {"ANTHROPIC_API_KEY": "k"}),
        (
            ModelConfig(api_key="k", base_url="https://api.anthropic.com/"),
            {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "https://api.anthropic.com"},
        ),
        (
            ModelConfig(api_key="k", base_url="http://gateway.example.com/v1/"),
            {"ANTHROPIC_AUTH_TOKEN": "k", "ANTHROPIC_BASE_URL": "http://gateway.example.com"},
        ),
        (
            ModelConfig(base_url="http://gateway.example.com"),
            {"ANTHROPIC_BASE_URL": "http://gateway.example.com"},
        ),
        (
            ModelConfig(env={"ANTHROPIC_BASE_URL": "http://gateway.example.com"}),
            {"ANTHROPIC_BASE_URL": "http://gateway.example.com"},
        ),
        (
            ModelConfig(env={"ANTHROPIC_AUTH_TOKEN": "k", "ANTHROPIC_MODEL": "m"}),
            {"ANTHROPIC_AUTH_TOKEN": "k", "ANTHROPIC_MODEL": "m"},
        ),
        (
            ModelConfig(api_key="k", model="m"),
            {
                "ANTHROPIC_API_KEY": "k",
                "ANTHROPIC_MODEL": "m",
                "ANTHROPIC_SMALL_FAST_MODEL": "m",
                "ANTHROPIC_DEFAULT_HAIKU_MODEL": "m",
            },
        ),
        (
            ModelConfig(api_key="k", model="m", small_model="s"),
            {
                "ANTHROPIC_API_KEY": "k",
                "ANTHROPIC_MODEL": "m",
                "ANTHROPIC_SMALL_FAST_MODEL": "s",
                "ANTHROPIC_DEFAULT_HAIKU_MODEL": "s",
            },
        ),
        (
            ModelConfig(api_key="k", headers={"a": "1\r\nevil: 2", "b": " x "}),
            {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_CUSTOM_HEADERS": "a: 1 evil: 2\nb: x"},
        ),
    ],
)
def test_a_task_with_access_of_its_own_replaces_everything_of_the_vendor(
    tmp_path: Path, model: ModelConfig, expected: dict[str, str]
) -> None:
    seen = environment(tmp_path, model=model, private_home=tmp_path / "own")
    assert vendor(seen) == expected
    assert seen["CLAUDE_CONFIG_DIR"] == str(tmp_path / "own")
    assert seen["HOME"] == "/home/me"
    assert "my" not in "".join(value for name, value in seen.items() if name not in OWN)


@pytest.mark.parametrize(
    "env", [{"ANTHROPIC_API_KEY": ""}, {"ANTHROPIC_MODEL": "m"}, {"MY_API_KEY": "k"}]
)
def test_other_variables_of_a_task_leave_the_users_login_in_force(
    tmp_path: Path, env: dict[str, str]
) -> None:
    assert not ModelConfig(env=env).brings_access
    assert (
        environment(tmp_path, model=ModelConfig(env=env))["CLAUDE_CODE_OAUTH_TOKEN"] == "my-login"
    )


def test_a_task_cannot_change_our_switches_but_its_limits(tmp_path: Path) -> None:
    env = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "0", "CLAUDE_CODE_MAX_RETRIES": "2"}
    seen = environment(tmp_path, model=ModelConfig(env=env))
    assert seen["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    assert seen["CLAUDE_CODE_MAX_RETRIES"] == "2"


@pytest.mark.parametrize(
    "name",
    [
        "ANTHROPIC_BEDROCK_BASE_URL",
        "ANTHROPIC_VERTEX_BASE_URL",
        "ANTHROPIC_FOUNDRY_BASE_URL",
        "ANTHROPIC_CUSTOM_HEADERS",
        "anthropic_base_url",
        "AWS_BEARER_TOKEN_BEDROCK",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "OPENAI_API_BASE",
        "OPENAI_BASE_URL",
        "AZURE_OPENAI_ENDPOINT",
    ],
)
def test_who_names_an_address_or_a_key_in_any_spelling_does_not_get_the_users(
    tmp_path: Path, name: str
) -> None:
    """Also where none of what it named is passed on."""
    assert ModelConfig(env={name: "x"}).brings_access
    seen = environment(tmp_path, private_home=tmp_path / "own")
    assert vendor(seen) == {}


@pytest.mark.parametrize("is_root", [True, False])
def test_root_is_told_to_the_cli_only_where_it_is_so(tmp_path: Path, is_root: bool) -> None:
    assert ("IS_SANDBOX" in environment(tmp_path, is_root=is_root)) == is_root


def test_a_key_is_not_shown_by_accident() -> None:
    model = ModelConfig(model="m", api_key="secret", headers={"x": "secret"}, env={"y": "secret"})
    assert "secret" not in repr(model)


@pytest.mark.parametrize("protocol", ["openai-responses", "gemini"])
async def test_a_model_that_speaks_something_else_is_refused_before_anything_starts(
    protocol: str, tmp_path: Path
) -> None:
    program = tmp_path / "claude"
    program.touch(mode=0o755)
    host = agent_host(tmp_path, program)
    wanted = assignment(tmp_path, model=ModelConfig(model="m", api_key="k", protocol=protocol))
    with pytest.raises(ExecutorError, match="model_unfit"):
        await ClaudeCode(host).run(wanted, lambda _: None, asyncio.Event())
