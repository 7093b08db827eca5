"""The look at a server, with real names, sockets and certificates."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from executor_core.clock import SystemClock
from executor_core.services import server_look
from executor_core.services.server_look import ServerLook, look_at_server
from tests.support.clock import JumpingClock

WEGENT = {"name": "Wegent", "version": "1.0.0", "api_prefix": "/api", "socketio_path": "/socket.io"}
Answer = Callable[[web.Request], web.StreamResponse]


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Company:
    """A CA of its own, as companies have it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = name("Corporate Inspection CA")
        self.file = folder / "ca.pem"
        self.file.write_bytes(
            self._make(self._subject, self._key.public_key(), 3650, is_ca=True).public_bytes(
                serialization.Encoding.PEM
            )
        )

    def context(self, host: str = "localhost", days: int = 90) -> ssl.SSLContext:
        """What a server needs to show a certificate for `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._make(name(host), key.public_key(), days)
        pem = self._folder / "server.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        return context

    def _make(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int, *, is_ca: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        host = subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=400))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(str(host))]), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """An HTTP server on loopback; its port."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def as_wegent(request: web.Request) -> web.StreamResponse:
    return web.json_response(WEGENT)


async def look(server: str, proxy: str | None = None) -> ServerLook:
    return await look_at_server(server, proxy, SystemClock())


async def test_a_wegent_server_is_known_by_what_it_says() -> None:
    async with serving(as_wegent) as port:
        found = await look(f"http://127.0.0.1:{port}")
    assert (found.name, found.version, found.status) == ("Wegent", "1.0.0", 200)
    assert found.addresses == ("127.0.0.1",)
    assert abs(found.skew_s or 99) < 5
    assert server_look.server(found, None).verdict == "ok"


async def test_a_server_below_a_path_is_asked_there_and_no_token_is_sent() -> None:
    asked: list[str] = []

    def answer(request: web.Request) -> web.StreamResponse:
        assert "Authorization" not in request.headers
        asked.append(request.path_qs)
        return web.json_response(WEGENT)

    async with serving(answer) as port:
        await look(f"http://127.0.0.1:{port}/wegent")
    assert asked == ["/wegent/"]


@pytest.mark.parametrize("words", ["Invalid transport", "…versions of the … Engine.IO protocols"])
async def test_a_server_that_speaks_socketio_is_one_whatever_its_first_page(words: str) -> None:
    def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/socket.io/":
            return web.Response(status=400, text=words)
        return web.Response(text="<html>")

    async with serving(answer) as port:
        found = await look(f"http://127.0.0.1:{port}")
    assert (found.name, found.version) == ("Wegent", "")


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"name": "x"}', b"\xff", b""])
async def test_another_server_is_none(body: bytes) -> None:
    async with serving(lambda _: web.Response(body=body)) as port:
        found = await look(f"http://127.0.0.1:{port}")
    assert found.name is None
    assert server_look.server(found, None).verdict == "failed"


async def test_a_clock_that_differs_is_measured(clock: JumpingClock) -> None:
    behind = "Thu, 29 Jan 2026 13:02:22 GMT"
    async with serving(lambda _: web.json_response(WEGENT, headers={"Date": behind})) as port:
        found = await look_at_server(f"http://127.0.0.1:{port}", None, clock)
    assert found.skew_s == 360
    assert server_look.clock(found).verdict == "failed"


async def test_a_date_that_is_none_is_not_told() -> None:
    async with serving(lambda _: web.json_response(WEGENT, headers={"Date": "soon"})) as port:
        assert (await look(f"http://127.0.0.1:{port}")).skew_s is None


async def test_a_port_that_nobody_has_and_a_name_that_is_none() -> None:
    async with serving(as_wegent) as port:
        pass
    refused = await look(f"http://127.0.0.1:{port}")
    assert "refused" in (refused.connect_error or "").lower()
    assert not refused.is_reached
    assert (await look("http://" + "x" * 80 + ".invalid")).name_error


async def test_a_server_that_ends_the_connection_is_no_answer() -> None:
    async def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(end, "127.0.0.1", 0) as server:
        found = await look(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert found.answer_error
    assert server_look.server(found, None).verdict == "failed"


async def test_a_proxy_is_what_is_reached_and_asked() -> None:
    asked: list[str] = []

    def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.raw_path)
        return web.json_response(WEGENT)

    async with serving(answer) as port:
        found = await look("http://wegent.invalid", f"http://127.0.0.1:{port}")
    assert found.name == "Wegent"
    assert asked == ["http://wegent.invalid/"]


async def test_the_login_of_a_proxy_is_used_and_not_told() -> None:
    logins: list[str | None] = []

    def answer(request: web.Request) -> web.StreamResponse:
        logins.append(request.headers.get("Proxy-Authorization"))
        return web.json_response(WEGENT)

    async with serving(answer) as port:
        found = await look("http://wegent.invalid", f"http://me:canary@127.0.0.1:{port}")
    assert found.name == "Wegent"
    assert logins[0] is not None
    assert found.proxy == f"http://127.0.0.1:{port}"
    assert "canary" not in repr(found)


async def test_an_answer_that_comes_in_pieces_is_read_to_its_end() -> None:
    first, second = json.dumps(WEGENT).encode().split(b",", 1)

    async def in_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(64 * 1024):  # the first look only connects
            size = len(first) + 1 + len(second)
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + first)
            await has_read_a_piece.wait()
            writer.write(b"," + second)
        writer.close()
        await writer.wait_closed()

    has_read_a_piece = asyncio.Event()
    read = aiohttp.StreamReader.read

    async def noted(self: aiohttp.StreamReader, n: int = -1) -> bytes:
        piece = await read(self, n)
        has_read_a_piece.set()
        return piece

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp.StreamReader, "read", noted)
        async with await asyncio.start_server(in_pieces, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            found = await look(f"http://127.0.0.1:{port}")
    assert found.name == "Wegent"


# --- certificates --------------------------------------------------------------------------------


async def test_a_certificate_of_a_company_names_its_maker(tmp_path: Path) -> None:
    async with serving(as_wegent, Company(tmp_path).context()) as port:
        found = await look(f"https://localhost:{port}")
    check = server_look.tls(found, SystemClock().now())
    assert check.verdict == "failed"
    assert "Corporate Inspection CA" in check.reason
    assert "SSL_CERT_FILE" in check.hint
    assert found.name is None


async def test_the_file_that_the_hint_names_makes_it_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = Company(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(company.file))
    async with serving(as_wegent, company.context(days=5)) as port:
        found = await look(f"https://localhost:{port}")
    assert found.certificate is not None
    assert found.certificate.problem is None
    assert server_look.tls(found, SystemClock().now()).verdict == "warning"


@pytest.mark.parametrize(
    ("host", "days", "words"),
    [("localhost", -1, "good until"), ("other.example.com", 90, "another server")],
)
async def test_one_that_ended_and_one_of_another_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, days: int, words: str
) -> None:
    company = Company(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(company.file))
    async with serving(as_wegent, company.context(host, days)) as port:
        found = await look(f"https://localhost:{port}")
    check = server_look.tls(found, SystemClock().now())
    assert check.verdict == "failed"
    assert words in check.reason


async def test_a_server_without_encryption_behind_https_is_said() -> None:
    async with serving(as_wegent) as port:
        found = await look(f"https://localhost:{port}")
    assert found.tls_error
    assert server_look.tls(found, SystemClock().now()).verdict == "failed"
