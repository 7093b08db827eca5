"""A server of attachments and skills on loopback, with the bad answers of real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

TOKEN = "eyJtoken-of-the-task"


class MaterialServer:
    """`files` and `skills` by id are what it has; what was asked is in `asked`.

    A file that is a number is an HTTP status, one that is a text is where a redirect leads.
    """

    def __init__(self) -> None:
        self.url = ""
        self.files: dict[int, bytes | int | str] = {}
        self.is_chunked = False
        self.skills: dict[int, bytes] = {}
        self.names: dict[str, int] = {}
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.hanging = asyncio.Event()
        """Set when somebody asks for attachment 999, which never comes."""

    def add_to(self, app: web.Application, prefix: str = "") -> None:
        """Answer below this path of a server."""
        app.router.add_get(f"{prefix}/api/attachments/{{id}}/executor-download", self.attachment)
        app.router.add_get(f"{prefix}/api/v1/kinds/skills", self.look_up)
        app.router.add_get(f"{prefix}/api/v1/kinds/skills/{{id}}/download", self.skill)

    async def attachment(self, request: web.Request) -> web.StreamResponse:
        self._note(request)
        number = int(request.match_info["id"])
        if number == 999:
            self.hanging.set()
            await asyncio.Event().wait()
        match self.files.get(number, 404):
            case int(status):
                return web.Response(status=status)
            case str(location):
                return web.Response(status=302, headers={"Location": location})
            case content:
                answer = web.Response(body=content)
                if self.is_chunked:
                    answer.enable_chunked_encoding()
                return answer

    async def look_up(self, request: web.Request) -> web.Response:
        self._note(request)
        number = self.names.get(request.query["name"])
        metadata = {
            "name": request.query["name"],
            "namespace": "team",
            "labels": {"id": f"{number}"},
        }
        return web.json_response({"items": [] if number is None else [{"metadata": metadata}]})

    async def skill(self, request: web.Request) -> web.Response:
        self._note(request)
        found = self.skills.get(int(request.match_info["id"]))
        return web.Response(status=404) if found is None else web.Response(body=found)

    def _note(self, request: web.Request) -> None:
        self.asked.append(request.path_qs)
        self.tokens.add(request.headers.get("Authorization"))


@asynccontextmanager
async def material_server() -> AsyncIterator[MaterialServer]:
    """Run one on a free port, for the length of the block."""
    server = MaterialServer()
    app = web.Application()
    server.add_to(app, "/base")
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}/base"
        yield server
    finally:
        await runner.cleanup()
