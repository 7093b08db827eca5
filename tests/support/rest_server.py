"""A Wegent server's REST side that answers as the test says."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from aiohttp import web
from msgspec import Struct


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

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await asyncio.sleep(0)

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
