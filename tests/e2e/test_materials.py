"""Attachments and skills, from the person's upload to what the real Claude Code reads."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor_core.hub import Dialect
from tests.e2e.test_claude_code import HOLD_S, model_of, started
from tests.support.executor_process import ExecutorProcess
from tests.support.hub_server import HubServer
from tests.support.model_api import ModelRequest, model_api, say, use
from tests.support.model_api import Turn as Answer
from tests.support.scripted_api import Gate
from tests.support.skill_archives import skill_zip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NOTE = "The password of the tests is swordfish.\n"


@pytest.fixture
def real(
    make_executor: Callable[[Path], ExecutorProcess], claude_cli: Path, hub: HubServer
) -> ExecutorProcess:
    executor = make_executor(claude_cli.parent)
    if (node := shutil.which("node")) is not None:
        executor.env["PATH"] += f":{Path(node).parent}"
    executor.connect_to(hub.url, hub.hub.device_token())
    return executor


def images_in(request: ModelRequest) -> list[str]:
    """The data of all pictures that the agent showed the model."""
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("type") == "image":
                found.append(value["source"]["data"])
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(request.body.get("messages"))
    return found


async def prepared(hub: HubServer) -> list[int]:
    """The library of the hub: a picture, a note and a skill."""
    picture = await hub.upload("/api/attachments?name=shot.png", PIXEL, "image/png")
    note = await hub.upload("/api/attachments?name=note.txt", NOTE.encode(), "text/plain")
    await hub.upload("/api/skills", skill_zip("fishing", "Catches fish.", "Say SKILL-OF-FISH."))
    return [picture["id"], note["id"]]


@pytest.mark.parametrize("dialect", ["responses", "progress"])
async def test_the_agent_reads_a_picture_a_text_and_a_skill_of_the_task(
    dialect: Dialect, hub: HubServer, real: ExecutorProcess
) -> None:
    ids = await prepared(hub)
    folder = real.home / "workspace" / "1" / ".wegent" / "attachments" / "2"
    answers = [
        use("Read", file_path=str(folder / "shot.png")),
        use("Read", file_path=str(folder / "note.txt")),
        use("Skill", skill="fishing"),
        say("I read it all."),
    ]
    async with model_api(answers) as api:
        await started(real)
        sent = await hub.dispatch_with(
            f"See [attachment:{ids[1]}]",
            attachments=ids,
            skills=["fishing"],
            model_config=model_of(api),
        )
        answer = await hub.until_status(sent, "COMPLETED", HOLD_S)
        assert answer["text"] == "I read it all."
        first, last = api.requests[0], api.requests[-1]
    prompt = first.prompts[-1]
    assert f"See [Attachment downloaded to: {folder / 'note.txt'}]" in prompt
    assert f"shot.png (image/png, {len(PIXEL)} bytes): {folder / 'shot.png'}" in prompt
    assert "The user picked these skills; use them first: fishing." in prompt
    assert "Catches fish." in json.dumps(first.body)
    # In the prompt, and once more where the agent read the file.
    assert (len(images_in(first)), len(images_in(last))) == (1, 2)
    assert any("swordfish" in result for result in last.tool_results)
    assert "SKILL-OF-FISH" in json.dumps(last.body)
    assert not [path for path in real.home.rglob("SKILL.md")]


async def test_a_skill_in_a_project_of_the_users_own_is_seen_by_the_agent_and_not_by_git(
    hub: HubServer, real: ExecutorProcess, tmp_path: Path
) -> None:
    await prepared(hub)
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(project)], check=True)  # noqa: ASYNC221

    def script(request: ModelRequest) -> Answer:
        if not request.tool_results:
            return use(
                "Bash", command="git status --porcelain --untracked-files=all; ls .claude/skills"
            )
        return use("Skill", skill="fishing") if len(request.tool_results) == 1 else say("Done.")

    async with model_api(script) as api:
        # The user's own login, as the CLI finds it in the environment of the executor.
        real.env |= {
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "sk-ant-user-of-this-computer",
        }
        await started(real)
        sent = await hub.dispatch_with(
            "Look", attachments=[], skills=["fishing"], project_workspace_path=str(project)
        )
        answer = await hub.until_status(sent, "COMPLETED", HOLD_S)
        assert answer["text"] == "Done."
        last = api.requests[-1]
    assert last.tool_results[0].strip() == "fishing"
    assert "SKILL-OF-FISH" in json.dumps(last.body)
    assert sorted(path.name for path in project.iterdir()) == [".git", "src"]


async def test_what_a_killed_executor_left_in_a_project_is_gone_after_the_next_start(
    hub: HubServer, real: ExecutorProcess, tmp_path: Path
) -> None:
    await prepared(hub)
    project = tmp_path / "project"
    project.mkdir()
    async with model_api([say("Half ", Gate(), "whole")]) as api:
        real.env |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "sk-ant-of-this-computer"}
        await started(real)
        sent = await hub.dispatch_with(
            "Hi", attachments=[], skills=["fishing"], project_workspace_path=str(project)
        )
        await hub.until_text(sent, "Half ", HOLD_S)
        await real.kill()
        assert (project / ".claude" / "skills" / "fishing" / "SKILL.md").exists()
        await started(real)
        await real.until_alone()
    assert list(project.iterdir()) == []
