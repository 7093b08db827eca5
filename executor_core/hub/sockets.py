"""The server side of the device link: one Socket.IO namespace, its handshake and its acks."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

import socketio
from aiohttp import web
from socketio.exceptions import ConnectionRefusedError as Refused

from executor_core import texts
from executor_core.clock import Clock
from executor_core.hub import wire
from executor_core.hub.accounts import API_KEY, Accounts
from executor_core.hub.devices import Devices
from executor_core.hub.store import Json
from executor_core.hub.subtasks import Subtasks
from executor_core.hub.wire import Dialect
from executor_core.jobs import Jobs
from executor_core.web import Access, Listener

_log = logging.getLogger("executor.hub")

NAMESPACE = "/local-executor"
MAX_PACKET_BYTES = 1_000_000
PING_INTERVAL_S = 25
PING_TIMEOUT_S = 20
DISCONNECT_GRACE_S = 2.0
_ATTEMPTS = 30
_ATTEMPTS_WINDOW_S = 30.0
_CLOSE_S = 2.0
_MAX_PEERS = 1000

_NOT_REGISTERED = "Not authenticated or not registered"
_OK: Json = {"success": True}

EventHandler = Callable[["DeviceSocket", Any], Awaitable[Json]]


class _Utf8Json:
    """JSON as it is measured on the wire: characters as themselves, not as escapes."""

    @staticmethod
    def dumps(value: Any, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=False, **options)

    loads = staticmethod(json.loads)


@dataclass
class DeviceSocket:
    """One device's socket. `device_id` is None until it registers."""

    sid: str
    user_id: int
    device_id: str | None = None


