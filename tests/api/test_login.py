"""Signing in over HTTP, and how far it takes a user."""

from __future__ import annotations

import aiohttp
import pytest

from executor_core.web import OWNER, TOKEN_LIFE
from tests.support.office import Office

PASSWORD = "correct horse"


@pytest.fixture
async def anybody(office: Office) -> aiohttp.ClientSession:
    """A client without a token, of an office with an owner and anna."""
    office.users.put(OWNER, PASSWORD)
    office.users.put("anna", PASSWORD)
    return await office.client()


async def login(http: aiohttp.ClientSession, **body: object) -> tuple[int, dict[str, object]]:
    async with http.post("/api/auth/login", json=body) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("spelling", ["username", "user_name"])
async def test_both_spellings_give_a_token_that_is_the_owners(
    anybody: aiohttp.ClientSession, spelling: str
) -> None:
    status, answer = await login(anybody, **{spelling: OWNER, "password": PASSWORD})
    assert status == 200
    assert answer == {
        "token": answer["token"],
        "access_token": answer["token"],
        "expires_in": TOKEN_LIFE.total_seconds(),
        "token_type": "bearer",
    }
    headers = {"Authorization": f"Bearer {answer['token']}"}
    async with anybody.get("/api/status", headers=headers) as shown:
        assert shown.status == 200


async def test_another_user_signs_in_and_sees_nothing_of_this_computer(
    anybody: aiohttp.ClientSession,
) -> None:
    _status, answer = await login(anybody, username="anna", password=PASSWORD)
    headers = {"Authorization": f"Bearer {answer['token']}"}
    for path in ("/api/status", "/api/runs", "/api/log", "/api/devices", "/api/status/events"):
        async with anybody.get(path, headers=headers) as shown:
            assert shown.status == 403
            assert (await shown.json())["error"]["code"] == "owner_only"


@pytest.mark.parametrize(
    "body",
    [
        {"username": "admin", "password": "admin"},
        {"username": OWNER, "password": "admin"},
        {"username": OWNER, "password": ""},
        {"password": PASSWORD},
        {"username": None, "password": PASSWORD},
    ],
)
async def test_a_wrong_login_gets_nothing(
    anybody: aiohttp.ClientSession, body: dict[str, object]
) -> None:
    status, answer = await login(anybody, **body)
    assert status == 400
    assert "token" not in answer


async def test_a_hundred_wrong_logins_in_a_row_are_slowed(anybody: aiohttp.ClientSession) -> None:
    found = [(await login(anybody, username=OWNER, password="no"))[0] for _ in range(100)]
    assert found == [400] * 5 + [429] * 95
    assert (await login(anybody, username=OWNER, password=PASSWORD))[0] == 429


async def test_a_token_of_one_user_is_no_way_around_the_wait_for_another(
    anybody: aiohttp.ClientSession,
) -> None:
    token = (await login(anybody, username="anna", password=PASSWORD))[1]["token"]
    anybody.headers["Authorization"] = f"Bearer {token}"
    found = [(await login(anybody, username=OWNER, password="no"))[0] for _ in range(10)]
    assert found == [400] * 5 + [429] * 5
    assert (await login(anybody, username="anna", password=PASSWORD))[0] == 200
