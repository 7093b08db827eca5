"""One Socket.IO connection to one namespace: made once, used until it is lost, never revived.

The library's own reconnection is off: after a kick by the server it would stay down for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import aiohttp
import engineio
import msgspec
import socketio

from executor_core.errors import ExecutorError
from executor_core.links.device.frames import (
    MAX_PACKET_BYTES,
    Frame,
    Json,
    encode,
    encoded_size,
    packet_size,
)
from executor_core.links.supervision import Failure
from executor_core.outbound import client_session
from executor_core.proxies import proxy_for
from executor_core.texts import text

_log = logging.getLogger("executor.links.device")

MAX_NAME = 100
"""Of the name of an event, which its sender chose, in the log."""

NAMESPACE = "/local-executor"
CONNECT_LIMIT_S = 30
CALL_LIMIT_S = 10.0
GOODBYE_LIMIT_S = 0.5
MAX_INBOUND_BYTES = 32 * 2**20
"""The library's default of 4 MiB drops the link on a task with pictures in its prompt."""
COMPRESSION_WINDOW_BITS = 15
"""Offered to the server: envelopes repeat each other, and an answer's end repeats its deltas."""


_AUTH_REFUSALS = ("authentication token", "expired token", "expired api key")
_BARE_REFUSALS = ("refused by server", "rejected by server")

OnEvent = Callable[[str, Any], Any]


class LinkLostError(Exception):
    """The connection is gone; what was waiting for an answer will not get one."""


