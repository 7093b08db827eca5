"""Every route: who may use it, and that nonsense is answered with a sentence."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from executor_core.api.routes import ROUTES
from executor_core.control.control import MAX_LIST
from executor_core.errors import ExecutorError
from tests.support.clock import settle
from tests.support.office import Office, outcome

RUN = "/api/runs/run_0"
PRIVATE = [
    (route.method, route.path.format(run_id="run_0", device_id="hw-1", name="f"))
    for route in ROUTES
    if not route.is_public
]
JSON = {"Content-Type": "application/json"}
DEEP = '{"a":' * 10_000 + "1" + "}" * 10_000
BAD_BODIES = [
    "{",
    "[]",
    '"text"',
    "NaN",
    '{"input":{"text":NaN}}',
    DEEP,
    f'{{"input":{DEEP}}}',
    '{"input":{"text":"\\ud800"}}',
    b"\xff\xfe",
]
BAD_RUNS: list[dict[str, Any]] = [
    {},
    {"input": None},
    {"input": "do it"},
    {"input": {"text": None}},
    {"input": {"text": 5}},
    {"input": {"text": ""}},
    {"input": {"text": "x"}, "metadata": None},
    {"input": {"text": "x"}, "metadata": []},
    {"input": {"text": "x"}, "metadata": {"agent_type": "nobody"}},
    {"input": {"text": "x"}, "metadata": {"agent_type": None}},
    {"input": {"text": "x"}, "metadata": {"cwd": "a\0b"}},
    {"input": {"text": "x"}, "metadata": {"cwd": "~nobody-of-that-name"}},
    {"input": {"text": "x"}, "metadata": {"cwd": 1}},
    {"input": {"text": "x"}, "metadata": {"timeout_secs": 0}},
    {"input": {"text": "x"}, "metadata": {"timeout_secs": -1}},
    {"input": {"text": "x"}, "metadata": {"timeout_secs": 1e300}},
    {"input": {"text": "x"}, "metadata": {"timeout_secs": 10**400}},
    {"input": {"text": "x"}, "metadata": {"timeout_secs": "300"}},
    {"input": {"text": "x"}, "metadata": {"model": "--settings=x"}},
    {"input": {"text": "x"}, "metadata": {"extra_args": ["--add-dir", "/"]}},
    {"input": {"text": "x"}, "metadata": {"extra_args": "--add-dir"}},
]


async def answered(answer: aiohttp.ClientResponse) -> dict[str, str]:
    """The error in an answer that must be one in words."""
    body = await answer.json()
    assert 400 <= answer.status < 500, body
    words: dict[str, str] = body["error"]
    assert set(words) == {"code", "title", "detail", "hint", "values"}
    assert words["title"]
    assert words["detail"]
    assert body["detail"].startswith(words["title"])
    return words


@pytest.mark.parametrize(("method", "path"), PRIVATE)
async def test_a_private_route_needs_the_owners_token(
    office: Office, method: str, path: str
) -> None:
    async with aiohttp.ClientSession(office.listener.base_url) as http:
        for headers, status, code in (
            ({}, 401, "no_token"),
            ({"Authorization": "Bearer wrong"}, 401, "no_token"),
            ({"Authorization": "Bearer second-token"}, 403, "owner_only"),
        ):
            async with http.request(method, path, headers=headers) as answer:
                assert answer.status == status
                assert (await answered(answer))["code"] == code
    assert not office.leaving.is_set()
    assert not (await office.local.status()).draining


async def test_health_is_public_and_tells_nothing_of_the_machine(office: Office) -> None:
    async with aiohttp.ClientSession(office.listener.base_url) as http:
        async with http.get("/health") as answer:
            assert await answer.json() == {"status": "ok"}
        async with http.get("/health/agents") as answer:
            agents = [{"name": "claude_code", "title": "Claude_code", "usable": True}]
            assert await answer.json() == {"agents": agents}


@pytest.mark.parametrize("path", [route.path for route in ROUTES if route.body])
@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_a_body_that_is_no_json_object_is_answered_in_words(
    http: aiohttp.ClientSession, path: str, body: str | bytes
) -> None:
    async with http.post(path, data=body, headers=JSON) as answer:
        await answered(answer)


@pytest.mark.parametrize("body", BAD_RUNS, ids=range(len(BAD_RUNS)))
async def test_a_run_that_makes_no_sense_is_refused_in_words(
    http: aiohttp.ClientSession, office: Office, body: dict[str, Any]
) -> None:
    async with http.post("/api/runs", data=json.dumps(body), headers=JSON) as answer:
        await answered(answer)
    assert await office.local.runs() == ()


async def test_a_wrong_field_is_named(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/runs", json={"input": {"text": 5}}) as answer:
        assert "$.input.text" in (await answered(answer))["detail"]


@pytest.mark.parametrize("for_s", [0, -5, 1e300, "30m", True])
async def test_a_pause_of_no_sensible_length_is_refused(
    http: aiohttp.ClientSession, office: Office, for_s: object
) -> None:
    async with http.post("/api/pause", json={"for_s": for_s}) as answer:
        await answered(answer)
    assert not (await office.local.status()).paused


@pytest.mark.parametrize(
    "limit", ["0", "-1", "x", "", "1.5", str(MAX_LIST + 1), "9" * 5000, "%00", "²"]
)
async def test_a_limit_out_of_range_is_refused(http: aiohttp.ClientSession, limit: str) -> None:
    async with http.get(f"/api/runs?limit={limit}") as answer:
        await answered(answer)


async def test_a_limit_is_kept(http: aiohttp.ClientSession, office: Office) -> None:
    for _ in range(3):
        await office.complete()
    async with http.get("/api/runs?limit=2") as answer:
        assert len(await answer.json()) == 2


async def test_a_run_in_the_form_of_the_guide_is_accepted(
    http: aiohttp.ClientSession, office: Office
) -> None:
    folder = office.folder / "project"
    folder.mkdir()
    body = {
        "input": {"text": "Add a test"},
        "metadata": {
            "agent_type": "claude_code",
            "cwd": str(folder),
            "timeout_secs": 600,
            "model": "claude-sonnet-4-5",
            "extra_args": [],
            "user_id": "somebody",
        },
        "stream": True,
    }
    async with http.post("/api/runs", json=body) as answer:
        run_id = (await answer.json())["run_id"]
    playing = await office.agent.started()
    assert playing.assignment.prompt == "Add a test"
    assert playing.assignment.folder == folder
    assert playing.assignment.model.model == "claude-sonnet-4-5"
    await office.clock.advance(601)
    found = await outcome(office.local, run_id)
    assert found.error is not None
    assert found.error.code == "time_limit"


async def test_a_run_without_metadata_has_five_minutes_and_a_folder_of_its_own(
    http: aiohttp.ClientSession, office: Office
) -> None:
    async with http.post("/api/runs", json={"input": {"text": "x"}}) as answer:
        run_id = (await answer.json())["run_id"]
    playing = await office.agent.started()
    assert playing.assignment.folder == office.folder / "workspace" / run_id
    await office.clock.advance(299)
    await settle()
    assert not playing.stop.is_set()
    await office.clock.advance(2)
    assert (await outcome(office.local, run_id)).error is not None


async def test_the_device_refuses_as_unavailable_while_it_drains(
    http: aiohttp.ClientSession, office: Office
) -> None:
    await office.begin()
    await office.local.drain()
    async with http.post("/api/runs", json={"input": {"text": "x"}}) as answer:
        assert answer.status == 503
        assert (await answer.json())["error"]["code"] == "draining"


async def test_an_unknown_run_is_404_on_all_its_routes(http: aiohttp.ClientSession) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/events")):
        async with http.request(method, RUN + path) as answer:
            assert answer.status == 404
            assert (await answered(answer))["code"] == "run_unknown"


async def test_a_failed_run_is_told_in_the_language_of_each_reader(
    http: aiohttp.ClientSession, office: Office
) -> None:
    run_id = await office.begin()
    failure = ExecutorError("model_overloaded", status=529, reason="too much").message
    office.playing.finish(error=failure)
    async for event in office.local.events(run_id):
        assert event is not None
    for tag, language in (("zh-CN", "zh_CN"), ("en", "en")):
        headers = {"Accept-Language": tag}
        async with http.get(f"/api/runs/{run_id}/events", headers=headers) as stream:
            assert failure.words(language)[0] in (await stream.read()).decode()
        async with http.get(f"/api/runs/{run_id}", headers=headers) as answer:
            error = (await answer.json())["outcome"]["error"]
        title, detail, _ = failure.words(language)
        assert (error["title"], error["detail"]) == (title, detail)
        assert error["values"] == failure.values
