"""What tokens say about themselves, and the account that each server is settled on."""

from __future__ import annotations

import base64
import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from executor_core.config import kept
from executor_core.config.accounts import AccountPins
from executor_core.config.claims import Claims, read_claims
from executor_core.errors import ExecutorError

SERVER = "https://wegent.example.com"


def jwt(**claims: Any) -> str:
    said = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{said}.c2ln"


ADA, BOB = jwt(sub="ada", user_id=1), jwt(sub="bob", user_id=2)


@pytest.fixture
def pins(tmp_path: Path) -> AccountPins:
    return AccountPins(tmp_path / "accounts.json")


@pytest.mark.parametrize(
    ("token", "claims"),
    [
        (
            jwt(sub="ada", user_id=7, exp=1769662847),
            Claims("7", "ada", datetime(2026, 1, 29, 5, 0, 47, tzinfo=UTC)),
        ),
        (jwt(sub=1, user_id=True, exp="soon"), Claims()),
        (jwt(sub="", user_id="", exp=1e300), Claims()),
        (jwt(exp=float("inf")), Claims()),
        ("wg-abc", Claims()),
        ("a.b.c", Claims()),
        (f"x.{base64.b64encode(b'[1]').decode()}.y", Claims()),
    ],
)
def test_only_claims_of_the_right_kind_count(token: str, claims: Claims) -> None:
    assert read_claims(token) == claims


def test_a_server_is_settled_on_one_account_until_it_is_cleared(pins: AccountPins) -> None:
    assert pins.account_of(SERVER, ADA) == "1"
    pins.settle(SERVER + "/wegent", ADA, "1")
    with pytest.raises(ExecutorError, match="account_differs"):
        pins.settle(SERVER, BOB, "2")
    with pytest.raises(ExecutorError, match="account_differs") as refused:
        pins.account_of(SERVER, BOB)
    assert "ada" in refused.value.message.detail
    assert "logout" in refused.value.message.hint
    assert pins.account_of("https://other.example.com", BOB) == "2"
    pins.clear(SERVER)
    assert pins.account_of(SERVER, BOB) == "2"


def test_a_look_at_a_token_settles_nothing(pins: AccountPins, tmp_path: Path) -> None:
    pins.account_of(SERVER, ADA)
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_known_once_a_task_told_whose_it_is(pins: AccountPins, tmp_path: Path) -> None:
    assert pins.account_of(SERVER, "wg-secret-1") is None
    pins.settle(SERVER, "wg-secret-1", "1")
    assert pins.account_of(SERVER, "wg-secret-1") == "1"
    assert pins.account_of(SERVER, "wg-secret-2") is None
    assert pins.account_of(SERVER, ADA) == "1"
    with pytest.raises(ExecutorError, match="account_differs"):
        pins.settle(SERVER, "wg-secret-2", "2")
    file = tmp_path / "accounts.json"
    assert "secret" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"x": 1}', b"\xff"])
def test_a_damaged_file_comes_back_from_its_copy(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "accounts.json"
    AccountPins(file).settle(SERVER, "wg-secret", "1")
    whole = file.read_bytes()
    file.write_bytes(content)
    assert AccountPins(file).account_of(SERVER, "wg-secret") == "1"
    assert file.read_bytes() == whole
    assert (tmp_path / "accounts.json.damaged-1").read_bytes() == content


def test_without_a_copy_the_next_connection_settles_the_account_again(tmp_path: Path) -> None:
    file = tmp_path / "accounts.json"
    file.write_bytes(b"\xff")
    assert AccountPins(file).account_of(SERVER, ADA) == "1"
    AccountPins(file).settle(SERVER, ADA, "1")
    assert AccountPins(file).of(SERVER) is not None


def test_a_file_that_cannot_be_read_now_stops_rather_than_mixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "accounts.json"
    AccountPins(file).settle(SERVER, ADA, "1")

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(kept, "read_private", refuse)
    with pytest.raises(ExecutorError, match="accounts_unreadable") as stopped:
        AccountPins(file).account_of(SERVER, ADA)
    assert str(file) in stopped.value.message.detail
    assert file.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="account_not_kept"):
        AccountPins(tmp_path / "missing" / "accounts.json").settle(SERVER, ADA, "1")
