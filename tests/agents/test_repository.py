"""What a folder brings for agents: instructions are found, settings are told or refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from executor_core.agents import claude_code
from executor_core.agents.acp import AcpAgent
from executor_core.agents.catalog import AcpDefinition
from executor_core.agents.opencode import instructions_in, plugins_in
from executor_core.agents.repository import instructions, places, read, withheld
from executor_core.errors import ExecutorError
from tests.support.agent_stage import agent_host, assignment, running


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "inner").mkdir()
    return tmp_path / "repo"


def test_a_folder_is_spoken_for_by_its_repository_and_by_nothing_above(
    repository: Path, tmp_path: Path
) -> None:
    assert places(repository / "inner") == (repository, repository / "inner")
    assert places(tmp_path) == (tmp_path,)


def test_instructions_come_from_the_outermost_to_the_innermost(repository: Path) -> None:
    (repository / "AGENTS.md").write_text("outer")
    (repository / "inner" / "AGENTS.md").write_text("inner")
    (repository / "inner" / "AGENTS.override.md").write_text("instead")
    words = instructions(repository / "inner", ("AGENTS.override.md", "AGENTS.md"))
    assert words.index("outer") < words.index("instead")
    assert "inner\n" not in words


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and pipes")
def test_instructions_that_are_a_pipe_or_lead_out_of_the_repository_are_none(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "private").write_text("secret")
    (repository / "AGENTS.md").symlink_to(tmp_path / "private")
    (repository / "loop").symlink_to("loop")
    os.mkfifo(repository / "CLAUDE.md")
    names = ("AGENTS.md", "CLAUDE.md", "loop", "missing")
    assert [read(repository / name) for name in names] == [""] * 4


def test_settings_are_told_once_and_with_what_helps(repository: Path, tmp_path: Path) -> None:
    (repository / ".mcp.json").write_text("{}")
    task = replace(assignment(tmp_path), folder=repository / "inner")
    [notice] = withheld(task, "Claude Code", claude_code.SETTINGS)
    assert os.path.join("..", ".mcp.json") in notice.text
    assert f"workspaces trust {repository / 'inner'}" in notice.text
    trusted = replace(task, is_trusted=True)
    assert not list(withheld(trusted, "Claude Code", claude_code.SETTINGS))


def test_of_two_skills_with_one_name_the_nearer_counts(repository: Path, tmp_path: Path) -> None:
    for place in (repository, repository / "inner"):
        skill = place / ".claude" / "skills" / "sk" / "SKILL.md"
        skill.parent.mkdir(parents=True)
        skill.write_text(place.name)
    claude_code.repository_arguments(replace(assignment(tmp_path), folder=repository / "inner"))
    assert (tmp_path / "scratch/plugin/skills/sk/SKILL.md").read_text() == "inner"


@pytest.mark.parametrize(
    ("name", "content", "is_dangerous"),
    [
        ("opencode.json", '{"plugin": ["./x.js"]}', True),
        ("opencode.jsonc", '{"pl\\u0075gin": ["./x.js"]}', True),
        (".opencode/opencode.json", '{"plugins": []}', True),
        (".opencode/plugin/x.js", "", True),
        ("opencode.json", '{"model": "a/b"}', False),
        (".opencode/agent/a.md", "plugin", False),
    ],
)
def test_what_opencode_executes_at_its_start_is_known(
    repository: Path, name: str, content: str, is_dangerous: bool
) -> None:
    file = repository / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    assert bool(plugins_in(repository / "inner")) is is_dangerous


def test_opencode_is_named_one_kind_of_instructions(repository: Path) -> None:
    (repository / "CLAUDE.md").write_text("x")
    (repository / "inner" / "AGENTS.md").write_text("x")
    assert instructions_in(repository / "inner") == [str(repository / "inner" / "AGENTS.md")]


@pytest.mark.parametrize(
    ("name", "file"), [("gemini", ".gemini/settings.json"), ("my_own", ".vibe/config.toml")]
)
async def test_an_agent_that_cannot_be_kept_from_settings_does_not_start_beside_them(
    tmp_path: Path, name: str, file: str
) -> None:
    program = tmp_path / "bin" / "agent"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    task = assignment(tmp_path)
    (task.folder / file).parent.mkdir()
    (task.folder / file).write_text("")
    host = agent_host(tmp_path, program)
    agent = AcpAgent(host, AcpDefinition(name=name, title="Mine", command=("agent",)))
    async with running(agent, host, task) as run:
        with pytest.raises(ExecutorError) as refused:
            await run.result()
    assert refused.value.code == "folder_has_settings"
    assert f"workspaces trust {task.folder}" in refused.value.message.hint