class Sockets:
    """Devices connect here. Events that a server of the dialect does not know get an empty ack."""

    def __init__(
        self,
        clock: Clock,
        dialect: Dialect,
        accounts: Accounts,
        devices: Devices,
        subtasks: Subtasks,
        jobs: Jobs,
    ) -> None:
        self._clock = clock
        self._dialect: Dialect = dialect
        self._accounts = accounts
        self._devices = devices
        self._subtasks = subtasks
        self._jobs = jobs
        self._connections: dict[str, DeviceSocket] = {}
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()
        self._is_closing = False
        self._server = self._make_server()
        self._handlers: dict[str, EventHandler] = {
            "device:register": self._register,
            "device:heartbeat": self._heartbeat,
            "device:status": self._status,
        }
        if dialect == "progress":
            self._handlers |= {"task:progress": self._progress, "task:complete": self._complete}
        else:
            self._handlers |= _RESPONSES_HANDLERS

    def attach(self, listener: Listener) -> None:
        """Serve `/socket.io/` there, and close all sockets when it stops."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if self._is_closing:
                raise web.HTTPServiceUnavailable
            response: web.StreamResponse = await self._server.handle_request(request)
            return response

        listener.route("GET", "/socket.io/", handle, access=Access.OWN)

        async def close(_app: object) -> None:
            await self.close()

        listener.app.on_shutdown.append(close)

    async def send(self, user_id: int, device_id: str, event: str, data: Json) -> None:
        """Emit to every socket that registered as the device."""
        await self._server.emit(event, data, room=_room(user_id, device_id), namespace=NAMESPACE)

    def keep_only(self, user_ids: Collection[int]) -> None:
        """Disconnect the devices of everybody else."""
        for sid, socket in self._connections.items():
            if socket.user_id not in user_ids:
                self._jobs.spawn(self._server.disconnect(sid, namespace=NAMESPACE), "user is gone")

    async def close(self) -> None:
        """Disconnect all devices; what they run is not failed by it. Harmless to repeat."""
        if self._is_closing:
            return
        self._is_closing = True
        goodbyes = {
            self._jobs.spawn(self._server.disconnect(sid, namespace=NAMESPACE), "goodbye")
            for sid in self._connections
        }
        if goodbyes:
            # Peers that take nothing more must not hold us; their sockets end with the listener.
            await asyncio.wait(goodbyes, timeout=_CLOSE_S)
        await self._server.shutdown()

    def _make_server(self) -> Any:
        server = socketio.AsyncServer(
            async_mode="aiohttp",
            transports=["websocket"],
            max_http_buffer_size=MAX_PACKET_BYTES,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            cors_allowed_origins=[],
            # One event of a socket after the other: their order is the order of the text.
            async_handlers=False,
            json=_Utf8Json,
        )

        def spawn(work: Callable[..., Any], *args: Any, **named: Any) -> asyncio.Task[Any]:
            return self._jobs.spawn(work(*args, **named), "socket")

        # The library keeps no hold of its background tasks; ours end with the hub.
        server.eio.start_background_task = spawn
        server.on("connect", self._connect, namespace=NAMESPACE)
        server.on("disconnect", self._disconnect, namespace=NAMESPACE)
        server.on("*", self._event, namespace=NAMESPACE)
        return server

    # --- connections ---------------------------------------------------------------------------

    async def _connect(self, sid: str, environ: Json, auth: Any = None) -> None:
        if self._is_closing:
            raise Refused("Server is shutting down")
        self._count_attempt(str(environ["aiohttp.request"].remote))
        token = auth.get("token") if isinstance(auth, dict) else None
        if not token or not isinstance(token, str):
            raise Refused("Missing authentication token")
        name = self._accounts.verify(token)
        user_id = None if name is None else await self._accounts.user_id(name)
        if user_id is None:
            kind = "API key" if token.startswith(API_KEY) else "token"
            raise Refused(f"Invalid or expired {kind}")
        self._connections[sid] = DeviceSocket(sid, user_id)
        await self._server.enter_room(sid, f"user:{user_id}", namespace=NAMESPACE)

    def _count_attempt(self, peer: str) -> None:
        now = self._clock.monotonic()
        times = self._attempts.setdefault(peer, deque())
        self._attempts.move_to_end(peer)
        while len(self._attempts) > _MAX_PEERS:
            self._attempts.popitem(last=False)
        while times and now - times[0] > _ATTEMPTS_WINDOW_S:
            times.popleft()
        if len(times) >= _ATTEMPTS:
            raise Refused("Too many device connection attempts")
        times.append(now)

    async def _disconnect(self, sid: str, _reason: object = None) -> None:
        socket = self._connections.pop(sid, None)
        if socket is None or socket.device_id is None or self._is_closing:
            return
        if self._devices.owns(socket.user_id, socket.device_id, sid):
            self._jobs.spawn(self._grace(socket.user_id, socket.device_id, sid), "disconnect grace")

    async def _grace(self, user_id: int, device_id: str, sid: str) -> None:
        await self._clock.sleep(DISCONNECT_GRACE_S)
        if self._devices.owns(user_id, device_id, sid):
            _log.info("device %s disconnected", device_id)
            reason = texts.text("hub.device_disconnected")
            await self._subtasks.fail_device(user_id, device_id, reason)
            await self._lose(user_id, device_id, sid)

    async def _lose(self, user_id: int, device_id: str, sid: str) -> None:
        """The device is gone, unless another socket of it has come meanwhile."""
        if self._devices.owns(user_id, device_id, sid):
            await self._devices.lose(user_id, device_id)

    # --- events --------------------------------------------------------------------------------

    async def _event(self, event: str, sid: str, *data: Any) -> Json | None:
        socket = self._connections.get(sid)
        if socket is None:
            return {"error": "Not authenticated"}
        handler = self._handlers.get(event)
        payload = data[0] if data else None
        try:
            if handler is not None:
                return await handler(socket, payload)
            if self._dialect == "responses" and wire.is_response_event(event, payload):
                return await self._response(socket, event, payload)
            return None
        except wire.InvalidPayload as error:
            return {"error": str(error)}
        except Exception as error:
            _log.exception("%s failed: %s", event, type(error).__name__)
            return {"error": "Internal server error"}

    async def _register(self, socket: DeviceSocket, data: Any) -> Json:
        device = wire.parsed(wire.Registration, data)
        user_id, sid = socket.user_id, socket.sid
        if (error := await self._devices.register(user_id, sid, device)) is not None:
            return {"error": f"Registration failed: {error}"}
        if sid not in self._connections:
            await self._lose(user_id, device.device_id, sid)
            return {"error": "Client disconnected during device registration"}
        socket.device_id = device.device_id
        await self._server.enter_room(sid, _room(user_id, device.device_id), namespace=NAMESPACE)
        if self._dialect == "responses":
            self._jobs.spawn(self._sync_capabilities(sid), "sync capabilities")
        self._jobs.spawn(self._send_again(user_id, device.device_id), "send again")
        _log.info("device %s registered", device.device_id)
        return {"success": True, "device_id": device.device_id}

    async def _send_again(self, user_id: int, device_id: str) -> None:
        """What was sent while the device was away; what it has already it knows for a repeat."""
        for answer in self._subtasks.running_on(user_id, device_id):
            if answer.unheard is not None:
                await self.send(user_id, device_id, "task:execute", answer.unheard)

    async def _sync_capabilities(self, sid: str) -> None:
        request: Json = {"mode": "replace", "skills": [], "plugins": [], "mcps": []}
        await self._server.emit(
            "device:sync_capabilities", request, to=sid, namespace=NAMESPACE, callback=_synced
        )

    async def _heartbeat(self, socket: DeviceSocket, data: Any) -> Json:
        beat = wire.parse_heartbeat(data, self._dialect)
        if beat.device_id != socket.device_id:
            return {"error": "Device ID mismatch"}
        error = await self._devices.heartbeat(socket.user_id, socket.sid, beat)
        return _OK if error is None else {"error": error}

    async def _status(self, socket: DeviceSocket, data: Any) -> Json:
        said = wire.parsed(wire.Status, data)
        if said.device_id != socket.device_id:
            return {"error": "Device ID mismatch"}
        await self._devices.set_status(socket.user_id, said.device_id, said.status)
        return _OK

    async def _response(self, socket: DeviceSocket, event: str, data: Any) -> Json:
        if socket.device_id is None:
            return {"error": _NOT_REGISTERED}
        return await self._subtasks.response(socket.user_id, event, data)

    async def _progress(self, socket: DeviceSocket, data: Any) -> Json:
        if socket.device_id is None:
            return {"error": _NOT_REGISTERED}
        return await self._subtasks.progress(socket.user_id, socket.device_id, data)

    async def _complete(self, socket: DeviceSocket, data: Any) -> Json:
        if socket.device_id is None:
            return {"error": _NOT_REGISTERED}
        return await self._subtasks.complete(socket.user_id, socket.device_id, data)


def _room(user_id: int, device_id: str) -> str:
    return f"device:{user_id}:{device_id}"


def _synced(*answer: Any) -> None:
    # The hub keeps no skills, so it only takes note that the device answers at all.
    _log.debug("capability sync was answered with %d values", len(answer))


async def _upgrade_status(_socket: DeviceSocket, data: Any) -> Json:
    wire.parsed(wire.UpgradeStatus, data)
    return _OK


async def _terminal(_socket: DeviceSocket, data: Any) -> Json:
    has_session = isinstance(data, dict) and bool(data.get("session_id"))
    return _OK if has_session else {"error": "Missing session_id"}


async def _runtime_tasks(_socket: DeviceSocket, data: Any) -> Json:
    if not (isinstance(data, dict) and data):
        return {"error": "Invalid runtime task update payload"}
    return {"success": True, "notified": 0}


async def _runtime_event(_socket: DeviceSocket, _data: Any) -> Json:
    return _OK


_RESPONSES_HANDLERS: dict[str, EventHandler] = {
    "device:upgrade_status": _upgrade_status,
    "terminal:output": _terminal,
    "terminal:exit": _terminal,
    "runtime.tasks.updated": _runtime_tasks,
    "runtime:event": _runtime_event,
}
