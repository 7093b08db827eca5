"""Everything in one process: hub, console and executor, as a newcomer starts it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import signal
import socket
import sys
from typing import Any

import aiohttp
import pytest

from tests.support.executor_process import ExecutorProcess, until
from tests.support.stub_claude import StubClaude, say, turn


class Console:
    """What the page does with the address that was printed."""

    def __init__(self, address: str) -> None:
        self._base, self._ticket = address.split("/#ticket=")
        self._token = ""

    async def sign_in(self) -> int:
        """Exchange the ticket; the HTTP status."""
        async with (
            aiohttp.ClientSession(self._base) as http,
            http.post("/api/auth/ticket", json={"ticket": self._ticket}) as answer,
        ):
            if answer.status == 200:
                self._token = (await answer.json())["token"]
            return answer.status

    async def call(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"}
        async with (
            aiohttp.ClientSession(self._base, headers=headers) as http,
            http.request(method, path, json=body) as answer,
        ):
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def ended(self, task_id: int) -> dict[str, Any]:
        """The answer of a task, once it is final."""
        while True:
            task = await self.call("GET", f"/api/tasks/{task_id}")
            if task["messages"][-1]["status"] not in ("PENDING", "RUNNING"):
                return dict(task["messages"][-1])


async def console_of(executor: ExecutorProcess) -> Console:
    found = await until(
        lambda: re.search(r"http://127\.0\.0\.1:\d+/#ticket=\S+", executor.output),
        10,
        lambda: executor.output,
    )
    return Console(found.group())


async def test_the_folders_of_the_guides_are_there_after_the_start(
    executor: ExecutorProcess,
) -> None:
    executor.start("--standalone", "--no-gui")
    await executor.online()
    found = {path.name for path in executor.home.iterdir()}
    assert {"workspace", "cache", "logs"} <= found
    assert (executor.home / "cache" / "skills").is_dir()


@pytest.mark.slow
async def test_where_no_agent_is_installed_the_demo_says_so_and_really_writes_a_file(
    executor: ExecutorProcess,
) -> None:
    executor.env["PATH"] = "/usr/bin:/bin"
    executor.start("--standalone", "--no-gui")
    console = await console_of(executor)
    assert await console.sign_in() == 200
    assert await console.sign_in() == 401, "a ticket works once"
    await executor.online()
    [device] = (await console.call("GET", "/api/devices"))["items"]
    assert device["status"] == "online"

    task = await console.call("POST", "/api/tasks", {"prompt": "Hello?"})
    answer = await console.ended(task["id"])
    assert answer["status"] == "COMPLETED"
    assert "demo" in answer["text"].lower()
    [file] = (executor.home / "workspace" / str(task["id"])).glob("*.md")
    assert file.name in answer["text"]
    assert file.read_text()

    executor.signal(signal.SIGTERM)
    assert await executor.gone() == 0
    await executor.until_alone()


@pytest.mark.slow
@pytest.mark.parametrize("is_signed_in", [True, False])
async def test_where_an_agent_is_installed_it_answers_and_never_the_demo(
    executor: ExecutorProcess, claude: StubClaude, is_signed_in: bool
) -> None:
    if not is_signed_in:
        claude.sign_out()
    executor.start("--standalone", "--no-gui")
    console = await console_of(executor)
    await console.sign_in()
    await executor.online()
    task = await console.call("POST", "/api/tasks", {"prompt": turn(say("I am the agent."))})
    assert (await console.ended(task["id"]))["text"] == "I am the agent."


@pytest.mark.slow
async def test_after_kill_9_hub_and_executor_agree_again_and_the_page_stays_signed_in(
    executor: ExecutorProcess, claude: StubClaude
) -> None:
    executor.start("--standalone", "--no-gui")
    console = await console_of(executor)
    await console.sign_in()
    await executor.online()
    prompt = turn(say("Half. "), ["gate", "g"], say("Whole."))
    task = await console.call("POST", "/api/tasks", {"prompt": prompt})
    await claude.reached("g")
    await executor.kill()

    port = re.search(r"\d+$", console._base)
    assert port is not None
    executor.env["OPENRUNNER_ADDR"] = f"127.0.0.1:{port.group()}"
    executor.start("--standalone", "--no-gui")
    await executor.online()
    answer = await console.ended(task["id"])
    assert answer["status"] == "FAILED"
    await executor.until_delivered()
    await executor.until_alone()
    retried = await console.call("POST", f"/api/tasks/{task['id']}/retry", {})
    assert retried["messages"][-1]["status"] == "RUNNING"
    claude.open("g")
    assert (await console.ended(task["id"]))["text"] == "Half. Whole."


def _ended(connections: list[socket.socket]) -> list[socket.socket]:
    """Those whose other side has gone: nobody sends on them, so all that can be read is an end."""
    waiting = select.poll()
    by_number = {one.fileno(): one for one in connections}
    for number in by_number:
        waiting.register(number, select.POLLIN)
    return [by_number[number] for number, _ in waiting.poll(0)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sets the limits of another process")
async def test_hundreds_of_silent_connections_neither_stop_it_nor_fill_its_log(
    executor: ExecutorProcess,
) -> None:
    import resource

    executor.start("--standalone", "--no-gui")
    console = await console_of(executor)
    await executor.online()
    soft, _ = resource.prlimit(executor.pid, resource.RLIMIT_NOFILE)
    assert soft >= min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 8192)
    resource.prlimit(executor.pid, resource.RLIMIT_NOFILE, (256, 256))
    port, said = int(console._base.rpartition(":")[2]), len(executor.output)
    with contextlib.ExitStack() as silent:
        idle = [
            silent.enter_context(
                await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
            )
            for _ in range(330)
        ]
        # The oldest give way: 256 files allow 64 connections and 64 more that come at once.
        await until(lambda: len(_ended(idle)) >= 200 or None, 15, lambda: executor.output)
        await executor.online()
        assert await console.sign_in() == 200
    await executor.online()
    more = executor.output[said:]
    assert "Traceback" not in more
    assert len(more) < 5_000, more
