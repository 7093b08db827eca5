"""`codex exec` without Codex: recorded lines in, our events out, each line also as it came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.agent import Assignment
from executor_core.agents.codex import exec_arguments
from executor_core.agents.codex_dialogue import MAX_RAW_BYTES, CodexExecDialogue
from executor_core.model import (
    AgentEvent,
    AgentResult,
    FileChanged,
    ModelConfig,
    Notice,
    Permission,
    RawEvent,
    ReasoningDelta,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
)
from tests.support.record_codex import KEY
from tests.support.record_codex_exec import FOLDER, exec_cases

THREAD = "00000000-0000-4000-8000-000000000001"


def task(**more: Any) -> Assignment:
    fields: dict[str, Any] = {
        "run_id": "run_1",
        "prompt": "Hello",
        "folder": Path("/home/me/ws"),
        "scratch": Path("/home/me/scratch"),
        "private_home": Path("/home/me/private"),
        "model": ModelConfig(model="gpt-5.5", api_key=KEY),
    }
    return Assignment(**(fields | more))


def lines_of(name: str) -> list[bytes]:
    return (FOLDER / f"{name}.jsonl").read_bytes().splitlines()


def replay(name: str, **more: Any) -> list[AgentEvent]:
    """What the lines of a recording mean, without the session that all begin with."""
    dialogue = CodexExecDialogue(task(**more))
    events = [event for line in lines_of(name) for event in dialogue.feed(line)]
    return [event for event in events if not isinstance(event, RawEvent | SessionStarted)]


def heard(*messages: dict[str, Any]) -> list[AgentEvent]:
    dialogue = CodexExecDialogue(task())
    return [event for one in messages for event in dialogue.feed(json.dumps(one).encode())]


def finished(text: str, requests: int = 1) -> AgentResult:
    usage = Usage(input_tokens=100 * requests, output_tokens=20 * requests)
    return AgentResult(final_text=text, usage=usage)


def test_every_case_is_recorded_and_nothing_else() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == exec_cases().keys()


@pytest.mark.parametrize("name", sorted(exec_cases()))
def test_every_line_is_passed_on_as_it_came_and_before_what_it_means(name: str) -> None:
    dialogue = CodexExecDialogue(task())
    for line in lines_of(name):
        first, *meaning = dialogue.feed(line)
        assert first == RawEvent(raw=json.loads(line))
        assert not [event for event in meaning if event.raw is not None]


def test_words_and_thoughts_come_whole_and_the_session_by_name() -> None:
    dialogue = CodexExecDialogue(task())
    events = [event for line in lines_of("text") for event in dialogue.feed(line)]
    assert [event for event in events if not isinstance(event, RawEvent)] == [
        SessionStarted(session_id=THREAD),
        ReasoningDelta(text="Let me think."),
        TextDelta(text="Hello, world 你好."),
        finished("Hello, world 你好."),
    ]


def test_two_messages_are_two_paragraphs_with_their_tool_between_them() -> None:
    assert replay("two_messages") == [
        TextDelta(text="I look."),
        ToolStarted(call_id="item_1", name="shell", input={"command": "true", "cwd": None}),
        ToolFinished(call_id="item_1", output=""),
        TextDelta(text="\n\nDone."),
        finished("Done.", 2),
    ]


def test_a_failed_command_shows_its_exit_code() -> None:
    [tool] = [event for event in replay("shell_tool") if isinstance(event, ToolFinished)]
    assert (tool.output, tool.is_error) == ("Exit code 3\nsaid\n", True)


def test_a_command_that_outlives_the_turn_is_closed_at_its_end() -> None:
    *_, closed, result = replay("shell_left_running")
    assert isinstance(closed, ToolFinished)
    assert closed.is_error
    assert result == finished("It runs.", 2)


def test_patches_tell_which_files_changed() -> None:
    changes = [event for event in replay("patches") if isinstance(event, FileChanged)]
    assert [(Path(change.path).name, change.change) for change in changes] == [
        ("a.txt", "written"),
        ("b.txt", "written"),
        ("a.txt", "edited"),
        ("a.txt", "edited"),
        ("b.txt", "deleted"),
    ]


def test_usage_that_counts_from_the_first_turn_on_is_not_that_of_a_follow_up() -> None:
    assert replay("follow_up", session_id=THREAD)[-1] == AgentResult(final_text="Second.")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("error_400", "model_refused", "The model does not like this."),
        ("error_401", "model_key_refused", "401"),
        ("error_404_model", "model_unknown", "No such model."),
        ("error_429", "model_rate_limited", "429"),
        ("error_500", "model_failing", "500"),
        ("empty_body", "model_broke_off", "stream closed before response.completed"),
        ("malformed_body", "model_broke_off", "stream closed before response.completed"),
    ],
)
def test_a_failure_has_a_code_and_words(name: str, code: str, words: str) -> None:
    result = replay(name)[-1]
    assert isinstance(result, AgentResult)
    assert result.error is not None
    assert result.error.code == code
    assert words in result.error.detail
    assert KEY not in result.error.sentence


def test_a_retry_is_a_notice_with_its_status_and_the_last_error_is_none() -> None:
    notices = [event.text for event in replay("error_401") if isinstance(event, Notice)]
    assert notices == [
        "The model service answered 401; trying again (1 of 2).",
        "The model service answered 401; trying again (2 of 2).",
    ]
    [notice] = [event.text for event in replay("retry_429_then_text") if isinstance(event, Notice)]
    assert "429" in notice


def test_an_unknown_line_is_passed_on_and_means_nothing() -> None:
    assert heard({"type": "new", "x": 1}) == [RawEvent(raw={"type": "new", "x": 1})]
    assert list(CodexExecDialogue(task()).feed(b"WARNING: hello")) == []
    assert list(CodexExecDialogue(task()).feed(b"[1]")) == []


def test_a_huge_line_is_passed_on_cut_and_stays_an_event() -> None:
    item = {
        "id": "i",
        "type": "command_execution",
        "command": "x",
        "aggregated_output": "a" * 10**6,
    }
    raw = heard({"type": "item.completed", "item": item})[0].raw
    assert raw is not None
    assert len(json.dumps(raw)) <= MAX_RAW_BYTES
    assert raw["item"]["id"] == "i"
    assert raw["item"]["aggregated_output"].startswith("aaa")
    many = {"type": "item.completed", "item": {"changes": [{"path": "p" * 99}] * 10_000}}
    assert heard(many)[0].raw == {"type": "item.completed", "truncated": True}


def test_the_prompt_goes_in_once_behind_the_system_prompt_of_a_new_session() -> None:
    dialogue = CodexExecDialogue(task(system_prompt="Be kind."))
    assert (dialogue.outgoing(), dialogue.outgoing()) == (b"Be kind.\n\nHello", b"")
    later = CodexExecDialogue(task(system_prompt="Be kind.", session_id=THREAD))
    assert later.outgoing() == b"Hello"


def test_a_lost_session_is_told_so_that_a_new_one_can_be_begun() -> None:
    words = f"Error: thread/resume: no rollout found for thread id {THREAD}"
    error = CodexExecDialogue(task(session_id=THREAD)).without_result(1, words).error
    assert error is not None
    assert error.code == "session_not_found"
    error = CodexExecDialogue(task()).without_result(2, "bad flag").error
    assert error is not None
    assert (error.code, "bad flag" in error.detail) == ("agent_ended_early", True)


def test_the_command_follows_permission_model_and_session_and_ends_with_the_prompts_place() -> None:
    argv = exec_arguments(task(session_id=THREAD, permission=Permission.WORKSPACE_WRITE))
    assert argv[:4] == ["exec", "--json", "--skip-git-repo-check", "--sandbox=workspace-write"]
    assert argv[-5:] == ["--cd=/home/me/ws", "--model=gpt-5.5", "resume", THREAD, "-"]
    assert "--sandbox=read-only" in exec_arguments(task(permission=Permission.READ_ONLY))
    unattended = exec_arguments(task())
    assert "--dangerously-bypass-approvals-and-sandbox" in unattended
    assert unattended[-1] == "-"
    assert "resume" not in unattended


def test_a_key_of_the_users_is_named_by_its_variable_only() -> None:
    own = {"name": "Codex", "base_url": "http://127.0.0.1:1/v1", "env_key": "OPENAI_API_KEY"}
    argv = exec_arguments(task(private_home=None), own)
    assert 'model_provider="openai_key"' in argv
    assert 'model_providers.openai_key.env_key="OPENAI_API_KEY"' in argv
