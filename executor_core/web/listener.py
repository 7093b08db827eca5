"""The listener: a socket, the guard as its first middleware, and a table of routes."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import socket
import sys
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import msgspec
from aiohttp import web

from executor_core import open_files
from executor_core.clock import Clock, SystemClock
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.loopback import is_loopback
from executor_core.texts import Message, accepted_language, in_words, paragraph
from executor_core.web import guard
from executor_core.web.guard import Verifier
from executor_core.web.seldom import Seldom
from executor_core.web.sse import ServerEvent, write_events

_log = logging.getLogger("executor.web")
_T = TypeVar("_T")
_strangers = logging.getLogger("executor.web.strangers")
"""What is wrong with requests that are none, in one line each: anybody may send them."""
_strangers.addFilter(Seldom(with_traceback=False))
_failures = logging.getLogger("executor.web.failures")
_failures.addFilter(Seldom())

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OWNER = "owner"
"""The name of the user who holds the listener's own token."""

BODY_LIMIT_BYTES = 1024 * 1024
TICKET_LIFE_S = 600.0
LEFT_LOOK_S = 1.0
_MAX_TICKETS = 32
_MAX_METHOD = 20
_MAX_PATH = 200
_MAX_STREAMS = 1000
_SHUTDOWN_S = 2.0
_BACKLOG = 64
_LEAST_CONNECTIONS = 16
_MOST_CONNECTIONS = 2000
SILENCE_S = 30.0
"""How long a connection may be open without a request on it."""

# Requests have typed keys from aiohttp 3.14 on; before that any hashable serves.
_USER: Any = getattr(web, "RequestKey", web.AppKey)("user", str)

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml; charset=utf-8",
}


class Access(Enum):
    """What a request must bring. Host and Origin are checked for all of them."""

    PUBLIC = auto()
    """Nothing."""
    TOKEN = auto()
    """`Authorization: Bearer …`."""
    STREAM = auto()
    """As TOKEN, or `?access_token=…`: only for event streams, whose clients cannot set headers."""
    OWN = auto()
    """The route guards itself."""


class _Rules(NamedTuple):
    """What is asked of requests for one route."""

    access: Access = Access.TOKEN
    is_upload: bool = False
    body_limit: int = BODY_LIMIT_BYTES


def user_of(request: web.Request) -> str:
    """The name of the user whose token the request brought. Not for PUBLIC and OWN routes."""
    user: str = request[_USER]
    return user


