"""One canary per kind of secret: an agent tells all it is given, and nobody hears a word of it.

Each is looked for in plain, in base64, URL-encoded, and where two pieces of text meet.
"""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from tests.links.conftest import execute
from tests.support.acp_agent import steps
from tests.support.canaries import canary, found_below, found_in
from tests.support.device_server import DeviceServer
from tests.support.executor_process import ROOT, ExecutorProcess
from tests.support.git_server import GitServer, git_server
from tests.support.skill_archives import skill_zip
from tests.support.stub_claude import StubClaude, gate, reveal, say, turn, write
from tests.workspace.test_git_clone import command_lines

pytestmark = pytest.mark.slow

DIALECTS = pytest.mark.parametrize("dialect", ["R", pytest.param("P", marks=pytest.mark.slow)])


KEY, HEADER, VARIABLE = canary("model-key"), canary("model-header"), canary("bot-variable")
TASK, OLD_TASK = canary("task-token"), canary("old-task-token")
GIT, SEALED_GIT = canary("git-plain"), canary("git-sealed")
MCP_HEADER, MCP_VARIABLE = canary("mcp-header"), canary("mcp-variable")
ACP, USER, OTHER_USER = canary("acp-variable"), canary("anthropic"), canary("another-vendor")
PASSWORD = canary("password")
OF_TASKS = (KEY, HEADER, VARIABLE, TASK, OLD_TASK, GIT, SEALED_GIT, MCP_HEADER, MCP_VARIABLE)
OF_USER = (ACP, USER, OTHER_USER)
SERVER_TOKENS = {
    "jwt": jwt.encode({"sub": "alice", "user_id": 17, "exp": 4_000_000_000}, "k" * 32),
    "key": "wg-0123456789abcdefghijABCDEFGHIJkl",
}


def sealed(token: str) -> str:
    """As a server keeps it that was told no other key."""
    padder = PKCS7(128).padder()
    data = padder.update(token.encode()) + padder.finalize()
    key, iv = b"12345678901234567890123456789012", b"1234567890123456"
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return base64.b64encode(encryptor.update(data) + encryptor.finalize()).decode()


def told_to(server: DeviceServer) -> str:
    """Every frame that left, and in R the pieces of each answer without the seams."""
    frames = json.dumps([[seen.event, seen.data] for seen in server.seen], ensure_ascii=False)
    words: dict[tuple[str, int], str] = {}
    for seen in server.events("response.output_text.delta"):
        key = (seen.event, seen.data["subtask_id"])
        words[key] = words.get(key, "") + seen.data["data"]["delta"]
    for seen in server.events("response.reasoning_summary_part.added"):
        key = (seen.event, seen.data["subtask_id"])
        words[key] = words.get(key, "") + seen.data["data"]["part"]["text"]
    return frames + "\n".join(words.values())


async def tasks(git_host: GitServer, prompt: str) -> list[Any]:
    """One with a model of its own and all that can hold a secret; one with the user's login."""
    public_url = await git_host.add("acme/app", token=GIT)
    other_url = await git_host.add("acme/lib", token=SEALED_GIT)
    user = {"id": 17, "git_domain": git_host.host, "git_login": "alice"}
    model: dict[str, Any] = {"model": "m", "model_id": "m", "api_key": KEY}
    model |= {"base_url": "http://127.0.0.1:9", "default_headers": {"X-Tenant": HEADER}}
    env = {"model": "m", "EXTRA_API_KEY": VARIABLE}
    bot = {"id": 9, "shell_type": "ClaudeCode", "agent_config": {"env": env}}
    servers = [
        {"name": "web", "url": "https://x", "headers": {"Authorization": f"Bearer {MCP_HEADER}"}},
        {"name": "program", "command": "true", "env": {"DOCS_TOKEN": MCP_VARIABLE}},
        {"name": "address", "url": "https://x/sse?t=${{task_token}}"},
        {"name": "exposed", "command": "true", "args": ["--t=${{task_token}}"]},
    ]
    skill = {"name": "fishing", "skill_id": 5, "namespace": "team"}
    first = execute(
        1,
        1,
        prompt,
        attachments=[{"id": 3, "original_filename": "note.txt", "file_size": 4}],
        skill_names=["fishing"],
        skill_refs={"fishing": skill},
        user=user | {"git_token": GIT},
        git_url=public_url,
        bot=[bot],
        model_config=model,
        task_title=f"Deploy with {KEY}",
        mcp_servers=servers,
        auth_token=TASK,
        task_token=OLD_TASK,
    )
    login = user | {"git_token": sealed(SEALED_GIT)}
    return [first, execute(2, 2, prompt, user=login, git_url=other_url)]


