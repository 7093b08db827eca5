"""The round trip step by step, and what each step says when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from executor_core.clock import SystemClock
from executor_core.desk.selftest import Mark, SelfTest, Step
from executor_core.model import LinkState
from tests.desk.conftest import Computer, RunningExecutor
from tests.support.rest_server import RestServer

ONLINE = {"device_id": "hw-1", "name": "Mine", "status": "online"}


def listed(**more: Any) -> tuple[int, Any]:
    return 200, {"items": [ONLINE | more], "total": 1}


def task(status: str, **more: Any) -> tuple[int, Any]:
    return 200, {"id": 7, "messages": [{"status": status, "text": "", "error": None} | more]}


@pytest.fixture
async def rest(computer: Computer) -> AsyncIterator[RestServer]:
    """A hub where all is well, with an executor that is online at it."""
    async with RestServer() as server:
        computer.connect_to(server.url, "token")
        computer.executor = RunningExecutor()
        computer.executor.link(server.url, LinkState.ONLINE)
        server.answers |= {
            "GET /api/hub": (200, {"hub": True, "user": "ada"}),
            "GET /api/devices": listed(),
            "POST /api/tasks": task("RUNNING"),
            "GET /api/tasks/7": task("COMPLETED", text="ready"),
            "POST /api/tasks/7/cancel": task("CANCELLED"),
        }
        yield server


async def steps_of(computer: Computer, *, timeout_s: float = 20, skips: bool = False) -> list[Step]:
    test = SelfTest(
        computer.load,
        computer.reach,
        SystemClock(),
        prompt="hi",
        timeout_s=timeout_s,
        skips_dispatch=skips,
    )
    return [step async for step in test.run()]


async def failure(computer: Computer, **more: Any) -> tuple[str, str, str]:
    """The step that failed, the code, and what to do; all before it went well."""
    *before, last = await steps_of(computer, **more)
    assert all(step.error is None for step in before)
    assert last.error is not None
    assert last.mark is Mark.FAILED
    assert last.error.title
    return last.name, last.error.code, last.error.hint


async def test_all_is_well(computer: Computer, rest: RestServer) -> None:
    steps = await steps_of(computer)
    names = ["token", "connect", "sign_in", "device", "dispatch", "answer"]
    assert [(step.name, step.mark) for step in steps] == [(name, Mark.OK) for name in names]
    assert all(step.seconds >= 0 and step.title for step in steps)
    assert (steps[2].note, steps[3].note, steps[5].note) == ("ada", "Mine", "ready")
    [asked] = [one for one in rest.asked if one.method == "POST"]
    assert asked.body == {"prompt": "hi", "device_id": "hw-1"}


async def test_it_may_end_before_a_task(computer: Computer, rest: RestServer) -> None:
    steps = await steps_of(computer, skips=True)
    assert (steps[-1].name, steps[-1].mark) == ("dispatch", Mark.SKIPPED)
    assert not any(one.method == "POST" for one in rest.asked)


async def test_a_wegent_server_is_followed_to_the_device_and_no_task_is_made(
    computer: Computer, rest: RestServer
) -> None:
    rest.answers["GET /api/hub"] = (404, {"detail": "Not Found"})
    rest.answers["GET /api/users/me"] = (200, {"user_name": "ada"})
    steps = await steps_of(computer)
    assert [step.mark for step in steps] == [Mark.OK] * 4 + [Mark.SKIPPED]
    assert "web page" in steps[-1].note
    assert not any(one.method == "POST" for one in rest.asked)


async def test_a_page_for_every_path_is_not_taken_for_a_hub(
    computer: Computer, rest: RestServer
) -> None:
    rest.answers["GET /api/hub"] = (200, "<html>")
    rest.answers["GET /api/users/me"] = (200, {"user_name": "ada"})
    assert (await steps_of(computer))[-1].mark is Mark.SKIPPED


async def test_with_a_key_the_connection_of_the_device_is_the_proof(
    computer: Computer, rest: RestServer
) -> None:
    computer.connect_to(rest.url, "wg-key")
    for path in ("/api/hub", "/api/devices", "/api/users/me"):
        rest.answers[f"GET {path}"] = (401, {"detail": "Could not validate credentials"})
    steps = await steps_of(computer)
    marks = [Mark.OK, Mark.OK, Mark.SKIPPED, Mark.OK, Mark.SKIPPED]
    assert [step.mark for step in steps] == marks
    assert all(step.error is None for step in steps)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"GET /": (200, "<html>")}, ("connect", "server", "")),
        ({"GET /api/hub": (401, {"detail": "no"})}, ("sign_in", "token_refused", "login")),
        ({"GET /api/devices": (200, {"items": []})}, ("device", "device_not_listed", "stop")),
        ({"GET /api/devices": listed(status="offline")},
         ("device", "device_listed_offline", "again")),
        ({"POST /api/tasks": (409, {"detail": "The device is offline."})},
         ("dispatch", "server_said_no", "")),
        ({"GET /api/tasks/7": task("FAILED", error="No agent.")},
         ("answer", "selftest_task_failed", "wegent-executor agents")),
        ({"GET /api/tasks/7": task("CANCELLED")}, ("answer", "selftest_task_failed", "")),
    ],
)  # fmt: skip
async def test_the_step_that_fails_is_named_with_what_to_do(
    computer: Computer, rest: RestServer, answers: Any, expected: tuple[str, str, str]
) -> None:
    rest.answers |= answers
    name, code, hint = await failure(computer)
    assert (name, code) == expected[:2]
    assert expected[2] in hint


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (LinkState.REJECTED, ("device", "link_rejected")),
        (LinkState.OFFLINE, ("device", "link_offline")),
        (LinkState.CONNECTING, ("device", "link_offline")),
    ],
)
async def test_a_device_that_is_not_connected_says_why(
    computer: Computer, rest: RestServer, state: LinkState, expected: tuple[str, str]
) -> None:
    assert computer.executor is not None
    computer.executor.link(rest.url, state, "because")
    *_, last = await steps_of(computer)
    assert last.error is not None
    assert (last.name, last.error.code) == expected
    assert "because" in last.error.detail


async def test_an_executor_that_cannot_take_the_task_is_told_apart(
    computer: Computer, rest: RestServer
) -> None:
    assert computer.executor is not None
    computer.executor.paused = True
    assert (await failure(computer))[:2] == ("device", "device_takes_nothing")
    computer.executor.link("https://elsewhere.example.com", LinkState.ONLINE)
    assert (await failure(computer))[:2] == ("device", "works_for_another_server")
    computer.executor = None
    assert (await failure(computer))[:2] == ("device", "not_running")


async def test_without_a_token_or_a_server_nothing_is_tried(computer: Computer) -> None:
    assert (await failure(computer))[:2] == ("token", "no_server")
    computer.environment["WEGENT_BACKEND_URL"] = "http://127.0.0.1:1"
    assert (await failure(computer))[:2] == ("token", "signed_out")
    computer.connect_to("http://127.0.0.1:1", "token")
    assert (await failure(computer))[:2] == ("connect", "network")


@pytest.mark.slow
async def test_what_takes_too_long_is_cancelled_at_the_server(
    computer: Computer, rest: RestServer
) -> None:
    rest.answers["GET /api/tasks/7"] = task("RUNNING")
    async with asyncio.timeout(10):
        name, code, hint = await failure(computer, timeout_s=1)
    assert (name, code) == ("answer", "selftest_timeout")
    assert "--timeout" in hint
    assert rest.asked[-1].path == "/api/tasks/7/cancel"


@pytest.mark.slow
async def test_a_cancel_that_the_server_does_not_take_leaves_the_reason_as_it_is(
    computer: Computer, rest: RestServer
) -> None:
    rest.answers["GET /api/tasks/7"] = task("RUNNING")
    rest.answers["POST /api/tasks/7/cancel"] = (401, {"detail": "who?"})
    _, code, _ = await failure(computer, timeout_s=1)
    assert code == "selftest_timeout"
