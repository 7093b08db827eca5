"""What the real Claude Code does under the permission of a task, whatever the folder allows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor_core.model import Permission, RunState, ToolFinished
from tests.agents.test_real_claude_code import claude_at
from tests.support.model_api import Script, say, use

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WRITES: Script = [
    use("Write", file_path="written.txt", content="x"),
    use("Bash", command="touch touched.txt"),
    use("Read", file_path="read.txt"),
    say("Done."),
]
GENEROUS = {"permissions": {"allow": ["Bash", "Bash(*)", "Write", "Edit"]}}


@pytest.mark.parametrize("permission", [Permission.READ_ONLY, Permission.PLAN])
async def test_claude_code_looks_and_changes_nothing(
    each_claude_cli: Path, tmp_path: Path, permission: Permission
) -> None:
    folder = tmp_path / "workspace" / "1"
    (folder / ".claude").mkdir(parents=True)
    (folder / ".claude" / "settings.json").write_text(json.dumps(GENEROUS))
    (folder / "read.txt").write_text("words")
    async with claude_at(each_claude_cli, tmp_path)(WRITES) as real:
        outcome = await real.run("Write.", permission=permission)
        ends = [e.is_error for e in real.room.door.events() if isinstance(e, ToolFinished)]
    assert outcome.state is RunState.COMPLETED
    assert [path.name for path in folder.glob("*.txt")] == ["read.txt"]
    assert ends == [True, True, False]
