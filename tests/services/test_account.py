"""Signing in and out, and looking at a server before."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from executor_core.config.accounts import AccountPins
from executor_core.config.keychain import Keychain
from executor_core.errors import ExecutorError
from executor_core.links.server import Access
from executor_core.model import LinkState
from executor_core.services import account
from executor_core.services.account import LocalAccount
from executor_core.services.interface import Account
from executor_core.texts import text
from tests.config.memory_keyring import MemoryKeyring
from tests.config.test_accounts import ADA, BOB, jwt
from tests.services.conftest import Computer, RunningExecutor
from tests.support.rest_server import RestServer

SERVER = "https://wegent.example.com"


@pytest.fixture
async def rest() -> AsyncIterator[RestServer]:
    async with RestServer() as server:
        yield server


@pytest.fixture
def room(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> LocalAccount:
    """The server takes every token."""

    async def taken(_access: Access) -> None:
        pass

    monkeypatch.setattr(account, "check_token", taken)
    return LocalAccount(computer.load, computer.reach)


@pytest.fixture
def strict_room(computer: Computer) -> LocalAccount:
    return LocalAccount(computer.load, computer.reach)


async def test_a_token_is_kept_once_the_server_took_it(
    strict_room: LocalAccount, keychain: MemoryKeyring, rest: RestServer
) -> None:
    rest.answers["GET /api/users/me"] = (200, {"user_name": "ada"})
    await strict_room.sign_in(rest.url, ADA)
    rest.has_sockets = True
    await strict_room.sign_out()
    await strict_room.sign_in(rest.url, "wg-key")
    assert rest.connected == ["wg-key"]
    assert list(keychain.entries.values()) == ["wg-key"]


@pytest.mark.parametrize("token", [ADA, "wg-key"])
@pytest.mark.parametrize("words", ["Invalid or expired API key", "Connection refused by server"])
async def test_a_token_that_the_server_does_not_take_is_not_kept(
    strict_room: LocalAccount, computer: Computer, keychain: MemoryKeyring, rest: RestServer,
    token: str, words: str,
) -> None:  # fmt: skip
    rest.has_sockets, rest.refusal = True, words
    rest.answers["GET /api/users/me"] = (401, {"detail": "Could not validate credentials"})
    with pytest.raises(ExecutorError) as caught:
        await strict_room.sign_in(rest.url, token, to_file=True)
    assert caught.value.code == "token_refused"
    assert not keychain.entries
    assert not computer.home.token.exists()
    assert not computer.home.config_toml.exists()


@pytest.mark.parametrize("token", [ADA, "wg-key"])
async def test_a_server_that_cannot_be_asked_keeps_a_login_from_being_kept(
    strict_room: LocalAccount, computer: Computer, keychain: MemoryKeyring, token: str
) -> None:
    with pytest.raises(ExecutorError) as caught:
        await strict_room.sign_in("http://127.0.0.1:9", token)
    assert caught.value.code == "server_unreachable"
    assert not keychain.entries
    assert not computer.home.config_toml.exists()


async def test_without_anything_nobody_is_signed_in(room: LocalAccount) -> None:
    assert await room.account() == Account()


async def test_a_token_goes_to_the_keychain_and_the_executor_hears_of_it(
    room: LocalAccount, computer: Computer, keychain: MemoryKeyring
) -> None:
    computer.executor = RunningExecutor()
    token = jwt(sub="ada", user_id=1, exp=1769662847)
    kept = await room.sign_in(SERVER + "/api/", f"Bearer {token}")
    assert kept == Account(
        server=SERVER,
        user_name="ada",
        user_id="1",
        expires_at=datetime(2026, 1, 29, 5, 0, 47, tzinfo=UTC),
        place=text("source.keychain"),
    )
    assert list(keychain.entries.values()) == [token]
    assert computer.executor.changes == 1
    assert await room.account() == kept
    assert SERVER in computer.home.config_toml.read_text()


async def test_the_link_says_whether_the_token_is_refused(
    room: LocalAccount, computer: Computer, keychain: MemoryKeyring
) -> None:
    await room.sign_in(SERVER, "wg-key")
    computer.executor = RunningExecutor()
    computer.executor.link(SERVER, LinkState.REJECTED, "no")
    found = await room.account()
    assert (found.is_refused, found.is_api_key, found.user_name) == (True, True, None)
    computer.executor.link(SERVER, LinkState.ONLINE)
    assert not (await room.account()).is_refused


async def test_an_executor_that_ends_meanwhile_does_not_make_a_sign_in_fail(
    room: LocalAccount, computer: Computer, keychain: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lose(_: RunningExecutor) -> None:
        raise ExecutorError("executor_lost")

    computer.executor = RunningExecutor()
    monkeypatch.setattr(RunningExecutor, "credential_changed", lose)
    assert (await room.sign_in(SERVER, ADA)).user_name == "ada"
    assert list(keychain.entries.values()) == [ADA]


async def test_another_account_needs_a_logout_first(
    room: LocalAccount, computer: Computer, keychain: MemoryKeyring
) -> None:
    await room.sign_in(SERVER, ADA)
    AccountPins(computer.home.accounts).settle(SERVER, ADA, "1")
    with pytest.raises(ExecutorError, match="account_differs"):
        await room.sign_in(SERVER, BOB)
    assert list(keychain.entries.values()) == [ADA]
    left = await room.sign_out()
    assert (left.server, left.place) == (SERVER, None)
    assert keychain.entries == {}
    assert (await room.sign_in(SERVER, BOB)).user_name == "bob"


@pytest.mark.parametrize(
    ("address", "token", "code"),
    [
        (SERVER, "two words", "bad_token"),
        (SERVER, "good", "no_keychain"),
        ("http://wegent.example.com", "good", "server_url_plain_http"),
        ("ftp://x", "good", "server_url_invalid"),
        ("https://a:b@wegent.example.com", "good", "server_url_userinfo"),
    ],
)
async def test_what_cannot_be_kept_changes_nothing(
    room: LocalAccount, computer: Computer, address: str, token: str, code: str
) -> None:
    with pytest.raises(ExecutorError, match=code):
        await room.sign_in(address, token)
    assert not computer.home.config_toml.exists()
    assert not computer.home.token.exists()


async def test_a_server_that_cannot_be_remembered_leaves_no_token_behind(
    room: LocalAccount, keychain: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: Path, _data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("executor_core.config.writing.write_private", refuse)
    with pytest.raises(ExecutorError, match="config_not_written"):
        await room.sign_in(SERVER, "good")
    assert keychain.entries == {}


@pytest.mark.parametrize("before", [None, "[server]\nurl = 'https://old.example'\n"])
async def test_a_token_that_cannot_be_kept_leaves_the_server_as_it_was(
    room: LocalAccount, computer: Computer, before: str | None
) -> None:
    file = computer.home.config_toml
    if before is not None:
        file.write_text(before)
    with pytest.raises(ExecutorError, match="no_keychain"):
        await room.sign_in(SERVER, "good")
    assert (file.read_text() if file.exists() else None) == before


async def test_who_is_asked_by_the_keychain_has_as_long_as_it_takes(
    room: LocalAccount, keychain: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = keychain.gate = threading.Event()
    monkeypatch.setattr("executor_core.config.keychain._process", Keychain(lambda: keychain, 0.05))
    monkeypatch.setattr(account, "LOOK_AGAIN_S", 0.01)
    told: list[str] = []

    def answer_later() -> None:
        told.append("asked")
        threading.Timer(0.3, gate.set).start()

    room._on_wait = answer_later
    kept = await room.sign_in(SERVER, "good")
    assert (kept.place, told) == (text("source.keychain"), ["asked"])
    assert list(keychain.entries.values()) == ["good"]


async def test_a_keychain_that_waits_for_its_user_holds_no_loop_and_is_asked_once(
    room: LocalAccount, keychain: MemoryKeyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watched loop would fail this test."""
    keychain.gate = threading.Event()
    monkeypatch.setattr("executor_core.config.keychain._process", Keychain(lambda: keychain, 0.7))
    for _ in range(2):
        with pytest.raises(ExecutorError, match="keychain_asking"):
            await room.sign_in(SERVER, "good")
    assert keychain.calls == 1
    keychain.gate.set()


