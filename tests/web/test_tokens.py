"""Our tokens are those that a full library makes and takes, and no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from executor_core.jwt import claims_of
from executor_core.web import tokens

KEY = "k" * 32
NOW = datetime(2026, 1, 29, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def foreign(claims: dict[str, Any], key: str = KEY, algorithm: str = "HS256") -> str:
    return jwt.encode({"exp": int(LATER.timestamp())} | claims, key, algorithm)


def test_the_library_takes_what_we_sign_and_we_take_what_it_signs() -> None:
    ours = tokens.sign({"sub": "å"}, KEY, now=datetime.now(UTC), life=timedelta(days=1))
    assert jwt.decode(ours, KEY, algorithms=["HS256"])["sub"] == "å"
    claims = tokens.verified(foreign({"sub": "å"}), KEY, now=NOW)
    assert claims is not None
    assert claims["sub"] == "å"


def test_a_token_is_good_until_it_expires() -> None:
    token = tokens.sign({"sub": "a"}, KEY, now=NOW, life=timedelta(hours=1))
    assert tokens.verified(token, KEY, now=NOW + timedelta(minutes=59)) is not None
    assert tokens.verified(token, KEY, now=NOW + timedelta(hours=1)) is None


def _changed(token: str) -> str:
    header, claims, seal = token.split(".")
    return f"{header}.{claims[:-2]}AA.{seal}"


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "...",
        "é.é.é",
        "a" * 100_000,
        "\ud800.x.y",
        foreign({}, "other" * 8),
        foreign({}, algorithm="none", key=""),
        foreign({}, KEY * 2, "HS512"),
        foreign({"exp": 1}),
        jwt.encode({"sub": "a"}, KEY, "HS256"),
        _changed(foreign({"sub": "owner"})),
        foreign({}).rpartition(".")[0] + ".",
    ],
)
def test_every_other_token_is_refused(token: str) -> None:
    assert tokens.verified(token, KEY, now=NOW) is None


def test_what_is_no_token_claims_nothing() -> None:
    for token in ("", "a.b.c", "x", "\ud800.x.y"):
        assert claims_of(token) == {}


def test_what_a_token_claims_is_read_without_its_key() -> None:
    assert claims_of(foreign({"sub": "a"}, "other" * 8))["sub"] == "a"
