"""What the scripted model APIs share: the script, what was asked, and the server on loopback.

A script is a list of turns, used up one per request, or a function from the request to a turn
(needed as soon as several runs share one API). A request that the script does not foresee is
answered with an error that says so and fails the test when the API closes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from aiohttp import web


class Gate:
    """A place inside an answer where the API waits until the test says go.

    `reached` is set as soon as everything before the gate is written.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    def open(self) -> None:
        """Let the answer go on."""
        self._open.set()

    async def pass_through(self) -> None:
        self.reached.set()
        await self._open.wait()


@dataclass(frozen=True)
class Asked:
    """One request for an answer. Header names are in lower case."""

    headers: Mapping[str, str]
    body: Mapping[str, Any]
    aborted: asyncio.Event = field(default_factory=asyncio.Event, compare=False)
    """Set when the client left before the answer was complete."""

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def key(self) -> str:
        """The credential."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def prompts(self) -> tuple[str, ...]:
        """What the person said so far, oldest first, without the agent's own reminders."""
        raise NotImplementedError


_R = TypeVar("_R", bound=Asked)
_T = TypeVar("_T")


class ScriptedApi(Generic[_R, _T]):
    """A running API: its `url` (the agent's base URL) and what it was asked."""

    base_path: ClassVar[str] = ""
    """What `url` ends with."""

    def __init__(self, script: Sequence[_T] | Callable[[_R], _T]) -> None:
        self.url = ""
        self.requests: list[_R] = []
        self.unforeseen: list[_R] = []
        self._script = script
        self._used = 0
        self._news = asyncio.Event()

    async def wait_for_requests(self, count: int, timeout_s: float = 40) -> None:
        """Wait until `count` requests came. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while len(self.requests) < count:
                self._news.clear()
                await self._news.wait()

    async def receive(self, http: web.Request) -> web.StreamResponse:
        """Answer a request as the script says."""
        headers = {name.lower(): value for name, value in http.headers.items()}
        request = self.read(headers, await http.json())
        turn = self.side_work(request)
        if turn is None:
            self.requests.append(request)
            self._news.set()
            turn = self._next_turn(request)
        try:
            return await self.answer(http, request, turn)
        except (asyncio.CancelledError, ConnectionError):
            request.aborted.set()
            raise

    def _next_turn(self, request: _R) -> _T:
        if callable(self._script):
            return self._script(request)
        if self._used < len(self._script):
            self._used += 1
            return self._script[self._used - 1]
        self.unforeseen.append(request)
        return self.refusal("The test's script has no turn for this request.")

    # --- each API's own -------------------------------------------------------------------

    def routes(self) -> Sequence[web.RouteDef]:
        """What the API listens to."""
        raise NotImplementedError

    def read(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> _R:
        """The request."""
        raise NotImplementedError

    def refusal(self, words: str) -> _T:
        """The turn for a request that the script does not foresee."""
        raise NotImplementedError

    def side_work(self, _request: _R) -> _T | None:
        """The turn for what an agent asks for itself; it does not use up the script."""
        return None

    async def answer(self, http: web.Request, request: _R, turn: _T) -> web.StreamResponse:
        """Write the turn."""
        raise NotImplementedError


_A = TypeVar("_A", bound=ScriptedApi[Any, Any])


@asynccontextmanager
async def running(api: _A) -> AsyncIterator[_A]:
    """Run the API on a free port of loopback, for the length of the block.

    Raises AssertionError at the end if a request came that the script did not foresee.
    """
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_routes(api.routes())
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        api.url = f"http://{host}:{port}{api.base_path}"
        yield api
    finally:
        await runner.cleanup()
    assert not api.unforeseen, f"not in the script: {[r.prompts[-1:] for r in api.unforeseen]}"


async def open_stream(http: web.Request) -> web.StreamResponse:
    """The beginning of an answer in server-sent events."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(http)
    return response


def hang_up(http: web.Request) -> None:
    """Close the connection, after what was written and before the end of the answer."""
    assert http.transport is not None
    http.transport.close()
