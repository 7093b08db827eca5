"""No secret in a log, in an argument that every user can read, or in a database."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.executor_process import ExecutorProcess
from tests.support.hub_server import HubServer
from tests.support.stub_claude import StubClaude, gate, say, turn

USERS_KEY = "sk-ant-api03-users-own-key-0123456789abcdefghij"
TASKS_KEY = "key-of-the-task-0123456789abcdefghij"
PROMPT_MARK = "a-sentence-that-nobody-may-read"


def files_with(folder: Path, secret: str) -> list[str]:
    """Every file below the folder that holds the secret, in whatever format."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes()
    ]


def command_lines() -> str:
    """The arguments of every process of this computer."""
    lines: list[str] = []
    for process in psutil.process_iter(["cmdline"]):
        lines += process.info["cmdline"] or []
    return "\n".join(lines)


async def test_no_secret_is_in_logs_arguments_or_the_journal(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    token = device.env["WEGENT_AUTH_TOKEN"]
    device.env |= {"ANTHROPIC_API_KEY": USERS_KEY, "LOG_LEVEL": "DEBUG"}
    device.start()
    await device.online()
    model = {"model": "m", "api_key": TASKS_KEY, "base_url": "http://127.0.0.1:9/v1"}
    with_key = await hub.dispatch(
        turn(say("One."), gate("a")), model_config=model, system_prompt=PROMPT_MARK
    )
    plain = await hub.dispatch(turn(say("Two."), gate("b")))
    pids = [await claude.reached("a"), await claude.reached("b")]
    environments = [psutil.Process(pid).environ() for pid in pids]
    lines = command_lines()
    api_token = json.loads((device.home / "api.json").read_text())["token"]
    secrets = [token, USERS_KEY, TASKS_KEY, api_token]

    # The keys are where they belong: without this the rest would prove nothing.
    assert environments[0]["ANTHROPIC_AUTH_TOKEN"] == TASKS_KEY
    assert environments[1]["ANTHROPIC_API_KEY"] == USERS_KEY
    assert USERS_KEY not in environments[0].values()
    for environment in environments:
        assert token not in environment.values()
        assert api_token not in environment.values()
    assert [secret for secret in (*secrets, PROMPT_MARK) if secret in lines] == []

    claude.open("a", "b")
    await hub.until_status(with_key, "COMPLETED")
    await hub.until_status(plain, "COMPLETED")
    assert (await device.command("runs")).code == 0
    refused = await device.command("--token", "no-such-token-0123456789", "status")
    assert refused.code == 0
    device.signal(signal.SIGTERM)
    assert await device.gone() == 0

    log = (device.home / "logs" / "executor.log").read_text()
    for told in (
        r"gets task:execute, \d+ bytes",
        r"sends device:register, \d+ bytes",
        r"gets the answer to device:heartbeat, \d+ bytes",
        r"started \S+ as process \d+ for run_\w+",
        r"process \d+ has ended with -?\d+",
        r"run_\w+ is preparing",
        r"run_\w+ has left its place",
        r"the link is online",
        r"GET /\S+ answered 200",
    ):
        assert re.search(rf"DEBUG - {told}", log), told
    assert files_with(device.home, token) == []
    assert files_with(device.home, USERS_KEY) == []
    assert files_with(device.home, TASKS_KEY) == []
    assert files_with(device.home, api_token) == ["api.json"]
    assert files_with(device.home / "logs", PROMPT_MARK) == []
    assert not any(secret in device.output for secret in secrets)


@pytest.mark.slow
async def test_after_a_crash_no_prompt_and_no_key_is_on_disk(
    hub: HubServer, device: ExecutorProcess
) -> None:
    device.start_crashing("accepted")
    await hub.until_online()
    # The first line of a prompt is its title, which lists show.
    await hub.dispatch(
        f"Do this:\n{PROMPT_MARK}", model_config={"model": "m", "api_key": TASKS_KEY}, task_title=""
    )
    await device.gone()
    assert files_with(device.home, TASKS_KEY) == []
    assert files_with(device.home, PROMPT_MARK) == []


@pytest.mark.slow
async def test_what_is_private_is_readable_by_its_owner_alone(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    sent = await hub.dispatch(turn(say("Words.")))
    await hub.until_status(sent, "COMPLETED")
    private = ["api.json", "device_id", "journal.db", "journal.db-wal", "logs/executor.log"]
    private += [str(path.relative_to(device.home)) for path in device.home.glob("runs/*/*")]
    modes = {name: (device.home / name).stat().st_mode & 0o077 for name in private}
    assert modes == dict.fromkeys(private, 0)
    assert device.home.stat().st_mode & 0o077 == 0
