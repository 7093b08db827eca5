"""A small Socket.IO server for devices that does what real ones do, also in their bad moments.

It keeps its port over a restart and writes down everything that arrives.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import socketio
from aiohttp import web
from msgspec import Struct
from socketio.exceptions import ConnectionRefusedError as Refused

from executor_core.jobs import Jobs
from tests.support import canaries
from tests.support.material_server import MaterialServer
from tests.support.stored_blocks import StoredBlocks

NAMESPACE = "/local-executor"
MAX_PACKET_BYTES = 1_000_000
BARE_REFUSAL = "Connection refused by server"
"""The text of the servers of February 2026, whatever the reason."""
NEWER_BARE_REFUSAL = "Connection rejected by server"
"""What newer libraries make of the same refusal."""
_FAREWELL_S = 2.0
EMPTY = object()
"""As an answer: an acknowledgement without an argument."""
SILENCE = object()
"""As an answer: no acknowledgement at all."""

Json = dict[str, Any]


class Seen(Struct, frozen=True):
    """An event as it arrived."""

    event: str
    data: Any
    socket: str


class _Utf8Json:
    @staticmethod
    def dumps(value: Any, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=False, **options)

    loads = staticmethod(json.loads)


class DeviceServer:
    """Speaks dialect "R", "P", "both" or "none". Switches may be turned at any time.

    `refusal`: refuse connects with this text. `answers`: what to acknowledge an event with, instead
    of the usual: a value, EMPTY, SILENCE, or a deque of these, one for each time. `in_any_order`:
    handle frames that are in flight together side by side, as servers of August 2026 do. `is_v2`
    (dialect R): as from v2 on. `blocks`: what becomes of the frames of dialect R.
    """

    def __init__(self, dialect: str = "R") -> None:
        self.dialect = dialect
        self.refusal: str | None = None
        self.answers: dict[str, Any] = {}
        self.seen: list[Seen] = []
        self.tokens: list[Any] = []
        self.materials = MaterialServer()
        self.port = 0
        self.root_status = 200
        self.in_any_order: random.Random | None = None
        self.blocks = StoredBlocks()
        self.is_v2 = True
        self._registered: dict[str, str] = {}

    # --- life ------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, on the port of the last time if there was one."""
        self._jobs = Jobs("device server")
        self._released = asyncio.Event()
        self._socketio = self._make_socketio()
        app = web.Application()
        app.router.add_get("/", self._root)
        self.materials.add_to(app)
        self._socketio.attach(app)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Every socket ends. AssertionError if it was ever told a secret."""
        told = json.dumps([[seen.event, seen.data] for seen in self.seen], ensure_ascii=False)
        assert canaries.found_in(told) == []
        self.release()
        for sid in list(self._socketio.eio.sockets):
            # One that was cut off in its handshake would wait for ever for its last words.
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S):
                    await self.kick_transport(sid)
        await self._socketio.shutdown()
        await self._runner.cleanup()
        await self._jobs.close()
        self._registered.clear()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # --- what the server does --------------------------------------------------------------

    async def send(self, event: str, data: Any) -> None:
        """Emit to every registered device."""
        for sid in self._registered:
            await self._socketio.emit(event, data, to=sid, namespace=NAMESPACE)

    async def ask(self, event: str, data: Any) -> Any:
        """Call the registered device and return its acknowledgement."""
        [sid] = self._registered
        return await self._socketio.call(event, data, to=sid, namespace=NAMESPACE, timeout=5)

    def release(self) -> None:
        """Acknowledge what SILENCE held back, at last and without an argument."""
        self._released.set()

    async def kick_namespace(self) -> None:
        for sid in list(self._registered):
            await self._socketio.disconnect(sid, namespace=NAMESPACE)

    async def kick_transport(self, sid: str | None = None) -> None:
        """Close the Engine.IO session."""
        for eio_sid in [sid] if sid else list(self._socketio.eio.sockets):
            await self._socketio.eio.disconnect(eio_sid)

    # --- what it saw -----------------------------------------------------------------------

    def events(self, *names: str) -> list[Seen]:
        """What arrived under these names; without any, all but registration and the like."""
        quiet = ("device:register", "device:heartbeat")
        return [
            seen
            for seen in self.seen
            if (seen.event in names if names else seen.event not in quiet and seen.data)
        ]

    def of_subtask(self, subtask_id: int) -> list[Seen]:
        return [seen for seen in self.events() if seen.data.get("subtask_id") == subtask_id]

    def terminals(self, subtask_id: int) -> list[Seen]:
        ends = ("response.completed", "response.incomplete", "error", "task:complete")
        return [seen for seen in self.of_subtask(subtask_id) if seen.event in ends]

    @property
    def online(self) -> int:
        """How many sockets are registered."""
        return len(self._registered)

    async def until(self, condition: Callable[[], Any], limit_s: float = 10) -> Any:
        """Wait until `condition` holds; its value."""
        try:
            async with asyncio.timeout(limit_s):
                while not (value := condition()):
                    await asyncio.sleep(0.002)
                return value
        except TimeoutError:
            told = [(seen.event, str(seen.data)[:120]) for seen in self.seen[-15:]]
            raise AssertionError(f"it did not happen; the last that came: {told}") from None

    async def until_online(self) -> None:
        await self.until(lambda: self.online)

    async def until_seen(self, *events: str, count: int = 1) -> Seen:
        """The `count`th event of that kind, from now or before."""
        seen: list[Seen] = await self.until(
            lambda: found if len(found := self.events(*events)) >= count else None
        )
        return seen[count - 1]

    async def until_ended(self, subtask_id: int, count: int = 1, limit_s: float = 10) -> Seen:
        seen: list[Seen] = await self.until(
            lambda: found if len(found := self.terminals(subtask_id)) >= count else None, limit_s
        )
        return seen[count - 1]

    # --- inside ----------------------------------------------------------------------------

    def _make_socketio(self) -> Any:
        server = socketio.AsyncServer(
            async_mode="aiohttp",
            transports=["websocket"],
            max_http_buffer_size=MAX_PACKET_BYTES,
            cors_allowed_origins=[],
            json=_Utf8Json,
        )

        def spawn(work: Callable[..., Any], *args: Any, **named: Any) -> asyncio.Task[Any]:
            return self._jobs.spawn(work(*args, **named), "socket")

        server.eio.start_background_task = spawn
        server.on("connect", self._connect, namespace=NAMESPACE)
        server.on("disconnect", self._disconnect, namespace=NAMESPACE)
        server.on("*", self._event, namespace=NAMESPACE)
        return server

    async def _root(self, _request: web.Request) -> web.Response:
        return web.json_response({"name": "test", "version": "1.0.0"}, status=self.root_status)

    async def _connect(self, _sid: str, _environ: Json, auth: Any = None) -> bool | None:
        self.tokens.append(auth.get("token") if isinstance(auth, dict) else None)
        if self.refusal == NEWER_BARE_REFUSAL:
            return False  # the library's own words
        if self.refusal is not None:
            raise Refused(self.refusal)
        return None

    async def _disconnect(self, sid: str, _reason: object = None) -> None:
        self._registered.pop(sid, None)

    async def _event(self, event: str, sid: str, *args: Any) -> Any:
        data = args[0] if args else None
        self.seen.append(Seen(event, data, sid))
        answer = self.answers.get(event, self._usual) if data else self._usual
        if isinstance(answer, deque):
            answer = answer.popleft() if answer else self._usual
        if answer is SILENCE:
            await self._released.wait()
        if data and event.startswith("response."):
            await self._wait_in_line()
            self.blocks.take(event, data)
        if answer is EMPTY or answer is SILENCE:
            return None
        return self._usual_answer(event, data, sid) if answer is self._usual else answer

    _usual = object()

    async def _wait_in_line(self) -> None:
        """For the database, which answers whom it likes first."""
        if self.in_any_order is not None:
            for _ in range(self.in_any_order.randrange(60)):
                await asyncio.sleep(0)

    def _usual_answer(self, event: str, data: Any, sid: str) -> Json | None:
        if event == "device:register":
            self._registered[sid] = data["device_id"]
            return {"success": True, "device_id": data["device_id"]}
        if event == "device:heartbeat":
            return {"success": True}
        if event == "terminal:output" and self.is_v2 and self.dialect == "R":
            return {"error": "Missing session_id"}
        if self.dialect in ("P", "both") and event in ("task:progress", "task:complete"):
            return {"success": True} if data else {"error": "Missing subtask_id"}
        if self.dialect in ("R", "both") and (event.startswith("response.") or event == "error"):
            return {"success": True} if data else {"error": "Missing task_id or subtask_id"}
        return None