class ConnectFailedError(Exception):
    """No connection, with the kind of failure and the reason in the server's words."""

    def __init__(self, failure: Failure, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure
        self.reason = reason

    @property
    def is_refusal(self) -> bool:
        """The server is there and does not take the token."""
        return self.failure is Failure.REFUSED


class ServerSocket:
    """A connected namespace. `on_event(name, argument)` is called in order of arrival and returns
    the acknowledgement, for events that want one."""

    def __init__(self, on_event: OnEvent, namespace: str = NAMESPACE) -> None:
        self._on_event = on_event
        self._namespace = namespace
        self.lost = asyncio.Event()
        self.lost_reason = ""
        self.is_v2 = False
        """Whether the server is known to be of v2 or newer."""
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._client: Any = None  # of a library without types
        self._waiting: set[asyncio.Future[Any]] = set()
        self._refusal: str | None = None
        self._answered = asyncio.Event()

    async def open(self, server: str, token: str) -> None:
        """Connect. Raises ConnectFailedError."""
        # Session and socket are ours, because the library leaves both open where it fails half-way.
        make_socket: Any = self._make_socket
        try:
            self._http = client_session(server, ws_response_class=make_socket)
            # The library asks for the proxy of `wss:`, which nobody sets.
            self._client = self._make_client(self._http, proxy_for(server))
        except ExecutorError as error:
            self._lose(error.message.sentence)
            raise ConnectFailedError(Failure.UNREACHABLE, self.lost_reason) from error
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                await self._client.connect(
                    server,
                    auth={"token": token},
                    namespaces=[self._namespace],
                    transports=["websocket"],
                    socketio_path=_socketio_path(server),
                    wait=False,  # it would not notice that the connection is lost meanwhile
                )
                self._client.eio.read_loop_task.add_done_callback(self._on_end)
                await self._answered.wait()
        except Exception as error:
            # Besides its own errors the library lets out whatever a peer that is no Socket.IO
            # server provokes: TypeError, KeyError, ValueError.
            raise ConnectFailedError(Failure.UNREACHABLE, _reason(error)) from error
        if self._refusal is not None:
            raise ConnectFailedError(classify_refusal(self._refusal), self._refusal)
        if self.lost.is_set():
            raise ConnectFailedError(Failure.UNREACHABLE, self.lost_reason)

    def _make_socket(self, *args: Any, **named: Any) -> aiohttp.ClientWebSocketResponse:
        self._socket = aiohttp.ClientWebSocketResponse(*args, **named)
        return self._socket

    def _make_client(self, http: aiohttp.ClientSession, proxy: str | None) -> Any:
        client = socketio.AsyncClient(
            reconnection=False,
            handle_sigint=False,
            json=Json,
            http_session=http,
            websocket_extra_options={
                "max_msg_size": MAX_INBOUND_BYTES,
                "compress": COMPRESSION_WINDOW_BITS,
                "proxy": proxy,
            },
        )
        client.on("disconnect", self._on_disconnect, namespace=self._namespace)
        client.on("connect", self._answered.set, namespace=self._namespace)
        client.on("connect_error", self._on_refused, namespace=self._namespace)
        client.on("*", self._dispatch, namespace=self._namespace)
        return client

    async def call(self, event: str, data: dict[str, Any], limit_s: float = CALL_LIMIT_S) -> Any:
        """Send and return the acknowledgement (None for an empty one).

        Raises LinkLostError at once when the connection goes, TimeoutError after `limit_s`.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)

        def acknowledged(*args: Any) -> None:
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("gets the answer to %s, %d bytes", event, _size_of(event, *args))
            if not answer.done():
                answer.set_result(args[0] if args else None)

        try:
            await self.emit(Frame(event, data), acknowledged)
            async with asyncio.timeout(limit_s):
                return await answer
        finally:
            self._waiting.discard(answer)
            answer.cancel()

    async def emit(self, frame: Frame, on_ack: Callable[..., None] | None = None) -> None:
        """Hand a frame to the socket, encoded and measured once. Raises LinkLostError."""
        encoded = encode(frame.data)
        if (size := packet_size(frame.event, encoded)) > MAX_PACKET_BYTES + 1_000:
            # Everything is cut before it comes here; this would end all runs of the device.
            raise ExecutorError("packet_too_large", event=frame.event, size=size)
        if self.lost.is_set():
            raise LinkLostError(self.lost_reason)
        _log.debug("sends %s, %d bytes", frame.event, size)
        try:
            await self._client.emit(
                frame.event, msgspec.Raw(encoded), namespace=self._namespace, callback=on_ack
            )
        except socketio.exceptions.SocketIOError as error:
            raise LinkLostError(str(error)) from error

    def give_up(self, reason: str) -> None:
        """Treat the connection as lost, although the socket may not know it yet."""
        self._lose(reason)

    async def close(self) -> None:
        """Leave. Repeating is harmless."""
        if not self.lost.is_set():
            await self._say_goodbye()
        self._lose("closed")
        if self._http is not None:
            # Ends the library's jobs too, which otherwise wait for a peer that is silent.
            await self._http.close()
            await self._say_goodbye()
            if self._socket is not None:
                await self._socket.close()
            with contextlib.suppress(ValueError):  # gone already, unless the goodbye was cut short
                engineio.base_client.connected_clients.remove(self._client.eio)

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(GOODBYE_LIMIT_S):
                await self._client.disconnect()
        except TimeoutError:
            _log.debug("the server did not answer the goodbye")

    def _on_disconnect(self, reason: str = "") -> None:
        self._lose(reason)

    def _on_end(self, _read_loop: object) -> None:
        self._lose("transport closed")

    def _on_refused(self, data: object = None) -> None:
        message = data.get("message") if isinstance(data, dict) else data
        self._refusal = str(message or "Connection refused by server")
        self._answered.set()

    def _lose(self, reason: str) -> None:
        if not self.lost.is_set():
            self.lost_reason = reason
            self.lost.set()
            self._answered.set()
            for answer in self._waiting:
                if not answer.done():
                    answer.set_exception(LinkLostError(reason))

    async def _dispatch(self, event: str, *args: Any) -> Any:
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("gets %s, %d bytes", event[:MAX_NAME], _size_of(event, *args))
        return self._on_event(event, args[0] if args else None)


def classify_refusal(message: str) -> Failure:
    """What the text of a refused connect means.

    Servers from v2 say why; the five-slot servers say "Connection refused by server" for every
    reason, so that text counts as a refusal too (the caller checks that the server answers at all).
    """
    words = message.lower()
    if "too many" in words:
        return Failure.BUSY
    if "shutting down" in words or "unavailable" in words:
        return Failure.UNREACHABLE
    if any(reason in words for reason in (*_AUTH_REFUSALS, *_BARE_REFUSALS)):
        return Failure.REFUSED
    return Failure.UNREACHABLE


def classify_loss(reason: str) -> Failure:
    """Why a connection was lost. Servers from v1.5 tell the older of two sockets with one id so."""
    is_stale = "stale device connection" in reason.lower()
    return Failure.PUSHED_OUT if is_stale else Failure.LOST


def _size_of(event: str, *args: Any) -> int:
    try:
        return encoded_size(Frame(event, args[0])) if args else 0
    except (TypeError, ValueError):  # half a letter, which no packet of ours could hold
        return 0


def _reason(error: BaseException) -> str:
    """What really happened: the library says "Connection error" to everything."""
    if isinstance(error, TimeoutError):
        return text("link.no_answer", seconds=CONNECT_LIMIT_S)
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, aiohttp.WSServerHandshakeError):
        is_down = error.status >= 500  # of a proxy before a server that restarts
        return text("link.no_service" if is_down else "link.foreign", status=error.status)
    return str(error) or type(error).__name__


def _socketio_path(server: str) -> str:
    """The Engine.IO path below a server that lives under a path of its own."""
    _, _, rest = server.partition("://")
    _, _, prefix = rest.partition("/")
    return f"{prefix.strip('/')}/socket.io".lstrip("/")
