"""What a task of the newest servers allows its agent: it arrives, and it holds."""

from __future__ import annotations

from typing import Any

import pytest

from executor_core.agents import Agent
from executor_core.links.device.payload import held_to, parse_execute
from executor_core.model import LinkState, Permission, RunRequest
from tests.links.conftest import HeldAgent, MakeDevice, MakeServer, execute
from tests.links.test_link import begin, until_delivered

READ_ONLY, PLAN, WORKSPACE, AUTO, FULL = list(Permission)
PROFILE, MODE = "runtime_permission_profile", "claude_permission_mode"


@pytest.fixture(autouse=True)
def agent_holds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeldAgent, "enforces", frozenset(Permission))


def read(**more: Any) -> RunRequest:
    request, problem = parse_execute(execute(**more), "origin")
    assert problem is None
    return held_to(request, None)


@pytest.mark.parametrize(
    ("fields", "permission"),
    [
        ({}, FULL),
        ({PROFILE: None, MODE: None}, FULL),
        ({PROFILE: ":read-only"}, READ_ONLY),
        ({"runtimePermissionProfile": ":read-only"}, READ_ONLY),
        ({PROFILE: ":workspace"}, WORKSPACE),
        ({PROFILE: ":danger-full-access"}, FULL),
        ({MODE: "acceptEdits"}, WORKSPACE),
        ({MODE: "plan"}, PLAN),
        ({MODE: "auto"}, AUTO),
        ({MODE: "bypassPermissions"}, FULL),
        ({MODE: "somethingNew"}, FULL),
        ({PROFILE: ":read-only", MODE: "bypassPermissions"}, READ_ONLY),
        ({PROFILE: ":workspace", MODE: "plan"}, PLAN),
        ({PROFILE: ":danger-full-access", MODE: "auto"}, AUTO),
    ],
)
def test_the_stricter_of_profile_and_mode_counts(
    fields: dict[str, Any], permission: Permission
) -> None:
    assert read(**fields).permission is permission


def test_claudes_own_mode_means_nothing_to_another_agent() -> None:
    bot = [{"id": 9, "shell_type": "CodeX"}]
    assert read(bot=bot, **{MODE: "plan"}).permission is FULL
    assert read(bot=bot, **{PROFILE: ":read-only"}).permission is READ_ONLY


def test_claudes_own_mode_holds_for_the_agent_that_answers_in_its_place() -> None:
    request, _ = parse_execute({**execute(), MODE: "plan"}, "origin", agent="codex")
    assert (request.agent, request.permission) == ("codex", PLAN)


@pytest.mark.parametrize("unknown", [":none-at-all", "read-only", 7, [":read-only"]])
def test_a_profile_that_we_do_not_know_is_refused_and_named(unknown: object) -> None:
    _, problem = parse_execute({**execute(), PROFILE: unknown}, "origin")
    assert problem is not None
    assert problem.code == "task_field_wrong"
    assert "runtime_permission_profile" in str(problem)
    assert ":workspace" in str(problem)


async def test_a_follow_up_without_the_field_keeps_what_its_conversation_was_allowed(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)

    async def permission(subtask_id: int, **fields: Any) -> Permission:
        turn = await begin(server, device, subtask_id=subtask_id, **fields)
        turn.finish(final_text="done")
        await until_delivered(server, device)
        return turn.assignment.permission

    assert await permission(2) is FULL
    assert await permission(3, **{PROFILE: ":read-only"}) is READ_ONLY
    assert await permission(4) is READ_ONLY
    # Neither a refused task nor a new session gives anything back.
    await server.send("task:execute", execute(1, 5, prompt=""))
    await server.until_ended(5)
    assert await permission(6, new_session=True) is READ_ONLY
    assert await permission(7, **{MODE: "plan"}) is READ_ONLY
    assert await permission(8, **{PROFILE: ":danger-full-access", MODE: "plan"}) is PLAN
    # A mode is for one message: after a plan comes the work.
    assert await permission(9, **{MODE: "bypassPermissions"}) is FULL
    assert await permission(9, task_id=77) is FULL


async def test_what_the_agent_cannot_be_held_to_is_refused_in_words(
    make_server: MakeServer, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeldAgent, "enforces", Agent.enforces)
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    await server.send("task:execute", {**execute(), PROFILE: ":read-only"})
    refusal = (await server.until_ended(2)).data["data"]
    assert refusal["code"] == "permission_not_enforced"
    assert "read only" in refusal["message"]
    assert "full access" in refusal["message"]
    assert device.agent.begun == []


# --- the answer to a form ----------------------------------------------------------------------

ANSWER = {
    "type": "interactive_form_question",
    "tool_use_id": "toolu_1",
    "answers": {"q1": "allow", "q2": ["a", "b"]},
    "success": True,
    "status": "answered",
    "message": "### Q1\n**Answer**: `allow`",
}


@pytest.mark.parametrize(
    ("prompt", "answer", "words"),
    [
        (ANSWER["message"], ANSWER, ANSWER["message"]),
        ("Go on.", ANSWER, f"Go on.\n\n{ANSWER['message']}"),
        ("", ANSWER, ANSWER["message"]),
        (
            " ",
            {**ANSWER, "message": None},
            ' \n\n{"status":"answered","answers":{"q1":"allow","q2":["a","b"]}}',
        ),
        ("", {"status": "cancelled"}, '{"status":"cancelled"}'),
        ("Go on.", None, "Go on."),
        ("Go on.", "allow", "Go on."),
    ],
)
def test_an_answer_to_a_form_reaches_the_agent_once(
    prompt: str, answer: object, words: str
) -> None:
    assert read(prompt=prompt, interactive_form_answer=answer).prompt == words
