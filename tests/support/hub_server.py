"""A hub that runs in the test, for executors in processes of their own.

It keeps its port over a restart and remembers every terminal that a device sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from msgspec import Struct

from executor_core.clock import SystemClock
from executor_core.hub import Dialect, Hub, wire
from executor_core.web import Listener

TOKEN = "listener-token-of-the-tests"


class Terminal(Struct, frozen=True):
    """A last word as it came over the wire; `text` None leaves what was streamed."""

    subtask_id: int
    status: str
    text: str | None
    error: str | None


class Turn(Struct, frozen=True):
    """One message sent to an agent, and where its answer will stand."""

    task_id: int
    subtask_id: int


class HubServer:
    """Real hub, real listener, real sockets, on the test's own loop."""

    def __init__(self, folder: Path, dialect: Dialect = "responses") -> None:
        self.terminals: list[Terminal] = []
        self.deltas: list[tuple[float, str]] = []
        """When a piece of text came (loop time), and the piece."""
        self.url = ""
        self._database = folder / "hub.db"
        self._dialect: Dialect = dialect
        self._port = 0

    async def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        clock = SystemClock()
        self.hub = Hub(self._database, clock=clock, dialect=self._dialect)
        self._listener = Listener(
            port=self._port, port_is_fixed=bool(self._port), token=TOKEN, clock=clock
        )
        await self.hub.start()
        self.hub.attach(self._listener)
        self._tap()
        self.url = await self._listener.start()
        self._port = self._listener.port
        self._http = aiohttp.ClientSession(self.url, headers={"Authorization": f"Bearer {TOKEN}"})

    async def stop(self) -> None:
        """Disconnect everybody."""
        await self._http.close()
        await self.hub.stop()
        await self._listener.stop()

    async def restart(self) -> None:
        """Gone and there again: same database, same port."""
        await self.stop()
        await self.start()

    async def kick(self) -> None:
        """Disconnect every device, as a server does that was told to."""
        sockets = self.hub._sockets
        for sid in list(sockets._connections):
            await sockets._server.disconnect(sid, namespace="/local-executor")

    # --- the user's side -----------------------------------------------------------------------

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of the answer; AssertionError unless it is 200."""
        async with self._http.request(method, path, json=body) as answer:
            found = await answer.json()
            assert answer.status == 200, found
            return found

    async def dispatch(self, prompt: str, **payload: Any) -> Turn:
        """A new task; `payload` are further fields of its `task:execute`."""
        return _last(await self.call("POST", "/api/tasks", {"prompt": prompt, "payload": payload}))

    async def upload(self, path: str, data: bytes, media_type: str = "application/zip") -> Any:
        """The JSON of the answer to an upload; AssertionError unless it is 200."""
        async with self._http.post(path, data=data, headers={"Content-Type": media_type}) as answer:
            found = await answer.json()
            assert answer.status == 200, found
            return found

    async def dispatch_with(
        self, prompt: str, *, attachments: list[int], skills: list[str], **payload: Any
    ) -> Turn:
        """A new task that brings things of the library."""
        body = {"prompt": prompt, "attachments": attachments, "skills": skills, "payload": payload}
        return _last(await self.call("POST", "/api/tasks", body))

    async def follow_up(self, turn: Turn, prompt: str, **payload: Any) -> Turn:
        """A further message of the same task."""
        body = {"prompt": prompt, "payload": payload}
        return _last(await self.call("POST", f"/api/tasks/{turn.task_id}/messages", body))

    async def cancel(self, turn: Turn) -> None:
        """The user presses stop."""
        await self.call("POST", f"/api/tasks/{turn.task_id}/cancel", {})

    async def answer(self, turn: Turn) -> dict[str, Any]:
        """The answer as it stands: status, text, error, tools, …"""
        task = await self.call("GET", f"/api/tasks/{turn.task_id}")
        [message] = [m for m in task["messages"] if m["subtask_id"] == turn.subtask_id]
        return dict(message)

    async def until_text(self, turn: Turn, words: str, limit_s: float = 20) -> None:
        """Wait until the answer begins with these words, finished or not."""
        async with asyncio.timeout(limit_s):
            while not (await self.answer(turn))["text"].startswith(words):
                await asyncio.sleep(0.025)

    async def until_status(self, turn: Turn, status: str, limit_s: float = 20) -> dict[str, Any]:
        """Wait for that state of the answer, and return it."""
        answer: dict[str, Any] = {}
        try:
            async with asyncio.timeout(limit_s):
                while (answer := await self.answer(turn))["status"] != status:
                    await asyncio.sleep(0.025)
        except TimeoutError:
            raise AssertionError(f"{answer} did not become {status}") from None
        return answer

    async def until_ended(self, turn: Turn, limit_s: float = 30) -> Terminal:
        """Wait for the first last word of a turn, and return it."""
        async with asyncio.timeout(limit_s):
            while not (found := self.terminals_of(turn)):
                await asyncio.sleep(0.025)
        return found[0]

    def terminals_of(self, turn: Turn) -> list[Terminal]:
        """Every last word that came for the turn."""
        return [one for one in self.terminals if one.subtask_id == turn.subtask_id]

    async def until_online(self, is_online: bool = True, limit_s: float = 20) -> dict[str, Any]:
        """Wait until the only device is shown as online (or offline)."""
        async with asyncio.timeout(limit_s):
            while True:
                items = (await self.call("GET", "/api/devices"))["items"]
                if items and (items[0]["status"] != "offline") is is_online:
                    return dict(items[0])
                await asyncio.sleep(0.025)

    def online_count(self) -> int:
        """How many devices are registered this moment."""
        return len(self.hub._devices._records)

    # --- what came over the wire ---------------------------------------------------------------

    def _tap(self) -> None:
        """Look at what devices report, before the hub makes of it what it will."""
        subtasks: Any = self.hub._subtasks
        subtasks.response = self._seen(subtasks.response, self._response_terminal)
        subtasks.complete = self._seen(subtasks.complete, _complete_terminal)
        subtasks.progress = self._seen(subtasks.progress, _progress_terminal)

    def _seen(
        self,
        handle: Callable[..., Awaitable[Any]],
        terminal_in: Callable[..., Terminal | None],
    ) -> Callable[..., Awaitable[Any]]:
        async def tapped(*arguments: Any) -> Any:
            if (terminal := terminal_in(*arguments)) is not None:
                self.terminals.append(terminal)
            return await handle(*arguments)

        return tapped

    def _response_terminal(self, _user: int, event: str, data: Any) -> Terminal | None:
        if not data:
            return None  # the probe for the dialect
        _task_id, subtask_id, inner = wire.envelope(data)
        match wire.decode_response(event, inner):
            case wire.Text(delta):
                self.deltas.append((asyncio.get_running_loop().time(), delta))
            case wire.Ended(status=status, text=text, error=error):
                return Terminal(subtask_id, status, text, error)
        return None


def _complete_terminal(_user: int, _device: str, data: Any) -> Terminal | None:
    if not data:
        return None
    report = wire.parse_progress(data)
    return Terminal(report.subtask_id, report.status or "COMPLETED", report.value, report.error)


def _progress_terminal(_user: int, _device: str, data: Any) -> Terminal | None:
    if not data:
        return None
    report = wire.parse_progress(data)
    if report.status in (None, "PENDING", "RUNNING"):
        return None
    return Terminal(report.subtask_id, report.status, report.value, report.error)


def _last(task: dict[str, Any]) -> Turn:
    return Turn(task["id"], task["messages"][-1]["subtask_id"])
