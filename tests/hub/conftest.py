"""A hub on a listener, REST clients of its users, and a raw Socket.IO client as the device."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio

from executor_core.hub import Dialect, Hub
from executor_core.web import Listener
from tests.support.clock import JumpingClock

NAMESPACE = "/local-executor"
TOKEN = "owner-token-of-the-tests"
CAPACITY = {"limit": 5, "active": 0, "active_task_ids": [], "queued": 0}


class Device:
    """A device that does only what the test says."""

    def __init__(self, base: str, device_id: str = "hw-1") -> None:
        self.device_id = device_id
        self._base = base
        self._socket = socketio.AsyncClient(reconnection=False)
        self._seen: dict[str, asyncio.Queue[Any]] = {}
        self._refusal = ""
        self._socket.on("*", self._on_event, namespace=NAMESPACE)
        self._socket.on("connect_error", self._on_refusal, namespace=NAMESPACE)

    async def _on_refusal(self, data: Any) -> None:
        self._refusal = data["message"]

    async def _on_event(self, event: str, data: Any) -> Any:
        self._seen.setdefault(event, asyncio.Queue()).put_nowait(data)
        return {"success": True}

    async def connect(self, auth: Any) -> str:
        """Connect; the server's reason if it refused."""
        try:
            await self._socket.connect(
                self._base, auth=auth, namespaces=[NAMESPACE], transports=["websocket"]
            )
        except socketio.exceptions.ConnectionError:
            assert self._refusal
        return self._refusal

    @property
    def is_connected(self) -> bool:
        return bool(self._socket.connected)

    async def register(self, **more: Any) -> Any:
        fields = {"device_id": self.device_id, "name": f"Linux - {self.device_id}"}
        return await self.call("device:register", fields | more)

    async def heartbeat(self, **more: Any) -> Any:
        return await self.call("device:heartbeat", {"device_id": self.device_id} | more)

    async def call(self, event: str, data: Any) -> Any:
        return await self._socket.call(event, data, namespace=NAMESPACE, timeout=5)

    async def emit(self, event: str, data: Any) -> None:
        await self._socket.emit(event, data, namespace=NAMESPACE)

    async def received(self, event: str) -> Any:
        """The next event of that name."""
        async with asyncio.timeout(5):
            return await self._seen.setdefault(event, asyncio.Queue()).get()

    def has_received(self, event: str) -> bool:
        return not self._seen.setdefault(event, asyncio.Queue()).empty()

    async def respond(self, task: Any, event: str, **data: Any) -> Any:
        """A result event of dialect R for the subtask of a `task:execute`."""
        place = {"task_id": task["task_id"], "subtask_id": task["subtask_id"]}
        return await self.call(event, place | {"data": {"type": event} | data})

    async def complete(self, task: Any, text: str) -> Any:
        content = [{"type": "output_text", "text": text}]
        output = [{"type": "message", "content": content}] if text else []
        usage = {"input_tokens": 1, "output_tokens": 2}
        return await self.respond(
            task, "response.completed", response={"output": output, "usage": usage}
        )

    async def close(self) -> None:
        await self._socket.disconnect()
        # The library leaves its tasks to end by themselves.
        await asyncio.sleep(0)


class Client:
    """One user of the REST interface."""

    def __init__(self, http: aiohttp.ClientSession, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """The JSON of the answer, which must have that status."""
        async with self._http.request(method, path, json=body, headers=self._headers) as answer:
            found = await answer.json()
            assert answer.status == status, found
            return found

    async def create(self, prompt: str = "do it", **more: Any) -> Any:
        return await self.call("POST", "/api/tasks", {"prompt": prompt} | more)

    async def task(self, task_id: int) -> Any:
        return await self.call("GET", f"/api/tasks/{task_id}")

    async def answer(self, task_id: int) -> Any:
        """The last message of a task."""
        return (await self.task(task_id))["messages"][-1]

    async def device(self) -> Any:
        return (await self.call("GET", "/api/devices"))["items"][0]

    async def eventually(self, task_id: int, status: str) -> Any:
        """The task, once its last message has that status."""
        async with asyncio.timeout(5):
            while True:
                task = await self.task(task_id)
                if task["messages"][-1]["status"] == status:
                    return task


class World:
    """A running hub; `restart` makes it anew on the same database."""

    def __init__(self, folder: Path, clock: JumpingClock, dialect: Dialect) -> None:
        self.clock = clock
        self._database = folder / "hub.db"
        self._dialect: Dialect = dialect

    async def start(self) -> None:
        self.hub = Hub(self._database, clock=self.clock, dialect=self._dialect)
        self.listener = Listener(port=0, token=TOKEN, clock=self.clock)
        await self.hub.start()
        self.hub.attach(self.listener)
        self.base = await self.listener.start()
        self._http = aiohttp.ClientSession(self.base)
        self.owner = Client(self._http, TOKEN)
        self._devices: list[Device] = []

    async def stop(self) -> None:
        for device in self._devices:
            await device.close()
        await self._http.close()
        await self.hub.stop()
        await self.listener.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def second_user(self) -> tuple[Client, str]:
        token = await self.hub.add_user("second")
        return Client(self._http, token), token

    def unconnected(self, device_id: str = "hw-1") -> Device:
        device = Device(self.base, device_id)
        self._devices.append(device)
        return device

    async def connected(self, device_id: str = "hw-1", token: str | None = None) -> Device:
        device = self.unconnected(device_id)
        assert await device.connect({"token": token or self.hub.device_token()}) == ""
        return device

    async def registered(self, device_id: str = "hw-1", token: str | None = None) -> Device:
        device = await self.connected(device_id, token)
        assert await device.register() == {"success": True, "device_id": device_id}
        return device


MakeWorld = Callable[[Dialect], Awaitable[World]]


@pytest.fixture
async def make_world(tmp_path: Path, clock: JumpingClock) -> AsyncIterator[MakeWorld]:
    made: list[World] = []

    async def make(dialect: Dialect) -> World:
        world = World(tmp_path, clock, dialect)
        made.append(world)
        await world.start()
        return world

    yield make
    for world in made:
        await world.stop()


@pytest.fixture
async def world(make_world: MakeWorld) -> World:
    """A hub of dialect R."""
    return await make_world("responses")


@pytest.fixture
async def old_world(make_world: MakeWorld) -> World:
    """A hub of dialect P."""
    return await make_world("progress")
