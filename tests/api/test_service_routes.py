"""Status as a stream, devices, doctor and log; and what is not there is not there."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from executor_core import api
from executor_core.control.control import STATUS_GAP_S
from executor_core.texts import text
from executor_core.web import Listener
from tests.api.test_streams import Sent, read_event
from tests.support.clock import JumpingClock
from tests.support.office import TOKEN, Office


async def test_the_status_stream_begins_with_the_status_and_tells_each_change(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with http.get("/api/status/events") as answer:
        first = await read_event(answer)
        assert first is not None
        assert (first.id, first.name, first.data["paused"]) == (1, "status", False)
        await office.local.pause(reason="lunch")
        await office.clock.advance(STATUS_GAP_S)
        second = await read_event(answer)
        assert second is not None
        assert (second.id, second.data["pause_reason"]) == (2, "lunch")


async def test_devices_are_listed_changed_and_removed(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with http.get("/api/devices") as answer:
        found = await answer.json()
    assert found["total"] == 1
    assert (found["items"][0]["device_id"], found["items"][0]["is_default"]) == ("hw-1", True)
    async with http.delete("/api/devices/hw-1/default") as answer:
        assert not (await answer.json())["items"][0]["is_default"]
    async with http.put("/api/devices/hw-1/default") as answer:
        assert (await answer.json())["items"][0]["is_default"]
    async with http.delete("/api/devices/hw-9") as answer:
        assert answer.status == 200
    assert office.services.removed == ["hw-9"]
    async with http.put("/api/devices/hw-9/default") as answer:
        assert (await answer.json())["error"]["code"] == "unknown_device"


async def test_the_doctor_tells_every_check(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/doctor") as answer:
        verdicts = [(check["name"], check["verdict"]) for check in await answer.json()]
    assert verdicts == [("git", "ok"), ("disk", "warning")]


async def test_the_end_of_the_log_is_as_long_as_asked(http: aiohttp.ClientSession) -> None:
    async with http.get("/api/log?lines=2") as answer:
        assert [line["text"] for line in await answer.json()] == ["line 1", "line 2"]
    async with http.get("/api/log?lines=99999") as answer:
        assert answer.status == 400


async def test_the_log_stream_goes_on_with_what_comes(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with http.get("/api/log/events?lines=1") as answer:
        last = await read_event(answer)
        assert last is not None
        assert (last.name, last.data["text"]) == ("log", "line 2")
        office.services.grown.set()
        new = await read_event(answer)
        assert new is not None
        assert new.data["text"] == "new"


INSTALL = "/api/agents/codex/install"


async def test_an_installation_says_each_step_and_at_last_what_is_there(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with http.post(INSTALL) as answer:
        assert answer.content_type == "text/event-stream"
        step = await read_event(answer)
        assert step is not None
        assert (step.id, step.name, step.data) == (1, "step", {"text": "Fetching it."})
        office.services.may_install.set()
        last = await read_rest(answer)
    assert (last.name, last.data["installed"]["version"]) == ("installed", "1.2.3")
    assert "error" not in last.data


async def test_an_installation_that_fails_says_why_in_the_language_of_who_asked(
    http: aiohttp.ClientSession, office: Office
) -> None:
    office.services.may_install.set()
    office.services.install_reason = "the disk is full"
    async with http.post(INSTALL, headers={"Accept-Language": "zh-CN"}) as answer:
        last = await read_rest(answer)
    assert (last.name, last.data["error"]["code"]) == ("failed", "install_failed")
    assert last.data["error"]["title"] == text(
        "error.install_failed.title", language="zh_CN", agent="Codex"
    )
    assert "the disk is full" in last.data["text"]


async def test_what_cannot_be_installed_is_refused_before_anything_begins(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with http.post("/api/agents/goose/install") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["code"] == "agent_not_installable"
    assert not office.services.installing.is_set()


async def test_a_client_that_leaves_ends_the_installation(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with http.post(INSTALL):
        await office.services.installing.wait()
    async with asyncio.timeout(5):
        while not office.services.has_given_up.is_set():
            await office.clock.advance(5)


async def test_only_the_owner_installs_and_never_by_a_token_in_the_address(
    office: Office,
) -> None:
    second = await office.client("second-token")
    async with second.post(INSTALL) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "owner_only")
    nobody = await office.client()
    async with nobody.post(f"{INSTALL}?access_token={TOKEN}") as answer:
        assert answer.status == 401
    assert not office.services.installing.is_set()


async def read_rest(answer: aiohttp.ClientResponse) -> Sent:
    """The last event of a stream that ends by itself."""
    last = None
    while (event := await read_event(answer)) is not None:
        last = event
    assert last is not None
    return last


@pytest.mark.parametrize("path", ["/api/devices", "/api/doctor", "/api/log", "/api/auth/login"])
async def test_a_part_that_is_not_there_has_no_routes(
    office: Office, clock: JumpingClock, path: str
) -> None:
    bare = Listener(port=0, token=TOKEN, clock=clock)
    api.attach(bare, office.local)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(await bare.start(), headers=headers) as http:
        async with http.get(path) as answer:
            assert answer.status == 404
        async with http.get("/openapi.json") as answer:
            assert path not in (await answer.json())["paths"]
    await bare.stop()