async def signed_in(executor: ExecutorProcess) -> None:
    """A person with a password of their own has used the local API."""
    added = await executor.command("api", "user", "add", "alice", "--password", "-", stdin=PASSWORD)
    assert added.code == 0, added
    login = json.loads((executor.home / "api.json").read_text())["url"] + "/api/auth/login"
    body = {"username": "alice", "password": PASSWORD}
    async with aiohttp.ClientSession() as http, http.post(login, json=body) as answer:
        assert answer.status == 200, await answer.text()


def told(agent: str, words: Path) -> str:
    """What makes an agent change a file, tell all that it knows, and end well."""
    if agent == "claude_code":
        return turn(write("a.txt", "changed"), gate("a"), reveal(words), say("That was all."))
    return steps(["edit", "a.txt", "changed"], ["reveal", str(words)], ["say", "That was all."])


@DIALECTS
@pytest.mark.parametrize(
    ("agent", "kind"), [("claude_code", "jwt"), ("claude_code", "key"), ("mine", "jwt")]
)
async def test_no_canary_is_found_where_it_does_not_belong(
    executor: ExecutorProcess,
    claude: StubClaude,
    tmp_path: Path,
    dialect: str,
    agent: str,
    kind: str,
) -> None:
    token = SERVER_TOKENS[kind]
    words = tmp_path / "words.json"
    executor.env |= {"LOG_LEVEL": "DEBUG", "ANTHROPIC_API_KEY": USER, "GROQ_API_KEY": OTHER_USER}
    command = [sys.executable, str(ROOT / "tests/support/acp_agent.py")]
    executor.configure(
        f"[device]\nagent = '{'from_task' if agent == 'claude_code' else agent}'\n"
        f"[[agents.acp]]\nname = 'mine'\ncommand = {command}\n"
        f"env = {{ MY_TOKEN = '{ACP}' }}\n"
    )
    server = DeviceServer(dialect)
    server.materials.files[3] = b"note"
    server.materials.skills[5] = skill_zip("fishing")
    await server.start()
    try:
        async with git_server(tmp_path / "git") as git_host, command_lines() as lines:
            executor.connect_to(server.url, token)
            executor.start()
            await server.until_online()
            owner = json.loads((executor.home / "api.json").read_text())["token"]
            everything = [*OF_TASKS, *OF_USER, token, owner]
            words.write_text(json.dumps(everything))
            await signed_in(executor)
            for task in await tasks(git_host, told(agent, words)):
                await server.send("task:execute", task)
            if agent == "claude_code":
                await claude.reached("a")
                claude.open("a")
            for subtask_id in (1, 2):
                # Hundreds of tools, one frame after the other.
                ended = await server.until_ended(subtask_id, limit_s=60)
                assert "That was all." in str(ended.data)
            bundle = tmp_path / "bundle.zip"
            assert (await executor.command("bundle", str(bundle))).code == 0
            # Now, with what is still in the journal's log, and once more after the end.
            searched = [*everything, PASSWORD, TASK]
            found = await asyncio.to_thread(found_below, executor.user_home, searched)
            patches = list(executor.home.glob("runs/*/*.patch"))
            logins = {request.login for request in git_host.requests}
            executor.signal(signal.SIGTERM)
            assert await executor.gone() == 0
    finally:
        await server.stop()

    # They were used, and what is searched through is not empty.
    assert server.tokens[0] == token
    assert {("alice", GIT), ("alice", SEALED_GIT)} <= logins
    assert len(patches) == 2
    assert told_to(server).count("***") > 100
    assert server.materials.tokens == {f"Bearer {TASK}"}
    used = "--mcp-config" if agent == "claude_code" else "acp_agent.py"
    assert any(used in line for line in lines)
    belongs = {
        (".wegent-executor/api.json", owner),
        (".wegent-executor/config.toml", ACP),
    }
    assert found == belongs
    assert found_below(executor.user_home, searched) == belongs
    assert found_in(told_to(server), searched) == []
    assert found_in("\n".join(lines) + executor.started, searched) == []
    assert found_in(executor.output, searched) == []
    with zipfile.ZipFile(bundle) as archive:
        for name in archive.namelist():
            assert found_in(archive.read(name).decode(), searched) == [], name


async def test_what_a_hub_hands_out_is_kept_nowhere(executor: ExecutorProcess) -> None:
    executor.env |= {"LOG_LEVEL": "DEBUG"}
    executor.start("--standalone", "--no-gui")
    await executor.online()
    secrets = []
    for kind in ("key", "token"):
        given = await executor.command("hub", kind)
        assert given.code == 0, given
        secrets.append(given.out.strip())
    executor.signal(signal.SIGTERM)
    assert await executor.gone() == 0
    assert all(len(secret) > 30 for secret in secrets)
    assert await asyncio.to_thread(found_below, executor.user_home, secrets) == set()
    assert found_in(executor.output, secrets) == []
