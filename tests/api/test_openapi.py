"""The description and what is served are one thing."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import pytest

from tests.api.conftest import documented
from tests.api.test_streams import read_all
from tests.support.office import RICH, Office

# The console's own way in; the listener brings it along for every room.
OF_THE_LISTENER = {("POST", "/api/auth/ticket")}


@pytest.fixture
async def document(http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get("/openapi.json") as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
        return found


def served(office: Office) -> set[tuple[str, str]]:
    """Every route of the listener, in the words of the description."""
    return {
        (route.method, route.resource.canonical)
        for route in office.listener.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


async def test_everything_served_is_described_and_the_other_way_round(
    office: Office, document: dict[str, Any]
) -> None:
    assert set(documented(document)) == served(office) - OF_THE_LISTENER


async def test_everything_described_answers(
    http: aiohttp.ClientSession, document: dict[str, Any]
) -> None:
    last = ("/api/drain", "/api/stop")
    for method, path in sorted(documented(document), key=lambda pair: pair[1] in last):
        place = path.format(run_id="run_0", device_id="hw-1", name="codex")
        async with http.request(method, place, json={} if method != "GET" else None) as answer:
            assert answer.status not in (404, 405, 500) or "run_id" in path, (method, path)


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in re.findall(r"'\$ref': '#/([^']*)'", str(document)):
        found: Any = document
        for step in reference.split("/"):
            found = found[step]
        assert found, reference


async def test_names_of_operations_are_unique(document: dict[str, Any]) -> None:
    names = [way["operationId"] for ways in document["paths"].values() for way in ways.values()]
    assert len(names) == len(set(names))


async def test_only_what_is_public_needs_no_token(document: dict[str, Any]) -> None:
    public = {
        path
        for path, ways in document["paths"].items()
        for way in ways.values()
        if not way["security"]
    }
    assert public == {"/health", "/health/agents", "/api/auth/login"}


async def test_a_token_in_the_query_is_described_for_streams_alone(
    document: dict[str, Any],
) -> None:
    for ways in document["paths"].values():
        for method, way in ways.items():
            is_stream = "text/event-stream" in way["responses"]["200"]["content"]
            # Clients that cannot set headers cannot post either.
            assert ({"query": []} in way["security"]) is (is_stream and method == "get")


async def test_a_stream_that_is_said_to_go_on_after_an_event_does_and_the_others_say_nothing(
    http: aiohttp.ClientSession, office: Office, document: dict[str, Any]
) -> None:
    run_id = await office.complete(*RICH)
    described = {
        path
        for path, ways in document["paths"].items()
        for parameter in ways.get("get", {}).get("parameters", [])
        if parameter["name"] == "Last-Event-ID"
    }
    assert described == {"/api/runs/{run_id}/events", "/api/runs/{run_id}/agent-events"}
    for path in described:
        place = path.format(run_id=run_id)
        every = await read_all(http, place)
        assert await read_all(http, place, after=every[3].id) == every[4:]


async def test_every_event_that_is_sent_has_a_described_name(
    http: aiohttp.ClientSession, office: Office, document: dict[str, Any]
) -> None:
    run_id = await office.complete(*RICH)
    sent = await read_all(http, f"/api/runs/{run_id}/events")
    names = {event.name for event in sent}
    schema = document["components"]["schemas"]["OpenRunnerEvent"]
    assert names <= set(schema["properties"]["type"]["enum"])
    assert len(names) == 9  # all but the error, which a completed run has not