async def read_json(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object.

    Raises:
        ExecutorError: `bad_json`, when it is neither.
    """
    body = await request.read()
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExecutorError("bad_json") from error


def words_for(request: web.Request, value: _T) -> _T:
    """In the language that the request asks for, which need not be that of the executor."""
    return in_words(value, accepted_language(request.headers.get("Accept-Language", "")))


def error_response(request: web.Request, error: Message, status: int, **more: str) -> web.Response:
    """An error as every route answers it: ours in `error`, one paragraph in `detail`."""
    said = words_for(request, error)
    words = {"title": said.given_title, "detail": said.given_detail, "hint": said.given_hint}
    ours = {"code": said.code, **words, "values": msgspec.to_builtins(said.values)}
    sentence = paragraph(*words.values())
    return web.json_response({"error": ours, "detail": sentence, **more}, status=status)


def download(data: bytes, name: str) -> web.Response:
    """A file to be saved: no browser shows what came from elsewhere as a page of ours."""
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return web.Response(
        body=data,
        content_type="application/octet-stream",
        headers={"Content-Disposition": disposition},
    )


class Listener:
    """One HTTP listener. Register routes, then `start`; `stop` ends open streams at once."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8090,
        port_is_fixed: bool = False,
        token: str,
        allow_remote: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """`port` 0 takes any free one. `token` is the owner's.

        Raises:
            ExecutorError: `not_loopback`, for another address without `allow_remote`.
        """
        if not (allow_remote or is_loopback(host)):
            raise ExecutorError("not_loopback", host=host)
        self._host = host
        self._wanted_port = port
        self._port_is_fixed = port_is_fixed
        self._token = token
        self._allow_remote = allow_remote
        self._clock = clock or SystemClock()
        self._verifiers: list[Verifier] = []
        self._rules: dict[web.AbstractRoute, _Rules] = {}
        self._tickets: OrderedDict[str, float] = OrderedDict()
        self._streams = Jobs("web streams")
        self._open_streams = 0
        self._runner: web.AppRunner | None = None
        self._socket: asyncio.Server | None = None
        self._refused = 0
        self._at_work: set[web.RequestHandler] = set()
        """Connections that nobody known uses now, in the order in which they began to wait."""
        self.statuses: dict[str, int] = dict(guard.STATUS)
        """HTTP status by error code; rooms add their own codes. What is missing is 400."""
        self.port = 0
        """The port in use, once started."""
        self.base_url = ""
        """`http://127.0.0.1:PORT`, once started."""
        self.app = web.Application(
            middlewares=[self._noting, self._guard], client_max_size=BODY_LIMIT_BYTES
        )
        self.app.on_response_prepare.append(_add_headers)
        self.route("POST", "/api/auth/ticket", self._exchange, access=Access.PUBLIC)

    @property
    def port_was_taken(self) -> bool:
        """Whether another port than the wanted one is in use."""
        return bool(self._wanted_port) and self.port not in (0, self._wanted_port)

    def route(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        access: Access = Access.TOKEN,
        is_upload: bool = False,
        body_limit: int = BODY_LIMIT_BYTES,
    ) -> None:
        """Serve `path`. A handler may raise ExecutorError; `statuses` gives its HTTP status.

        A body is JSON of `body_limit` bytes at most. That of an upload may be anything: its handler
        reads `request.content` and sees to a limit.
        """
        route = self.app.router.add_route(method, path, handler)
        self._rules[route] = _Rules(access, is_upload, body_limit)

    def page(self, path: str, file: Path) -> None:
        """Serve one file of a page to everybody."""
        body, content_type = file.read_bytes(), _CONTENT_TYPES[file.suffix]
        headers = {"Content-Type": content_type, "Cache-Control": "no-cache"}

        async def show(_request: web.Request) -> web.Response:
            return web.Response(body=body, headers=headers)

        self.route("GET", path, show, access=Access.PUBLIC)

    def accept(self, verifier: Verifier) -> None:
        """Let one more kind of token in."""
        self._verifiers.append(verifier)

    def ticket(self) -> str:
        """A word that can be exchanged once, within ten minutes, for the owner's token."""
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = self._clock.monotonic() + TICKET_LIFE_S
        while len(self._tickets) > _MAX_TICKETS:
            self._tickets.popitem(last=False)
        return ticket

    async def stream(
        self, request: web.Request, events: AsyncGenerator[ServerEvent, None]
    ) -> web.StreamResponse:
        """Answer with `events` as server-sent events, until they end or the listener stops.

        They end with the next keep-alive, too, once the request's token is good no longer.

        Raises:
            ExecutorError: `too_many_streams`, beyond a thousand of them.
        """
        if self._open_streams >= _MAX_STREAMS:
            await events.aclose()
            raise ExecutorError("too_many_streams", limit=_MAX_STREAMS)
        self._open_streams += 1
        try:
            return await write_events(
                request, events, check=self._check, clock=self._clock, jobs=self._streams
            )
        finally:
            self._open_streams -= 1

    async def until_left(self, request: web.Request) -> None:
        """Return when the client has hung up, which nothing tells a handler by itself."""
        while request.transport is not None and not request.transport.is_closing():
            await self._clock.sleep(LEFT_LOOK_S)

    async def start(self) -> str:
        """Listen, and return the base URL. A taken port means another one, unless it is fixed.

        Raises:
            ExecutorError: `port_taken`, or `cannot_listen` for an address that is not ours.
        """
        # The access log stays off: it would keep query strings, and with them tokens.
        self._runner = web.AppRunner(
            self.app,
            access_log=None,
            logger=_strangers,
            shutdown_timeout=_SHUTDOWN_S,
            keepalive_timeout=SILENCE_S,
        )
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        try:
            bound = self._bind()
            self.port = bound.getsockname()[1]
            self._socket = await asyncio.get_running_loop().create_server(
                lambda: self._protocol(server), sock=bound, backlog=_BACKLOG
            )
        except BaseException:
            await self.stop()
            raise
        name = f"[{self._host}]" if ":" in self._host else self._host
        self.base_url = f"http://{name}:{self.port}"
        _log.info("listening on %s", self.base_url)
        if not is_loopback(self._host):
            _log.warning("%s can be reached from other computers, unencrypted", self.base_url)
        return self.base_url

    async def stop(self) -> None:
        """End open streams, then everything else. Repeating it is harmless."""
        await self._streams.close()
        if self._socket is not None:
            self._socket.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _protocol(self, server: web.Server) -> asyncio.BaseProtocol:
        """For one more connection: those of others must not take the files that runs need."""
        open_now = server.connections
        if len(open_now) < most_connections(open_files.limit()) or self._made_room(open_now):
            return server()
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:
            _log.warning("too many connections are open; refused so far: %d", self._refused)
        return _Refused()

    def _made_room(self, open_now: list[web.RequestHandler]) -> bool:
        """End the oldest connection on which no request of somebody known is under way."""
        for one in open_now:
            if one.connected and one not in self._at_work:
                one.force_close()
                return True
        return False

    def _bind(self) -> socket.socket:
        try:
            return _bound_socket(self._host, self._wanted_port)
        except (OSError, UnicodeError) as error:
            if getattr(error, "errno", None) not in (errno.EADDRINUSE, errno.EACCES):
                reason = getattr(error, "strerror", None) or type(error).__name__
                raise ExecutorError("cannot_listen", host=self._host, reason=reason) from error
            if self._port_is_fixed:
                raise ExecutorError("port_taken", port=self._wanted_port) from error
            return _bound_socket(self._host, 0)

    @web.middleware
    async def _noting(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """For the debug log: the route as it is declared, for paths hold what others say."""
        answer = await handler(request)
        if _log.isEnabledFor(logging.DEBUG):
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "no route of ours"
            _log.debug("%s %s answered %d", request.method[:_MAX_METHOD], route, answer.status)
        return answer

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        rules = self._rules_for(request)
        limit = rules.body_limit
        try:
            self._check(request)
            if _USER in request or rules.access is Access.OWN:
                self._at_work.add(request.protocol)
            if limit != BODY_LIMIT_BYTES:
                request = request.clone(client_max_size=limit)
            return await handler(request)
        except ExecutorError as error:
            return _refusal(request, error, self.statuses.get(error.code, 400))
        except web.HTTPException as error:
            problem = ExecutorError(_code_of(error), limit=limit // 2**20)
            return _refusal(request, problem, error.status)
        except ConnectionError:
            # The client left while it was sending; nobody reads this answer.
            return _refusal(request, ExecutorError("bad_request"), 400)
        except Exception as error:
            # The path only: a query string may hold a token, a body anything.
            path, kind = request.path[:_MAX_PATH], type(error).__name__
            _failures.error("%s %s failed: %s", request.method, path, kind, exc_info=error)
            return _refusal(request, ExecutorError("internal"), 500)
        finally:
            self._at_work.discard(request.protocol)

    def _check(self, request: web.Request) -> None:
        code = guard.refusal(
            request.headers.getall("Host", []),
            request.headers.getall("Origin", []),
            request.headers.get("Sec-Fetch-Site"),
            port=self.port,
            is_remote_allowed=self._allow_remote,
        )
        if code is not None:
            raise ExecutorError(code)
        rules = self._rules_for(request)
        if rules.access is Access.OWN:
            return
        if rules.access is not Access.PUBLIC:
            request[_USER] = self.user(request, rules.access)
        if rules.is_upload:
            return
        if (request.content_length or 0) > rules.body_limit:
            raise ExecutorError("body_too_large", limit=rules.body_limit // 2**20)
        if request.body_exists and request.content_type != "application/json":
            raise ExecutorError("json_required")

    def _rules_for(self, request: web.Request) -> _Rules:
        return self._rules.get(request.match_info.route, _Rules())

    def known_user(self, request: web.Request) -> str | None:
        """Whose good token a request brought, be it needed or not."""
        try:
            return self.user(request)
        except ExecutorError:
            return None

    def user(self, request: web.Request, access: Access = Access.TOKEN) -> str:
        """Whose token a request brought, also for routes that guard themselves.

        Raises ExecutorError `no_token`.
        """
        token = guard.bearer(request.headers.get("Authorization"))
        if token is None and access is Access.STREAM:
            token = request.query.get("access_token")
        if token and guard.same(token, self._token):
            return OWNER
        user = guard.first_user(token, self._verifiers) if token else None
        if user is None:
            raise ExecutorError("no_token")
        return user

    async def _exchange(self, request: web.Request) -> web.Response:
        ticket = (await read_json(request)).get("ticket")
        known = next((known for known in self._tickets if guard.same(known, str(ticket))), None)
        if known is None or self._tickets.pop(known) < self._clock.monotonic():
            raise ExecutorError("bad_ticket")
        return web.json_response(
            {"token": self._token, "access_token": self._token, "token_type": "bearer"}
        )


class _Refused(asyncio.Protocol):
    """A connection that ends as it begins."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def most_connections(open_files: int) -> int:
    """Half of the files that we may have open, less those that come in before one is counted."""
    return max(_LEAST_CONNECTIONS, min(open_files // 2 - _BACKLOG, _MOST_CONNECTIONS))


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in guard.SECURITY_HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")


def _refusal(request: web.Request, error: ExecutorError, status: int) -> web.Response:
    return error_response(request, error.message, status)


def _code_of(error: web.HTTPException) -> str:
    codes = {404: "unknown_path", 405: "method_not_allowed", 413: "body_too_large"}
    return codes.get(error.status, "bad_request")


def _bound_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            # There it would let two programs share the port.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        # Here already: of two that are bound to one port only one may listen.
        bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound
