"""A started listener with one route of each kind of access, and a client without manners."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from executor_core.errors import ExecutorError
from executor_core.web import Access, Listener, read_json, user_of
from tests.support.clock import JumpingClock

TOKEN = "owner-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def _whoami(request: web.Request) -> web.Response:
    return web.json_response({"user": user_of(request)})


async def _hello(_request: web.Request) -> web.Response:
    return web.json_response({"hello": True})


async def _echo(request: web.Request) -> web.Response:
    return web.json_response(await read_json(request))


async def _crash(_request: web.Request) -> web.Response:
    raise RuntimeError("secret /path/of/mine")


async def _refuse(_request: web.Request) -> web.Response:
    raise ExecutorError("unknown_path")


@pytest.fixture
async def listener(clock: JumpingClock) -> AsyncIterator[Listener]:
    listener = Listener(port=0, token=TOKEN, clock=clock)
    listener.route("GET", "/public", _hello, access=Access.PUBLIC)
    listener.route("GET", "/own", _hello, access=Access.OWN)
    listener.route("GET", "/token", _whoami)
    listener.route("GET", "/stream", _whoami, access=Access.STREAM)
    listener.route("POST", "/echo", _echo)
    listener.route("GET", "/crash", _crash)
    listener.route("GET", "/refuse", _refuse)
    listener.accept(lambda token: "second" if token == "second-token" else None)
    yield listener
    await listener.stop()


@pytest.fixture
async def base(listener: Listener) -> str:
    return await listener.start()


@pytest.fixture
async def http(base: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base) as session:
        yield session
