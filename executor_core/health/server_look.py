"""One look at the configured server, step by step as a connection is made. No token is sent."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from executor_core.clock import Clock
from executor_core.outbound import trust

STEP_LIMIT_S = 6.0
"""For each of five steps."""
LOOK_LIMIT_S = 32.0
_MAX_BODY_BYTES = 64 * 1024
_PORTS = {"http": 80, "https": 443}
_OF_WEGENT = ("api_prefix", "socketio_path")
# A protocol version that nobody speaks any more: a Socket.IO server says so and begins no session.
_REFUSED_BY_SOCKETIO = "/socket.io/?EIO=3&transport=polling"
_SOCKETIO = re.compile(rb"Engine\.IO|Invalid transport")
_S = TypeVar("_S", bound=Struct)


class Certificate(Struct, frozen=True):
    """What a server shows. `problem` is OpenSSL's number and words; None: it is trusted."""

    subject: str
    issuer: str
    expires_at: datetime
    problem: tuple[int, str] | None = None


class ServerLook(Struct, frozen=True, kw_only=True):
    """How far we came. The first step that failed has an error, those after it have no value.

    `proxy` stands here without its login. `certificate` is known for https without a proxy.
    `name` and `version` are what a Wegent server says of itself; `skew_s` is how far our clock is
    ahead of the server's.
    """

    server: str
    proxy: str | None = None
    addresses: tuple[str, ...] = ()
    name_error: str | None = None
    connect_error: str | None = None
    certificate: Certificate | None = None
    tls_error: str | None = None
    answer_error: str | None = None
    status: int | None = None
    name: str | None = None
    version: str | None = None
    skew_s: float | None = None

    @property
    def is_https(self) -> bool:
        """Whether the connection is encrypted."""
        return self.server.startswith("https:")

    @property
    def is_reached(self) -> bool:
        """Whether something takes connections there, or at the proxy."""
        return self.name_error is None and self.connect_error is None

    @property
    def is_trusted(self) -> bool:
        """Whether nothing is wrong with its certificate, where it has one."""
        bad = self.certificate is not None and self.certificate.problem is not None
        return self.is_reached and self.tls_error is None and not bad


async def look_at_server(server: str, proxy: str | None, clock: Clock) -> ServerLook:
    """Look at a normalised address, through `proxy` where one is in use. Never raises."""
    look = ServerLook(server=server, proxy=_without_login(proxy) if proxy else None)
    host, port = _place(proxy or server)
    look = await _resolve(look, host, port)
    if look.name_error is None:
        look = await _connect(look, host, port)
    if look.is_reached and look.is_https and proxy is None:
        look = await _examine_certificate(look, host, port)
    return await _ask(look, proxy, clock) if look.is_trusted else look


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)


async def _resolve(look: ServerLook, host: str, port: int) -> ServerLook:
    try:
        async with asyncio.timeout(STEP_LIMIT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    except (OSError, UnicodeError) as error:
        return replace(look, name_error=_words(error))
    return replace(look, addresses=tuple(dict.fromkeys(str(one[4][0]) for one in found)))


async def _connect(look: ServerLook, host: str, port: int) -> ServerLook:
    try:
        async with asyncio.timeout(STEP_LIMIT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return replace(look, connect_error=_words(error))
    await _close(writer)
    return look


async def _examine_certificate(look: ServerLook, host: str, port: int) -> ServerLook:
    problem: tuple[int, str] | None = None
    try:
        try:
            raw = await _certificate(host, port, trust())
        except ssl.SSLCertVerificationError as error:
            problem = (error.verify_code, error.verify_message)
            raw = await _certificate(host, port, _context_without_trust())
        return replace(look, certificate=_read(raw, problem))
    except (OSError, ValueError) as error:  # ValueError: what it shows is no certificate
        return replace(look, tls_error=_words(error))


def _context_without_trust() -> ssl.SSLContext:
    """For showing who made a certificate that is not trusted; nothing is sent over it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _certificate(host: str, port: int, context: ssl.SSLContext) -> bytes:
    async with asyncio.timeout(STEP_LIMIT_S):
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    try:
        raw: bytes | None = writer.get_extra_info("ssl_object").getpeercert(True)
        return raw or b""
    finally:
        await _close(writer)


def _read(raw: bytes, problem: tuple[int, str] | None) -> Certificate:
    from cryptography import x509

    found = x509.load_der_x509_certificate(raw)
    return Certificate(
        subject=_name(found.subject),
        issuer=_name(found.issuer),
        expires_at=found.not_valid_after_utc,
        problem=problem,
    )


def _name(name: Any) -> str:  # Any: a name of a library that is imported late
    from cryptography.x509.oid import NameOID

    wanted = (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
    parts = [str(one.value) for oid in wanted for one in name.get_attributes_for_oid(oid)[:1]]
    return ", ".join(dict.fromkeys(parts)) or "?"


async def _ask(look: ServerLook, proxy: str | None, clock: Clock) -> ServerLook:
    limit = aiohttp.ClientTimeout(total=STEP_LIMIT_S)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session:
            status, headers, body = await _get(session, look, proxy, "/")
            skew_s, told = _skew(headers, clock), _told(body)
            if told is None:
                code, _, body = await _get(session, look, proxy, _REFUSED_BY_SOCKETIO)
                told = {} if code == 400 and _SOCKETIO.search(body) else None
    except aiohttp.ClientConnectorCertificateError as error:
        return replace(look, tls_error=_words(error.certificate_error))
    except aiohttp.ClientSSLError as error:
        return replace(look, tls_error=_words(error.os_error))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return replace(look, answer_error=_words(error))
    look = replace(look, status=status, skew_s=skew_s)
    if told is None:
        return look
    name, version = told.get("name") or "Wegent", told.get("version") or ""
    return replace(look, name=str(name)[:100], version=str(version)[:100])


async def _get(
    session: aiohttp.ClientSession, look: ServerLook, proxy: str | None, path: str
) -> tuple[int, Mapping[str, str], bytes]:
    url = look.server + path
    trusted = trust() if look.is_https else True
    async with session.get(url, proxy=proxy, allow_redirects=False, ssl=trusted) as reply:
        return reply.status, reply.headers, await _beginning(reply.content)


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """The body, which may come in any pieces; of a long one what comes first."""
    body = b""
    while left := _MAX_BODY_BYTES - len(body):
        if not (piece := await content.read(left)):
            break
        body += piece
    return body


def _told(body: bytes) -> dict[str, Any] | None:
    """What a Wegent server says of itself; None where it is not one."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    is_wegent = isinstance(told, dict) and not told.keys().isdisjoint(_OF_WEGENT)
    return told if is_wegent else None


def _skew(headers: Mapping[str, str], clock: Clock) -> float | None:
    try:
        theirs = parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None
    return (clock.now() - theirs.replace(tzinfo=theirs.tzinfo or UTC)).total_seconds()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, TimeoutError):  # it served its purpose, however it ends
        async with asyncio.timeout(1):
            await writer.wait_closed()


def _words(error: BaseException) -> str:
    """What the system or the library said, in a few words."""
    if isinstance(error, TimeoutError):
        return f"no answer within {STEP_LIMIT_S:g} s"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own words are about a call that failed
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said)[:200]
