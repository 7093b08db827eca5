"""What Claude Code tells besides its answer: what was not done, why it failed, what it cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from executor_core.model import AgentEvent, AgentResult, Notice
from tests.agents.test_claude_dialogue import failure, heard, result, text_block

# --- what a person should know besides -----------------------------------------------------------


def init(**fields: Any) -> dict[str, Any]:
    return {"type": "system", "subtype": "init", "permissionMode": "bypassPermissions"} | fields


def call(call_id: str = "1", *, is_error: bool = False) -> list[dict[str, Any]]:
    tool = {"type": "tool_use", "id": call_id, "name": "Bash", "input": {"command": "make"}}
    done = {"type": "tool_result", "tool_use_id": call_id, "is_error": is_error}
    return [
        {"type": "assistant", "message": {"content": [tool]}},
        {"type": "user", "message": {"content": [done]}},
    ]


DENIAL = {"tool_name": "Bash", "tool_use_id": "1", "tool_input": {"command": "make  it"}}


def codes(events: list[AgentEvent]) -> list[str]:
    return [event.code for event in events if isinstance(event, Notice)]


def test_what_was_denied_is_said_once() -> None:
    report = {"origin": {"kind": "task-notification"}, "queued_turn_count": 0}
    first = result(permission_denials=[DENIAL], queued_turn_count=1)
    again = result(permission_denials=[DENIAL], **report)
    events = heard(init(), *call(), text_block("I did."), first, init(), again)
    assert [e.text for e in events if isinstance(e, Notice)] == [
        "Not permitted here, so it was not done: Bash make it"
    ]


@pytest.mark.parametrize(
    ("mode", "works", "code"),
    [
        ("default", False, "agent_forbidden"),
        ("default", True, None),
        ("bypassPermissions", False, None),
    ],
)
def test_a_run_that_was_allowed_nothing_in_another_mode_is_no_answer(
    mode: str, works: bool, code: str | None
) -> None:
    events = heard(
        init(permissionMode=mode),
        *call(is_error=True),
        *(call("2") if works else ()),
        text_block("I did."),
        result(permission_denials=[DENIAL]),
    )
    last = events[-1]
    assert isinstance(last, AgentResult)
    assert (last.error and last.error.code) == code
    assert ("permission_mode" in codes(events)) == (mode == "default")


def test_tool_servers_that_did_not_start_are_named_once() -> None:
    states = {"a": "connected", "b": "failed", "c": "pending", "d": "needs-auth"}
    servers = [{"name": name, "status": status} for name, status in states.items()]
    events = heard(init(mcp_servers=servers), init(mcp_servers=servers))
    words = " ".join(e.text for e in events if isinstance(e, Notice))
    assert codes(events) == ["mcp_dead", "mcp_dead"]
    assert ("“b” is not" in words, "“d” is not" in words) == (True, True)


def test_a_sub_agent_that_failed_is_told() -> None:
    task = {"type": "system", "task_id": "t", "task_type": "local_agent", "description": "look"}
    events = heard(
        init(),
        task | {"subtype": "task_started"},
        task | {"subtype": "task_notification", "status": "failed", "summary": "No model."},
    )
    [notice] = [e for e in events if isinstance(e, Notice)]
    assert notice.text == "The sub-agent “look” failed: No model."


# --- failures by structure -----------------------------------------------------------------------


def synthetic(words: str, error: str) -> dict[str, Any]:
    own = text_block(words, error=error)
    own["message"]["model"] = "<synthetic>"
    return own


@pytest.mark.parametrize(
    ("error", "fields", "code"),
    [
        ("billing_error", {}, "model_credit_used_up"),
        ("oauth_org_not_allowed", {}, "model_access_denied"),
        ("model_not_found", {}, "model_unknown"),
        ("max_output_tokens", {}, "agent_stopped_early"),
        ("authentication_failed", {}, "model_key_refused"),
        ("rate_limit", {}, "model_rate_limited"),
        ("rate_limit", {"api_error_status": 429}, "model_rate_limited"),
        ("server_error", {"api_error_status": 529}, "model_overloaded"),
        ("unknown", {}, "agent_failed"),
        ("unknown", {"terminal_reason": "prompt_too_long"}, "model_context_full"),
        ("unknown", {"terminal_reason": "image_error"}, "session_unusable"),
        ("unknown", {"subtype": "error_max_budget_usd"}, "agent_stopped_early"),
        ("unknown", {"startup_failure_reason": "cli_version_too_old"}, "agent_outdated"),
        ("unknown", {"startup_failure_reason": "bypass_root"}, "agent_forbidden"),
        ("unknown", {"startup_failure_reason": "proxy_invalid"}, "agent_not_set_up"),
        ("unknown", {"startup_failure_reason": "session_held_by_background"}, "session_unusable"),
        ("unknown", {"startup_failure_reason": "worktree_unverified"}, "agent_failed"),
    ],
)
def test_what_the_cli_tells_in_fields_decides_before_any_word(
    error: str, fields: dict[str, Any], code: str
) -> None:
    said_by_cli = synthetic("Some words.", error)
    assert failure(said_by_cli, result(is_error=True, result="Some words.") | fields)[0] == code


def test_a_limit_that_was_reached_says_when_it_is_reset() -> None:
    info = {"status": "rejected", "resetsAt": 1_770_000_000, "rateLimitType": "five_hour"}
    events = heard(
        {"type": "rate_limit_event", "rate_limit_info": info},
        synthetic("You've hit your limit", "rate_limit"),
        result(is_error=True, api_error_status=429, result="You've hit your limit"),
    )
    last = events[-1]
    assert isinstance(last, AgentResult)
    assert last.error is not None
    assert last.error.code == "model_usage_limit"
    assert last.error.retry_at == datetime.fromtimestamp(1_770_000_000, UTC)


def test_a_limit_that_is_only_near_explains_no_failure() -> None:
    info = {"status": "allowed_warning", "resetsAt": 1_770_000_000}
    near = {"type": "rate_limit_event", "rate_limit_info": info}
    assert failure(near, result(is_error=True, api_error_status=429))[0] == "model_rate_limited"


# --- what it cost --------------------------------------------------------------------------------


def models(**counts: float) -> dict[str, Any]:
    return {"some-model": counts}


def spent(*messages: dict[str, Any]) -> tuple[int, int, float | None]:
    last = heard(*messages)[-1]
    assert isinstance(last, AgentResult)
    assert last.usage is not None
    return last.usage.input_tokens, last.usage.output_tokens, last.usage.cost_usd


def test_a_version_that_tells_what_is_new_is_added_up() -> None:
    report = {"origin": {"kind": "task-notification"}, "queued_turn_count": 0}
    old, new = models(inputTokens=900, costUSD=9.0), models(inputTokens=100, outputTokens=20)
    first = result(
        total_cost_usd=9.5,
        modelUsage=old,
        queued_turn_count=1,
        model_usage_since_last_result={"x": new["some-model"] | {"costUSD": 0.5}},
    )
    second = result(
        total_cost_usd=9.75,
        modelUsage=old,
        model_usage_since_last_result=models(inputTokens=50, outputTokens=10, costUSD=0.25),
        **report,
    )
    assert spent(init(), first, init(), second) == (150, 30, 0.75)


def test_a_version_that_tells_only_totals_is_taken_at_its_last_word() -> None:
    counts = {"usage": {"input_tokens": 1}, "total_cost_usd": 0.5}
    told = models(inputTokens=100, cacheReadInputTokens=30, outputTokens=20, costUSD=0.5)
    assert spent(init(), result(modelUsage=told, **counts)) == (130, 20, 0.5)
