"""A private repository on a real server: cloned, changed, followed up, and its token is nowhere."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.test_secrets import files_with
from tests.links.conftest import execute
from tests.support.device_server import DeviceServer
from tests.support.executor_process import ExecutorProcess
from tests.support.git_server import git, git_server
from tests.support.stub_claude import StubClaude, gate, say, turn, write
from tests.workspace.test_git_clone import command_lines

pytestmark = pytest.mark.slow

CANARY = "canary+7f3a/9c2e5b=d41d"
SPELLINGS = (
    CANARY,
    quote(CANARY, safe=""),
    base64.b64encode(CANARY.encode()).decode(),
    base64.b64encode(f"alice:{CANARY}".encode()).decode(),
)


async def test_a_private_repository_is_worked_on_and_its_token_is_nowhere(
    executor: ExecutorProcess, claude: StubClaude, tmp_path: Path
) -> None:
    server = DeviceServer()
    await server.start()
    try:
        async with git_server(tmp_path / "git") as git_host:
            url = await git_host.add("acme/app", token=CANARY)
            user = {"id": 17, "git_domain": git_host.host, "git_token": CANARY}
            user |= {"git_login": "alice", "git_email": "alice@example.com"}
            task = {"user": user, "git_url": url, "git_repo": "acme/app", "branch_name": "main"}
            executor.env |= {"LOG_LEVEL": "DEBUG"}
            executor.connect_to(server.url, "wg-0123456789abcdef")
            executor.start()
            await server.until_online()
            async with command_lines() as seen:
                await _two_turns(server, claude, task)
            logins = {request.login for request in git_host.requests}
            patches = await _patches(executor)
            # Now, with what is still in the journal's log, and once more after the end.
            found = await asyncio.to_thread(_files_with_the_token, executor)
            executor.signal(signal.SIGTERM)
            assert await executor.gone() == 0
    finally:
        await server.stop()

    # The token was used, and what is searched through is not empty.
    assert ("alice", CANARY) in logins
    assert b"+changed by the first turn" in patches[0]
    assert b"+changed by the second turn" in patches[1]
    assert b"first turn" in patches[1]
    repository = executor.home / "workspace" / "1" / "app"
    assert (repository / "README.md").read_text() == "changed by the second turn\n"
    assert await git(repository, "remote", "get-url", "origin") == url
    assert any("clone" in line for line in seen)
    assert "accepted" in executor.log
    assert found == []
    assert await asyncio.to_thread(_files_with_the_token, executor) == []
    told = json.dumps([[one.event, one.data] for one in server.seen], ensure_ascii=False)
    assert "Second." in told
    for spelling in SPELLINGS:
        assert [line for line in seen if spelling in line] == []
        assert spelling not in told
        assert spelling not in executor.output
        assert not any(spelling.encode() in patch for patch in patches)


def _files_with_the_token(executor: ExecutorProcess) -> list[str]:
    return [name for one in SPELLINGS for name in files_with(executor.user_home, one)]


async def _two_turns(server: DeviceServer, claude: StubClaude, task: dict[str, Any]) -> None:
    turns = (
        turn(write("README.md", "changed by the first turn\n"), gate("a"), say("First.")),
        turn(write("README.md", "changed by the second turn\n"), gate("b"), say("Second.")),
    )
    for number, (prompt, name) in enumerate(zip(turns, "ab", strict=True), start=1):
        await server.send("task:execute", execute(1, number, prompt, **task))
        await claude.reached(name)
        claude.open(name)
        ended = await server.until_ended(number)
        assert "error" not in ended.event, ended


async def _patches(executor: ExecutorProcess) -> list[bytes]:
    """Of all runs, the oldest first."""
    found = []
    for detail in reversed(await executor.runs()):
        assert detail.outcome is not None
        [artifact] = detail.outcome.artifacts
        found.append(Path(artifact.path).read_bytes())
    return found
