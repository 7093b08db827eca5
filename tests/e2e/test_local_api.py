"""The guide's curl lines against a real executor, its first user, and its address."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.executor_process import ExecutorProcess, until
from tests.support.hub_server import HubServer
from tests.support.stub_claude import say, turn

CURL = shutil.which("curl")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CURL is None, reason="there is no curl")]


class Curl:
    """curl, with the options that the guide gives it."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.token: str | None = None

    async def get(self, path: str, *options: str) -> str:
        """What it prints."""
        headers = ["-H", f"Authorization: Bearer {self.token}"] if self.token else []
        argv = [str(CURL), "-sS", "--max-time", "30", *headers, *options, self.base + path]
        done = await asyncio.to_thread(
            subprocess.run, argv, capture_output=True, text=True, timeout=40, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    async def post(self, path: str, body: object) -> dict[str, Any]:
        """The JSON that it prints."""
        told = ["-X", "POST", "-H", "Content-Type: application/json", "-d", json.dumps(body)]
        found: dict[str, Any] = json.loads(await self.get(path, *told))
        return found

    async def sign_in(self, name: str, password: str) -> dict[str, Any]:
        answer = await self.post("/api/auth/login", {"username": name, "password": password})
        self.token = answer.get("token")
        return answer


@pytest.fixture
async def curl(hub: HubServer, device: ExecutorProcess) -> AsyncIterator[Curl]:
    """The guide's reader, at an executor that is online."""
    device.start()
    yield Curl((await device.online()).api)
    device.signal(signal.SIGTERM)
    assert await device.gone() == 0


def first_password(device: ExecutorProcess) -> str:
    return (device.home / "first-password").read_text().strip()


async def test_the_lines_of_the_guide_work(
    device: ExecutorProcess, curl: Curl, tmp_path: Path
) -> None:
    assert json.loads(await curl.get("/health")) == {"status": "ok"}
    agents = json.loads(await curl.get("/health/agents"))["agents"]
    assert {"name": "claude_code", "title": "Claude Code", "usable": True} in agents

    answer = await curl.sign_in("owner", first_password(device))
    assert (answer["token_type"], answer["access_token"]) == ("bearer", curl.token)

    folder = tmp_path / "project"
    folder.mkdir()
    prompt = turn(say("Hello, "), say("world"))
    metadata = {"agent_type": "claude", "cwd": str(folder), "timeout_secs": 60}
    asked = await curl.post("/api/runs", {"input": {"text": prompt}, "metadata": metadata})
    run_id = asked["run_id"]
    assert run_id.startswith("run_")

    stream = await curl.get(f"/api/runs/{run_id}/events", "-N")
    names = [line[7:] for line in stream.splitlines() if line.startswith("event: ")]
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == names
    assert (names[0], names[-1]) == ("started", "done")
    assert "".join(e["content"] for e in events if e["type"] == "token") == "Hello, world"
    assert (events[-1]["status"], events[-1]["text"]) == ("completed", "Hello, world")
    assert set(events[-1]) == {"type", "status", "text", "usage", "duration_ms"}

    browser = Curl(curl.base)
    again = await browser.get(f"/api/runs/{run_id}/events?access_token={curl.token}", "-N")
    assert again == stream
    assert str(curl.token) not in device.output

    chat = await curl.post("/api/chat", {"message": turn(say("Yes.")), "model": "claude"})
    assert (chat["message"], chat["agent_type"]) == ("Yes.", "claude_code")
    assert json.loads(await curl.get(f"/api/runs/{chat['run_id']}"))["run"]["state"] == "completed"


async def test_nobody_gets_in_with_what_the_guide_had(curl: Curl) -> None:
    for password in ("admin", "password", "owner", ""):
        for name in ("admin", "user", "owner"):
            answer = await curl.sign_in(name, password)
            assert curl.token is None
            assert answer["error"]["code"] in ("login_failed", "login_slowed")
    assert json.loads(await curl.get("/api/runs"))["error"]["code"] == "no_token"
    form = ["-X", "POST", "-d", json.dumps({"username": "owner", "password": "x"})]
    answer = json.loads(await curl.get("/api/auth/login", *form))
    assert answer["error"]["code"] == "json_required"


async def test_the_first_password_is_made_once_and_ends_with_ones_own(
    device: ExecutorProcess, curl: Curl
) -> None:
    file = device.home / "first-password"
    first = first_password(device)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in device.output
    assert first not in device.output
    await curl.sign_in("owner", first)

    done = await device.command(
        "api", "user", "add", "owner", "--password", "-", stdin="my own 1\n"
    )
    assert done.code == 0, done.err
    assert not file.exists()
    assert json.loads(await curl.get("/api/runs"))["error"]["code"] == "no_token"
    assert (await curl.sign_in("owner", first))["error"]["code"] == "login_failed"
    await curl.sign_in("owner", "my own 1")
    assert json.loads(await curl.get("/api/runs")) == []


async def test_users_are_added_listed_and_removed_beside_the_running_executor(
    device: ExecutorProcess, curl: Curl
) -> None:
    added = await device.command("api", "user", "add", "anna")
    password = added.out.splitlines()[-1]
    await curl.sign_in("anna", password)
    assert json.loads(await curl.get("/api/runs"))["error"]["code"] == "owner_only"
    assert (await device.command("api", "user", "list")).out == "owner\nanna\n"
    assert (await device.command("api", "user", "remove", "anna")).code == 0
    assert json.loads(await curl.get("/api/runs"))["error"]["code"] == "no_token"
    for arguments in (
        ["remove", "anna"],
        ["remove", "owner"],
        ["add", "x", "--password", "secret"],
    ):
        done = await device.command("api", "user", *arguments)
        assert done.code == 1
        assert "secret" not in done.err
        assert "Traceback" not in done.err


async def test_an_agent_that_nobody_can_install_is_refused_with_those_that_can(
    device: ExecutorProcess, curl: Curl
) -> None:
    await curl.sign_in("owner", first_password(device))
    refused = (await curl.post("/api/agents/goose/install", {}))["error"]
    assert refused["code"] == "agent_not_installable"
    assert "codex" in refused["detail"] + refused["hint"]


async def test_a_token_survives_a_restart(device: ExecutorProcess, curl: Curl) -> None:
    await curl.sign_in("owner", first_password(device))
    device.signal(signal.SIGTERM)
    assert await device.gone() == 0
    device.start()
    curl.base = (await device.online()).api
    assert json.loads(await curl.get("/api/runs")) == []
    assert (device.home / "first-password").exists()


async def test_an_address_that_others_reach_is_refused_and_the_option_is_named(
    device: ExecutorProcess,
) -> None:
    device.env["OPENRUNNER_ADDR"] = "0.0.0.0:8090"
    done = await device.command("--no-gui")
    assert done.code == 6
    assert "OPENRUNNER_ADDR" in done.err
    assert "api.allow_remote" in done.err
    assert "Traceback" not in done.err


async def test_an_address_that_others_reach_is_served_where_it_was_allowed(
    device: ExecutorProcess, hub: HubServer
) -> None:
    device.env["OPENRUNNER_ADDR"] = "0.0.0.0:0"
    device.configure("[api]\nallow_remote = true\n")
    device.start()
    warning = "can be reached from other computers"
    assert await until(lambda: warning in device.output or None, 20, "nobody is warned")
    device.signal(signal.SIGTERM)
    assert await device.gone() == 0
