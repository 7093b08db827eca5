"""The guard in front of every route, tickets, and the listener's own life."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from executor_core import open_files, texts
from executor_core.errors import ExecutorError
from executor_core.web import Listener
from executor_core.web.listener import BODY_LIMIT_BYTES, TICKET_LIFE_S, most_connections
from executor_core.web.seldom import MAX_LINE, MOST
from tests.support.clock import JumpingClock, settle
from tests.web.conftest import BEARER, TOKEN

PATHS = ["/public", "/own", "/token", "/stream", "/nowhere"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 421, "wrong_host"),
        ({"Host": "127.0.0.1"}, 421, "wrong_host"),
        ({"Host": "127.0.0.1:1"}, 421, "wrong_host"),
        ({"Host": "localhost.evil.example:8090"}, 421, "wrong_host"),
        ({"Origin": "http://evil.example"}, 403, "foreign_origin"),
        ({"Origin": "null"}, 403, "foreign_origin"),
        ({"Origin": "http://localhost:1"}, 403, "foreign_origin"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "foreign_origin"),
        ({"Sec-Fetch-Site": "same-site"}, 403, "foreign_origin"),
    ],
)
async def test_a_request_from_elsewhere_is_refused_before_any_route(
    http: aiohttp.ClientSession, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with http.get(path, headers=BEARER | headers) as answer:
        assert answer.status == status
        assert (await answer.json())["error"]["code"] == code
        assert not any(name.startswith("Access-Control") for name in answer.headers)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
async def test_own_names_and_own_origin_pass(
    http: aiohttp.ClientSession, listener: Listener, name: str
) -> None:
    host = f"{name}:{listener.port}"
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    async with http.get("/token", headers=BEARER | headers) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/public", {}, 200),
        ("/own", {}, 200),
        ("/token", {}, 401),
        ("/token", {"Authorization": f"Bearer {TOKEN}x"}, 401),
        ("/token", {"Authorization": f"Basic {TOKEN}"}, 401),
        ("/token", {"Authorization": "Bearer \u00e9"}, 401),
        ("/token", BEARER, 200),
        ("/token", {"Authorization": f"bearer {TOKEN}"}, 200),
        (f"/token?access_token={TOKEN}", {}, 401),
        (f"/stream?access_token={TOKEN}", {}, 200),
        ("/stream?access_token=wrong", {}, 401),
        ("/stream", BEARER, 200),
        ("/nowhere", {}, 401),
        ("/nowhere", BEARER, 404),
    ],
)
async def test_each_access_asks_for_what_it_says(
    http: aiohttp.ClientSession, path: str, headers: dict[str, str], status: int
) -> None:
    async with http.get(path, headers=headers) as answer:
        assert answer.status == status


async def test_a_verifier_names_its_user(http: aiohttp.ClientSession) -> None:
    async with http.get("/token", headers={"Authorization": "Bearer second-token"}) as answer:
        assert await answer.json() == {"user": "second"}


async def test_a_body_must_be_json_and_say_so(http: aiohttp.ClientSession) -> None:
    async with http.post("/echo", data={"a": "b"}, headers=BEARER) as answer:
        assert answer.status == 415
    async with http.post("/echo", json=["no", "object"], headers=BEARER) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, "bad_json")
    async with http.post("/echo", json={"a": "é"}, headers=BEARER) as answer:
        assert await answer.json() == {"a": "é"}
    deep = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    kind = {"Content-Type": "application/json"}
    async with http.post("/echo", data=deep, headers=BEARER | kind) as answer:
        assert answer.status == 400


async def test_a_body_beyond_the_limit_is_refused(http: aiohttp.ClientSession) -> None:
    kind = {"Content-Type": "application/json"}
    too_much = io.BytesIO(b" " * (BODY_LIMIT_BYTES + 1))
    async with http.post("/echo", data=too_much, headers=BEARER | kind) as answer:
        assert answer.status == 413

    async def chunks() -> object:
        for _ in range(20):
            yield b" " * 100_000

    async with http.post("/echo", data=chunks(), headers=BEARER | kind) as answer:
        assert answer.status == 413


async def test_a_crash_tells_the_client_nothing_and_the_log_no_query(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with http.get("/crash?access_token=abc", headers=BEARER) as answer:
        body = await answer.text()
        assert answer.status == 500
        assert (await answer.json())["error"]["code"] == "internal"
    assert "path/of/mine" not in body
    assert "Traceback" not in body
    assert "GET /crash failed: RuntimeError" in caplog.text
    assert "abc" not in caplog.text


async def test_no_query_string_is_ever_logged(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with http.get(f"/stream?access_token={TOKEN}"):
        pass
    assert TOKEN not in caplog.text


async def test_every_answer_carries_the_security_headers(http: aiohttp.ClientSession) -> None:
    for path in ("/public", "/nowhere"):
        async with http.get(path) as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
            assert "script-src 'self'" in answer.headers["Content-Security-Policy"]


async def test_an_error_is_words_and_one_sentence(http: aiohttp.ClientSession) -> None:
    async with http.get("/refuse", headers=BEARER) as answer:
        body = await answer.json()
    assert set(body["error"]) == {"code", "title", "detail", "hint", "values"}
    assert body["detail"].startswith(body["error"]["title"])


async def test_a_wrong_method_is_said(http: aiohttp.ClientSession) -> None:
    async with http.delete("/token", headers=BEARER) as answer:
        assert answer.status == 405


async def test_a_ticket_is_good_once(http: aiohttp.ClientSession, listener: Listener) -> None:
    ticket = listener.ticket()
    async with http.post("/api/auth/ticket", json={"ticket": ticket}) as answer:
        expected = {"token": TOKEN, "access_token": TOKEN, "token_type": "bearer"}
        assert await answer.json() == expected
    async with http.post("/api/auth/ticket", json={"ticket": ticket}) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("ticket", ["", "wrong", None, 7, ["x"]])
async def test_other_tickets_get_nothing(
    http: aiohttp.ClientSession, listener: Listener, ticket: object
) -> None:
    listener.ticket()
    async with http.post("/api/auth/ticket", json={"ticket": ticket}) as answer:
        assert answer.status == 401


async def test_a_ticket_gets_old(
    http: aiohttp.ClientSession, listener: Listener, clock: JumpingClock
) -> None:
    ticket = listener.ticket()
    await clock.advance(TICKET_LIFE_S + 1)
    async with http.post("/api/auth/ticket", json={"ticket": ticket}) as answer:
        assert answer.status == 401


async def test_a_taken_port_means_another_one_and_the_caller_sees_it(listener: Listener) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        second = Listener(port=taken, token=TOKEN)
        base = await second.start()
        await second.stop()
    assert second.port_was_taken
    assert second.port != taken
    assert base == f"http://127.0.0.1:{second.port}"


async def test_a_fixed_port_that_is_taken_is_an_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        second = Listener(port=other.getsockname()[1], port_is_fixed=True, token=TOKEN)
        with pytest.raises(ExecutorError) as caught:
            await second.start()
    assert caught.value.code == "port_taken"


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
async def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    listener = Listener(host=host, token=TOKEN, allow_remote=True)
    with pytest.raises(ExecutorError) as caught:
        await listener.start()
    assert caught.value.code == "cannot_listen"
    assert host in caught.value.message.detail


async def test_a_body_that_is_not_utf8_is_no_json(http: aiohttp.ClientSession) -> None:
    headers = BEARER | {"Content-Type": "application/json"}
    async with http.post("/echo", data=b'{"a": "\xff"}', headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "bad_json"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.com"])
def test_another_address_needs_permission(host: str) -> None:
    with pytest.raises(ExecutorError) as caught:
        Listener(host=host, token=TOKEN)
    assert caught.value.code == "not_loopback"
    Listener(host=host, token=TOKEN, allow_remote=True)


async def test_remote_access_takes_addresses_but_no_names() -> None:
    listener = Listener(host="127.0.0.1", port=0, token=TOKEN, allow_remote=True)
    base = await listener.start()
    async with aiohttp.ClientSession(base) as http:
        good = {"Host": f"192.168.1.5:{listener.port}"}
        async with http.get("/x", headers=BEARER | good) as answer:
            assert answer.status == 404
        rebound = {"Host": f"evil.example:{listener.port}"}
        async with http.get("/x", headers=BEARER | rebound) as answer:
            assert answer.status == 421
    await listener.stop()


@pytest.mark.skipif(sys.platform == "darwin", reason="has one loopback address only")
async def test_whatever_loopback_address_it_listens_at_answers_there() -> None:
    listener = Listener(host="127.0.0.2", port=0, token=TOKEN)
    base = await listener.start()
    async with aiohttp.ClientSession(base, headers=BEARER) as http, http.get("/x") as answer:
        assert answer.status == 404
    await listener.stop()


async def test_a_page_is_public_and_typed(listener: Listener, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p>é</p>", encoding="utf-8")
    listener.page("/", tmp_path / "a.html")
    async with aiohttp.ClientSession(await listener.start()) as http, http.get("/") as answer:
        assert answer.content_type == "text/html"
        assert await answer.text() == "<p>é</p>"
        assert answer.headers["Cache-Control"] == "no-cache"


async def test_stop_can_be_repeated(listener: Listener) -> None:
    await listener.start()
    await listener.stop()
    await listener.stop()


async def test_a_client_that_leaves_while_it_sends_is_no_error_of_ours(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    has_begun, has_ended = asyncio.Event(), asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        has_begun.set()
        try:
            return web.Response(body=await request.read())
        finally:
            has_ended.set()

    listener.route("POST", "/take", take, is_upload=True)
    await listener.start()
    _reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    head = f"Host: 127.0.0.1:{listener.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
    writer.write(f"POST /take HTTP/1.1\r\n{head}Content-Length: 100\r\n\r\nhalf".encode())
    async with asyncio.timeout(5):
        await has_begun.wait()
        writer.transport.abort()
        await has_ended.wait()
    await listener.stop()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN", "zh_CN"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh_CN"),
        ("fr-FR, fr;q=0.9, zh-TW;q=0.5, en;q=0.4", "zh_CN"),
        ("en;q=0.3, ZH;q=0.30001", "zh_CN"),
        ("en, zh", "en"),
        ("zh;q=0, en;q=0.1", "en"),
        ("", None),
        ("*", None),
        ("fr, tlh;q=0.8, english", None),
        ("zh;q=x", None),
        ("\x00é;q=1;q=2,,;" * 500, None),
    ],
)
def test_the_language_that_is_liked_best_is_found_and_nonsense_is_none(
    header: str, language: str | None
) -> None:
    assert texts.accepted_language(header) == language


@pytest.mark.parametrize("executors", texts.LANGUAGES)
async def test_an_error_speaks_the_language_of_its_reader_and_else_the_executors(
    http: aiohttp.ClientSession, executors: str
) -> None:
    texts.use_language(executors)
    try:
        wanted = {"zh-CN": "zh_CN", "en-GB,en;q=0.5": "en", "fr": executors, "": executors}
        for header, language in wanted.items():
            for path, code in (("/refuse", "unknown_path"), ("/crash", "internal")):
                async with http.get(path, headers=BEARER | {"Accept-Language": header}) as answer:
                    said = (await answer.json())["error"]
                assert said["title"] == texts.text(f"error.{code}.title", language=language)
            async with http.get("/token", headers={"Accept-Language": header}) as answer:
                said = (await answer.json())["error"]
            assert said["hint"] == texts.text("error.no_token.hint", language=language)
    finally:
        texts.use_language("en")


async def test_connections_of_others_never_use_up_the_files_of_the_process(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(open_files, "limit", lambda: 200)
    most = most_connections(200)
    base = await listener.start()
    idle = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(most + 50)]
    async with asyncio.timeout(5):
        for reader, _ in idle[:50]:  # those that waited longest made room
            assert await reader.read() == b""
    async with aiohttp.ClientSession(base, headers=BEARER) as http, http.get("/token") as answer:
        assert answer.status == 200
    for _, writer in idle:
        writer.transport.abort()
    await settle()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_those_who_come_at_once_make_room_for_each_other_and_none_is_refused(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(open_files, "limit", lambda: 200)
    await listener.start()
    address = ("127.0.0.1", listener.port)
    idle = []
    for _ in range(6):  # as many as wait to be accepted, six times
        idle += await asyncio.gather(*(asyncio.open_connection(*address) for _ in range(60)))
        await settle()
    for _, writer in idle:
        writer.transport.abort()
    await settle()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_what_strangers_send_is_few_short_lines_without_a_traceback(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    await listener.start()
    for beginning in [b"GET /" + b"x" * 9000, b"\xff\x00 nonsense"] * 50:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(beginning + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(found) <= MOST
    assert [one for one in found if one.exc_info or len(one.getMessage()) > MAX_LINE + 30] == []


@pytest.mark.parametrize("beginning", [b"", b"GET /public HTTP/1.1\r\nHost: "])
async def test_a_connection_that_asks_for_nothing_is_ended(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr("executor_core.web.listener.SILENCE_S", 0.1)
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(beginning)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(("files", "connections"), [(0, 16), (256, 64), (1024, 448), (8192, 2000)])
def test_half_of_the_files_are_left_for_runs(files: int, connections: int) -> None:
    assert most_connections(files) == connections
