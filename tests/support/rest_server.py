"""A Wegent server's REST side that answers as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import socketio
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Struct
from socketio.exceptions import ConnectionRefusedError as Refused

from executor_core.jobs import Jobs


class Asked(Struct, frozen=True):
    """One request that came."""

    method: str
    path: str
    token: str
    body: Any


class RestServer:
    """`answers` by "METHOD /path": (status, JSON) or (status, text). What is not there is 404.

    The text of a 302 is where to go instead.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "GET /": (200, {"name": "Wegent", "version": "1.0.0", "api_prefix": "/api"})
        }
        self.asked: list[Asked] = []
        self.has_sockets = False
        self.refusal: str | None = None
        """Why a socket is refused."""
        self.connected: list[str] = []
        """The tokens that sockets came with."""

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._without_sockets])
        self._jobs = Jobs("rest server")
        self._sockets = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])

        def spawn(work: Any, *args: Any, **named: Any) -> asyncio.Task[Any]:
            return self._jobs.spawn(work(*args, **named), "socket")

        self._sockets.eio.start_background_task = spawn
        self._sockets.on("connect", self._connect, namespace="/chat")
        self._sockets.on("connect", self._connect, namespace="/local-executor")
        self._sockets.attach(app)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._sockets.shutdown()
        await self._runner.cleanup()
        await self._jobs.close()
        await asyncio.sleep(0)

    @web.middleware
    async def _without_sockets(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        is_socket = request.path.startswith("/socket.io")
        return await (self._answer if is_socket and not self.has_sockets else handler)(request)

    @asynccontextmanager
    async def with_chat(self, ack: Any) -> AsyncIterator[list[Any]]:
        """Answers `chat:send` of web pages so; what they say."""
        told: list[Any] = []

        async def send(_sid: str, data: Any) -> Any:
            told.append(data)
            return ack

        self.has_sockets = True
        self._sockets.on("chat:send", send, namespace="/chat")
        yield told

    async def _connect(self, _sid: str, _environ: Any, auth: Any = None) -> None:
        self.connected.append(auth["token"])
        if self.refusal is not None:
            raise Refused(self.refusal)

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked.append(Asked(request.method, request.path, token, body))
        key = f"{request.method} {request.path}"
        status, answer = self.answers.get(key, (404, {"detail": "Not Found"}))
        if status == 302:
            return web.Response(status=status, headers={"Location": answer})
        if isinstance(answer, str):
            return web.Response(status=status, text=answer)
        return web.json_response(answer, status=status)
