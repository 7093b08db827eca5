"""The round trip step by step, and what each step says when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from executor_core.clock import SystemClock
from executor_core.errors import ExecutorError
from executor_core.model import LinkState
from executor_core.services.selftest import Mark, SelfTest, Step
from tests.services.conftest import Computer, RunningExecutor
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


async def steps_of(
    computer: Computer, *, timeout_s: float = 20, team_id: int | None = None, skips: bool = False
) -> list[Step]:
    test = SelfTest(
        computer.load,
        computer.reach,
        SystemClock(),
        prompt="hi",
        timeout_s=timeout_s,
        team_id=team_id,
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


@pytest.fixture
def wegent(computer: Computer, rest: RestServer) -> RestServer:
    """The same as one of Wegent's own, from v2.0.12 on, and an executor that does the task."""
    del rest.answers["GET /api/hub"]
    rest.answers |= {
        "GET /api/users/me": (200, {"user_name": "ada"}),
        "GET /api/teams": (200, {"total": 2, "items": [
            {"id": 3, "name": "talk", "agent_type": "chat"},
            {"id": 4, "name": "dev", "bots": [{"bot": {"shell_type": "ClaudeCode"}}]},
        ]}),
        "POST /api/device-chat/tasks": (200, {"taskId": 7, "messageId": 1, "aiTriggered": True}),
    }  # fmt: skip
    assert computer.executor is not None
    computer.executor.ends(7, "ready")
    return rest


async def test_a_task_goes_through_a_wegent_server_and_back(
    computer: Computer, wegent: RestServer
) -> None:
    steps = await steps_of(computer)
    assert [step.mark for step in steps] == [Mark.OK] * 6
    assert (steps[4].note, steps[5].note) == ("task 7", "ready")
    [sent] = [one for one in wegent.asked if one.method == "POST"]
    assert sent.body == {"teamId": 4, "deviceId": "hw-1", "message": "hi", "title": "hi"}
    assert sent.token == "token"


async def test_a_key_sends_a_task_for_the_team_that_is_named(
    computer: Computer, wegent: RestServer
) -> None:
    computer.connect_to(wegent.url, "wg-key")
    for path in ("/api/hub", "/api/devices", "/api/users/me", "/api/teams"):
        wegent.answers[f"GET {path}"] = (401, {"detail": "Could not validate credentials"})
    last = (await steps_of(computer))[-1]
    assert (last.name, last.mark) == ("dispatch", Mark.SKIPPED)
    assert "--team" in last.note
    assert (await steps_of(computer, team_id=4))[-1].note == "ready"
    del wegent.answers["POST /api/device-chat/tasks"]
    last = (await steps_of(computer, team_id=4))[-1]
    assert (last.name, last.mark) == ("dispatch", Mark.SKIPPED)
    assert "web page" in last.note


async def test_a_server_without_that_call_is_sent_the_task_as_its_web_page_does(
    computer: Computer, wegent: RestServer
) -> None:
    async with wegent.with_chat({"task_id": 7, "subtask_id": 8}) as told:
        del wegent.answers["POST /api/device-chat/tasks"]
        assert (await steps_of(computer))[-1].note == "ready"
    assert told == [
        {"team_id": 4, "device_id": "hw-1", "message": "hi", "task_type": "task"},
    ]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"GET /api/teams": (200, {"items": [{"id": 3, "agent_type": "Chat"}]})}, "no_team"),
        ({"POST /api/device-chat/tasks": (404, {"detail": "Team not found"})}, "server_said_no"),
        ({"POST /api/device-chat/tasks": (200, {})}, "server_answer_strange"),
    ],
)
async def test_a_task_that_a_wegent_server_does_not_send_is_told_with_the_reason(
    computer: Computer, wegent: RestServer, answers: Any, expected: str
) -> None:
    wegent.answers |= answers
    assert (await failure(computer))[:2] == ("dispatch", expected)


async def test_a_task_that_failed_here_says_why(computer: Computer, wegent: RestServer) -> None:
    assert computer.executor is not None
    computer.executor.ends(7, "", ExecutorError("claude_code_missing"))
    assert (await failure(computer))[:2] == ("answer", "selftest_task_failed")


@pytest.mark.slow
async def test_a_result_that_the_server_does_not_take_is_no_success(
    computer: Computer, wegent: RestServer
) -> None:
    assert computer.executor is not None
    computer.executor.delivered = False
    assert (await failure(computer, timeout_s=1))[:2] == ("answer", "selftest_timeout")
    assert computer.executor.cancelled == ["run_7"]


async def test_a_page_for_every_path_is_not_taken_for_a_hub(
    computer: Computer, rest: RestServer
) -> None:
    rest.answers["GET /api/hub"] = (200, "<html>")
    rest.answers["GET /api/users/me"] = (200, {"user_name": "ada"})
    assert (await failure(computer))[0] == "dispatch"


async def test_with_a_key_the_connection_of_the_device_is_the_proof(
    computer: Computer, rest: RestServer
) -> None:
    computer.connect_to(rest.url, "wg-key")
    for path in ("/api/hub", "/api/devices", "/api/users/me", "/api/teams"):
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