@pytest.mark.parametrize("field", ["access_token", "token"])
async def test_a_password_becomes_a_token_and_is_kept_nowhere(
    room: LocalAccount,
    computer: Computer,
    rest: RestServer,
    field: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    rest.answers["POST /api/auth/login"] = (200, {field: ADA, "token_type": "bearer"})
    found = await room.sign_in_with_password(rest.url, "ada", "pass-word-1", to_file=True)
    assert found.user_name == "ada"
    assert computer.home.token.read_text().startswith(ADA)
    [asked] = rest.asked
    assert (asked.body["user_name"], asked.body["username"]) == ("ada", "ada")
    files = [path.read_bytes() for path in computer.home.path.rglob("*") if path.is_file()]
    assert b"pass-word-1" not in b"".join(files)
    assert "pass-word-1" not in caplog.text


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((400, {"detail": "Invalid username or password"}), "login_failed"),
        ((429, {"detail": "slow down"}), "server_said_no"),
        ((200, {"token": 5}), "server_answer_strange"),
        ((200, "<html>"), "server_answer_strange"),
        ((500, "oops"), "server_said_no"),
    ],
)
async def test_a_login_that_fails_keeps_nothing(
    room: LocalAccount, computer: Computer, rest: RestServer, answer: tuple[int, object], code: str
) -> None:
    rest.answers["POST /api/auth/login"] = answer
    with pytest.raises(ExecutorError, match=code):
        await room.sign_in_with_password(rest.url, "ada", "pass-word-1", to_file=True)
    assert not computer.home.token.exists()


# --- looking at a server -------------------------------------------------------------------------


async def test_a_wegent_server_is_known(room: LocalAccount, rest: RestServer) -> None:
    found = await room.check_server(rest.url + "/api")
    assert (found.server, found.problem, found.version) == (rest.url, None, "1.0.0")


async def test_what_is_no_wegent_server_is_said(room: LocalAccount, rest: RestServer) -> None:
    rest.answers["GET /"] = (200, "<html>a shop</html>")
    found = await room.check_server(rest.url)
    assert found.problem is not None
    assert found.problem.code == "server"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://127.0.0.1:1", "network"),
        ("https://no-such-host.invalid", "network"),
        ("http://wegent.example.com", "server_url_plain_http"),
        ("", "server_url_invalid"),
    ],
)
async def test_an_address_that_leads_nowhere_is_explained(
    room: LocalAccount, address: str, code: str
) -> None:
    found = await room.check_server(address)
    assert found.problem is not None
    assert found.problem.code == code
    assert found.problem.title
    assert found.problem.detail


async def test_a_server_that_speaks_no_tls_is_explained(
    room: LocalAccount, rest: RestServer
) -> None:
    found = await room.check_server(rest.url.replace("http:", "https:"))
    assert found.problem is not None
    assert found.problem.code == "tls"
