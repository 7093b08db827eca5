"""Codex without Codex: recorded lines in, our events out; its configuration; where it is found."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.agent import FOR_MODEL, FOR_TOOL, Assignment
from executor_core.agents.codex import (
    MAX_PROMPT,
    Codex,
    arguments,
    native_program,
    provider,
    variables,
    write_private_config,
)
from executor_core.agents.codex_dialogue import CodexDialogue
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    FileChanged,
    Image,
    ModelConfig,
    Notice,
    Permission,
    ReasoningDelta,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
    UsageReported,
)
from tests.support.record_codex import FOLDER, KEY, LOST_SESSION, agent_host, assignment, cases

THREAD = "00000000-0000-4000-8000-000000000001"
TURN = "00000000-0000-4000-8000-000000000002"
WS = "/home/me/ws"


def task(**more: Any) -> Assignment:
    """An assignment as in the recordings: the task brings its own access."""
    fields: dict[str, Any] = {
        "run_id": "run_1",
        "prompt": "Hello",
        "folder": Path(WS),
        "scratch": Path("/home/me/scratch"),
        "private_home": Path("/home/me/private"),
        "model": ModelConfig(model="gpt-5.5", api_key=KEY, base_url="http://127.0.0.1:1/v1"),
    }
    return Assignment(**(fields | more))


def own(**more: Any) -> Assignment:
    """The same with the user's own access."""
    return task(private_home=None, model=ModelConfig(), **more)


def heard(dialogue: CodexDialogue, *messages: dict[str, Any]) -> list[AgentEvent]:
    return [event for m in messages for event in dialogue.feed(json.dumps(m).encode())]


def said(dialogue: CodexDialogue) -> dict[str, dict[str, Any]]:
    """What the dialogue wants to write now, by the name of the request."""
    lines = [json.loads(line) for line in dialogue.outgoing().splitlines()]
    return {str(line.get("id", line.get("method"))): line for line in lines}


def in_turn(dialogue: CodexDialogue) -> CodexDialogue:
    """The dialogue, once its turn has begun."""
    heard(dialogue, {"id": "thread", "result": {"thread": {"id": THREAD}, "model": "gpt-5.5"}})
    heard(dialogue, {"id": "turn", "result": {"turn": {"id": TURN}}})
    dialogue.outgoing()
    return dialogue


def note(method: str, thread: str = THREAD, **params: Any) -> dict[str, Any]:
    return {"method": method, "params": {"threadId": thread, "turnId": TURN} | params}


def replay(name: str, assignment: Assignment | None = None) -> list[AgentEvent]:
    """The events in a recording, without those that all of them begin with or count."""
    dialogue = CodexDialogue(assignment or task())
    lines = (FOLDER / f"{name}.jsonl").read_bytes().splitlines()
    events = [event for line in lines for event in dialogue.feed(line)]
    assert isinstance(events[-1], AgentResult)
    return [e for e in events if not isinstance(e, SessionStarted | UsageReported)]


def result_of(events: list[AgentEvent]) -> AgentResult:
    assert isinstance(events[-1], AgentResult)
    return events[-1]


def finished(text: str, requests: int = 1) -> AgentResult:
    usage = Usage(input_tokens=100 * requests, output_tokens=20 * requests)
    return AgentResult(final_text=text, usage=usage)


# --- recordings --------------------------------------------------------------------------------


def test_every_case_is_recorded_and_nothing_else() -> None:
    assert {file.stem for file in FOLDER.glob("*.jsonl")} == set(cases())


def test_recordings_hold_nothing_of_the_machine_they_were_made_on() -> None:
    for file in FOLDER.glob("*.jsonl"):
        assert not re.search(r"/root|/tmp|/Users/|Debian", file.read_text(encoding="utf-8"))


def test_text_and_reasoning_come_delta_by_delta() -> None:
    assert replay("text") == [
        ReasoningDelta(text="Let me think."),
        TextDelta(text="Hello"),
        TextDelta(text=", "),
        TextDelta(text="world 你好."),
        finished("Hello, world 你好."),
    ]


def test_the_session_is_the_thread_and_names_the_model() -> None:
    dialogue = CodexDialogue(task())
    lines = (FOLDER / "text.jsonl").read_bytes().splitlines()
    events = [event for line in lines for event in dialogue.feed(line)]
    assert events[0] == SessionStarted(session_id=THREAD, model="gpt-5.5")


def test_two_messages_of_one_answer_are_two_paragraphs() -> None:
    events = replay("two_messages")
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["I look.", "\n\nDone."]
    assert result_of(events) == finished("Done.", 2)


def test_a_command_shows_what_the_model_wrote_its_output_and_its_exit_code() -> None:
    command = "echo hi > a.txt; echo said; exit 3"
    assert replay("shell_tool") == [
        ToolStarted(
            call_id="call_item_0001_0", name="shell", input={"command": command, "cwd": WS}
        ),
        ToolFinished(call_id="call_item_0001_0", output="Exit code 3\nsaid\n", is_error=True),
        TextDelta(text="It failed."),
        finished("It failed.", 2),
    ]


def test_a_command_that_outlives_the_turn_is_closed_at_its_end() -> None:
    events = replay("shell_left_running")
    assert [type(event) for event in events] == [ToolStarted, TextDelta, ToolFinished, AgentResult]
    closed = events[2]
    assert isinstance(closed, ToolFinished)
    assert (closed.call_id, closed.is_error) == ("call_item_0001_0", True)
    assert "still running" in closed.output


def test_patches_tell_which_files_were_written_edited_moved_and_deleted() -> None:
    changes = [(e.change, e.path) for e in replay("patches") if isinstance(e, FileChanged)]
    assert changes == [
        ("written", f"{WS}/a.txt"),
        ("written", f"{WS}/b.txt"),
        ("edited", f"{WS}/a.txt"),
        ("deleted", f"{WS}/a.txt"),
        ("written", f"{WS}/c.txt"),
        ("deleted", f"{WS}/b.txt"),
    ]


def test_a_patch_shows_its_difference() -> None:
    tools = [event for event in replay("patches") if isinstance(event, ToolStarted)]
    assert (tools[1].name, tools[1].input["changes"]) == (
        "apply_patch",
        [{"path": f"{WS}/a.txt", "kind": "update", "diff": "@@ -1 +1 @@\n-hello\n+bye\n"}],
    )


def test_usage_of_a_follow_up_is_that_of_its_own_turn() -> None:
    assert result_of(replay("follow_up", task(session_id=THREAD))) == finished("Second.")


@pytest.mark.parametrize(
    ("name", "code", "part"),
    [
        ("error_400", "model_refused", "400: The model does not like this."),
        ("error_401", "model_key_refused", "401: Incorrect API key provided: …"),
        ("error_403", "model_access_denied", "403: Not for you."),
        ("error_404_model", "model_unknown", "No such model."),
        ("error_429", "model_rate_limited", "429"),
        ("error_quota", "model_usage_limit", "Quota exceeded."),
        ("error_500", "model_failing", "500"),
        ("error_503", "model_overloaded", "503: later"),
        ("error_context", "model_context_full", "context window"),
        ("error_capacity", "model_overloaded", "at capacity"),
        ("error_limit", "model_usage_limit", "usage limit"),
        ("error_policy", "model_policy", "Not that."),
        ("error_spoilt", "session_unusable", "could not process image"),
        ("empty_body", "model_broke_off", "stream closed before response.completed"),
        ("malformed_body", "model_broke_off", "stream closed before response.completed"),
        ("output_limit", "agent_stopped_early", "max_output_tokens"),
    ],
)
def test_a_failure_has_a_code_and_the_words_of_the_service(name: str, code: str, part: str) -> None:
    error = result_of(replay(name)).error
    assert error is not None
    assert (error.code, part in error.detail) == (code, True), error


def test_a_key_that_the_service_repeats_is_not_shown() -> None:
    assert KEY.encode() in (FOLDER / "error_401.jsonl").read_bytes()
    assert KEY not in repr(replay("error_401"))


def test_a_retry_is_told_with_its_status_and_number() -> None:
    [notice] = [e for e in replay("retry_429_then_text") if isinstance(e, Notice)]
    assert notice.code == "model_retry"
    assert notice.text == "The model service answered 429; trying again (1 of 2)."


def test_a_broken_answer_is_a_notice_if_the_next_attempt_succeeds() -> None:
    events = replay("cut_connection")
    assert [type(event) for event in events] == [TextDelta, Notice, TextDelta, AgentResult]
    assert result_of(events).error is None


def test_a_half_that_was_abandoned_is_said_to_be_and_does_not_stand_in_the_answer() -> None:
    events = replay("half_answer")
    assert [type(event) for event in events] == [TextDelta, Notice, Notice, TextDelta, AgentResult]
    abandoned = events[2]
    assert isinstance(abandoned, Notice)
    assert abandoned.code == "text_abandoned"
    result = result_of(events)
    assert result.answer("Half of \n\nWhole.") == "Whole."


def test_of_a_turn_that_fails_in_the_middle_every_message_stays_once() -> None:
    """Whole messages of a broken answer are told to the model again; the last half may be all."""
    result = result_of(replay("half_answers"))
    assert result.error is not None
    assert result.error.code == "model_broke_off"
    assert result.answer("") == "First.\n\nFirst.\n\nFirst.\n\nHalf of "


def test_a_message_that_reads_otherwise_in_the_end_stands_so_in_the_answer() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    item = {"type": "agentMessage", "id": "a", "text": "It is gone."}
    turn = {"id": TURN, "status": "completed"}
    *_, result = heard(
        dialogue,
        note("item/agentMessage/delta", itemId="a", delta="It is h"),
        note("item/completed", item=item),
        note("turn/completed", turn=turn),
    )
    assert isinstance(result, AgentResult)
    assert result.answer("It is h") == "It is gone."


def limits(**windows: tuple[int, int]) -> dict[str, Any]:
    told = {name: {"usedPercent": used, "resetsAt": at} for name, (used, at) in windows.items()}
    return {"method": "account/rateLimits/updated", "params": {"rateLimits": told}}


@pytest.mark.parametrize(
    ("told", "resets_at"),
    [
        ([limits(primary=(100, 1000), secondary=(20, 9000))], 1000),
        ([limits(primary=(100, 1000), secondary=(100, 9000))], 9000),
        ([limits(secondary=(100, 9000)), limits(primary=(100, 1000))], 9000),
        ([limits(primary=(100, 1000)), limits(primary=(3, 5000))], None),
        ([limits(primary=(100, 2**60))], None),
        ([], None),
    ],
)
def test_a_usage_limit_says_when_it_is_reset(
    told: list[dict[str, Any]], resets_at: int | None
) -> None:
    dialogue = in_turn(CodexDialogue(task()))
    assert heard(dialogue, *told) == []
    error = {"message": "Used up.", "codexErrorInfo": "usageLimitExceeded"}
    turn = {"id": TURN, "status": "failed", "error": error}
    [result] = heard(dialogue, note("turn/completed", turn=turn))
    assert isinstance(result, AgentResult)
    assert result.error is not None
    when = datetime.fromtimestamp(resets_at, UTC) if resets_at else None
    assert (result.error.code, result.error.retry_at) == ("model_usage_limit", when)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("sessionBudgetExceeded", "model_usage_limit"),
        ("flexUnavailable", "model_overloaded"),
        ("policyCapacityUnavailable", "model_overloaded"),
        ("bioPolicy", "model_policy"),
        ("misalignmentPolicyViolation", "model_policy"),
        ("inferenceHookDenied", "agent_forbidden"),
        ("tooManyDenials", "agent_forbidden"),
        ("sandboxError", "agent_not_set_up"),
        ({"responseTooManyFailedAttempts": {"httpStatusCode": 402}}, "model_credit_used_up"),
        ({"brandNew": {}}, "agent_failed"),
        ("brandNew", "agent_failed"),
        (None, "agent_failed"),
    ],
)
def test_every_kind_that_codex_names_has_words(kind: object, code: str) -> None:
    dialogue = in_turn(CodexDialogue(task()))
    error = {"message": "No.", "codexErrorInfo": kind}
    turn = {"id": TURN, "status": "failed", "error": error}
    [result] = heard(dialogue, note("turn/completed", turn=turn))
    assert isinstance(result, AgentResult)
    assert result.error is not None
    assert result.error.code == code
    assert "{" not in result.error.sentence
    assert "No." in result.error.detail


def startup(name: str, status: str, **more: str) -> dict[str, Any]:
    """Codex tells this even before it has answered with the id of the thread."""
    params = {"threadId": THREAD, "name": name, "status": status, "error": None}
    return {"method": "mcpServer/startupStatus/updated", "params": params | more}


def test_a_tool_server_that_does_not_start_is_told_once_with_its_reason() -> None:
    servers: dict[str, Any] = {"天气": {"command": "/no/such"}}
    dialogue = CodexDialogue(task(mcp_servers=servers))
    failed = startup("server", "failed", error="No such file or directory")
    [notice] = heard(dialogue, startup("server", "starting"), failed, failed | {"threadId": "sub"})
    assert isinstance(notice, Notice)
    assert notice.code == "mcp_dead"
    assert "天气" in notice.text
    assert "No such file or directory" in notice.text


def test_a_tool_server_that_is_never_ready_is_told_at_the_end() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    starts = [startup("slow", "starting"), startup("quick", "starting"), startup("quick", "ready")]
    assert heard(dialogue, *starts) == []
    turn = {"id": TURN, "status": "completed"}
    notice, _ = heard(dialogue, note("turn/completed", turn=turn))
    assert isinstance(notice, Notice)
    assert "“slow”" in notice.text


def test_a_command_is_waited_for_until_the_model_goes_on_without_it() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    assert dialogue.waits() is FOR_MODEL
    item = {"type": "commandExecution", "id": "c", "command": "sleep 9999"}
    heard(dialogue, note("item/started", item=item))
    assert dialogue.waits() is FOR_TOOL
    heard(dialogue, note("item/agentMessage/delta", itemId="a", delta="It runs."))
    assert dialogue.waits() is FOR_MODEL


def test_a_session_that_is_gone_is_said_so() -> None:
    error = result_of(replay("lost_session", task(session_id=LOST_SESSION))).error
    assert error is not None
    assert (error.code, LOST_SESSION in error.detail) == ("session_not_found", True)


@pytest.mark.parametrize("words", ["invalid session id: invalid character", "rollout is broken"])
def test_a_session_that_cannot_be_taken_up_is_gone_whatever_is_wrong_with_it(words: str) -> None:
    dialogue = CodexDialogue(task(session_id="ses_1"))
    [result] = heard(dialogue, {"id": "thread", "error": {"code": -32600, "message": words}})
    assert isinstance(result, AgentResult)
    assert result.error is not None
    assert result.error.code == "session_not_found"


# --- what we say -------------------------------------------------------------------------------


def test_a_task_with_its_own_access_opens_a_thread_without_asking_for_a_login() -> None:
    lines = said(CodexDialogue(task(system_prompt="Be brief.")))
    assert list(lines) == ["initialize", "initialized", "thread"]
    assert lines["thread"]["method"] == "thread/start"
    assert lines["thread"]["params"] == {
        "modelProvider": "runner",
        "model": "gpt-5.5",
        "cwd": WS,
        "approvalPolicy": "never",
        "sandbox": "danger-full-access",
        "developerInstructions": "Be brief.",
    }


@pytest.mark.parametrize(
    ("permission", "sandbox"),
    [
        (Permission.WORKSPACE_WRITE, "workspace-write"),
        (Permission.READ_ONLY, "read-only"),
    ],
)
def test_where_the_agent_may_not_do_everything_it_is_told_so(
    permission: Permission, sandbox: str
) -> None:
    lines = said(CodexDialogue(task(permission=permission)))
    assert lines["thread"]["params"]["sandbox"] == sandbox


def test_a_conversation_is_resumed_without_being_told_again() -> None:
    thread = said(CodexDialogue(task(session_id=THREAD)))["thread"]
    assert thread["method"] == "thread/resume"
    assert thread["params"]["threadId"] == THREAD
    assert thread["params"]["excludeTurns"] is True


def test_the_prompt_and_its_images_start_the_turn() -> None:
    image = Image(media_type="image/png", data="aGk=")
    dialogue = CodexDialogue(task(prompt="-v /x", images=(image,)))
    dialogue.outgoing()
    heard(dialogue, {"id": "thread", "result": {"thread": {"id": THREAD}}})
    turn = said(dialogue)["turn"]
    assert turn["method"] == "turn/start"
    assert turn["params"] == {
        "threadId": THREAD,
        "input": [
            {"type": "text", "text": "-v /x"},
            {"type": "image", "url": "data:image/png;base64,aGk="},
        ],
    }


NOBODY_SIGNED_IN = {"account": None, "requiresOpenaiAuth": True}


@pytest.mark.parametrize(
    "login",
    [
        {"account": {"type": "chatgpt"}, "requiresOpenaiAuth": True},
        {"account": None, "requiresOpenaiAuth": False},
    ],
    ids=["signed in", "a provider of the user's own"],
)
def test_access_of_the_users_own_is_left_as_it_is(login: dict[str, Any]) -> None:
    dialogue = CodexDialogue(own(), provider={"name": "not needed"})
    assert list(said(dialogue)) == ["initialize", "initialized", "login"]
    assert heard(dialogue, {"id": "login", "result": login}) == []
    assert "modelProvider" not in said(dialogue)["thread"]["params"]


def test_without_a_login_the_key_of_the_environment_is_used() -> None:
    env = {"OPENAI_API_KEY": "sk-env", "OPENAI_BASE_URL": "http://gateway"}
    dialogue = CodexDialogue(own(), provider=provider(own(), env))
    dialogue.outgoing()
    assert heard(dialogue, {"id": "login", "result": NOBODY_SIGNED_IN}) == []
    params = said(dialogue)["thread"]["params"]
    chosen = params["config"]["model_providers"][params["modelProvider"]]
    assert chosen == {
        "name": "Codex",
        "base_url": "http://gateway/v1",
        "env_key": "OPENAI_API_KEY",
        "wire_api": "responses",
    }


def test_with_neither_login_nor_key_no_model_is_asked() -> None:
    dialogue = CodexDialogue(own(), provider=provider(own(), {}))
    dialogue.outgoing()
    [result] = heard(dialogue, {"id": "login", "result": NOBODY_SIGNED_IN})
    assert isinstance(result, AgentResult)
    assert result.error is not None
    assert result.error.code == "codex_not_signed_in"
    assert dialogue.outgoing() == b""


def test_a_question_of_the_agent_is_refused_at_once() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    question = {"id": 7, "method": "item/commandExecution/requestApproval", "params": {}}
    assert heard(dialogue, question) == []
    answer = said(dialogue)["7"]
    assert "result" not in answer
    assert answer["error"]["code"] == -32601


def test_what_nobody_permitted_is_said_at_the_end() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    question = {"method": "item/commandExecution/requestApproval", "params": {"command": "rm -r"}}
    patched = {"type": "fileChange", "id": "f", "status": "declined"}
    heard(
        dialogue,
        question | {"id": 7},
        question | {"id": 8},
        note("item/completed", item=patched),
    )
    turn = {"id": TURN, "status": "completed"}
    *notices, _ = heard(dialogue, note("turn/completed", turn=turn))
    told = [(n.code, n.text.split(": ")[-1]) for n in notices if isinstance(n, Notice)]
    assert told == [("tool_denied", "rm -r"), ("tool_denied", "apply_patch")]


def test_an_interrupt_names_the_turn() -> None:
    line = json.loads(in_turn(CodexDialogue(task())).interrupt())
    assert line["method"] == "turn/interrupt"
    assert line["params"] == {"threadId": THREAD, "turnId": TURN}


def test_before_the_turn_the_end_of_input_is_the_interrupt() -> None:
    assert CodexDialogue(task()).interrupt() == b""


# --- what we hear ------------------------------------------------------------------------------


def test_text_that_was_not_streamed_is_said_when_its_message_is_complete() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    item = {"type": "agentMessage", "id": "a", "text": "One two"}
    events = heard(
        dialogue,
        note("item/agentMessage/delta", itemId="a", delta="One"),
        note("item/completed", item=item),
        note("item/completed", item=item | {"id": "b", "text": "Three"}),
    )
    assert events == [TextDelta(text="One"), TextDelta(text=" two"), TextDelta(text="\n\nThree")]


def test_a_sub_agents_words_usage_and_end_are_not_the_runs() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    turn = {"id": "other", "status": "completed"}
    total = {"inputTokens": 5, "outputTokens": 5}
    events = heard(
        dialogue,
        note("item/agentMessage/delta", "other", itemId="a", delta="inner"),
        note("item/completed", "other", item={"type": "agentMessage", "id": "a", "text": "inner"}),
        note("thread/tokenUsage/updated", "other", tokenUsage={"total": total}),
        note("turn/completed", "other", turn=turn),
    )
    assert events == []


def test_an_mcp_tool_is_named_as_everywhere_and_gives_its_text() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    item = {"type": "mcpToolCall", "id": "m", "server": "s", "tool": "ping", "arguments": {"x": 1}}
    result = {"content": [{"type": "text", "text": "pong"}]}
    events = heard(
        dialogue,
        note("item/started", item=item | {"status": "inProgress"}),
        note("item/completed", item=item | {"status": "completed", "result": result}),
    )
    assert events == [
        ToolStarted(call_id="m", name="mcp__s__ping", input={"x": 1}),
        ToolFinished(call_id="m", output="pong"),
    ]


def test_a_failed_mcp_tool_gives_its_error() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    item = {"type": "mcpToolCall", "id": "m", "server": "s", "tool": "ping", "status": "failed"}
    error = {"message": "no such server"}
    events = heard(dialogue, note("item/completed", item=item | {"error": error}))
    assert events[-1] == ToolFinished(call_id="m", output="no such server", is_error=True)


def test_a_refused_patch_changed_no_file() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    change = {"path": "/x", "kind": {"type": "add"}, "diff": "x"}
    item = {"type": "fileChange", "id": "f", "changes": [change], "status": "declined"}
    events = heard(dialogue, note("item/completed", item=item))
    assert [type(event) for event in events] == [ToolStarted, ToolFinished]


def test_a_long_output_is_cut() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    item = {"type": "commandExecution", "id": "c", "aggregatedOutput": "x" * 2_000_000}
    finished = heard(dialogue, note("item/completed", item=item))[-1]
    assert isinstance(finished, ToolFinished)
    assert len(finished.output) < 70_000


def test_thoughts_are_paragraphs() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    method = "item/reasoning/summaryTextDelta"
    events = heard(
        dialogue,
        note(method, itemId="r", summaryIndex=0, delta="a"),
        note(method, itemId="r", summaryIndex=0, delta="b"),
        note(method, itemId="r", summaryIndex=1, delta="c"),
    )
    assert [e.text for e in events if isinstance(e, ReasoningDelta)] == ["a", "b", "\n\nc"]


def test_a_service_out_of_reach_is_told_while_trying_and_in_the_end() -> None:
    dialogue = in_turn(CodexDialogue(task()))
    words = "Connection failed: error sending request"
    lost = {"responseStreamDisconnected": {"httpStatusCode": None}}
    retry = {"message": "Reconnecting... 1/2", "codexErrorInfo": lost, "additionalDetails": words}
    end = {"message": words, "codexErrorInfo": {"httpConnectionFailed": {"httpStatusCode": None}}}
    notice, result = heard(
        dialogue,
        note("error", error=retry, willRetry=True),
        note("error", error=end, willRetry=False),
        note("turn/completed", turn={"id": TURN, "status": "failed", "error": end}),
    )
    assert isinstance(notice, Notice)
    assert notice.text == "The model service cannot be reached; trying again (1 of 2)."
    assert isinstance(result, AgentResult)
    assert result.error is not None
    assert (result.error.code, words in result.error.detail) == ("model_unreachable", True)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"WARNING: not JSON",
        b"[]",
        b"7",
        b"null",
        b'{"id":null}',
        b'{"method":5,"params":[]}',
        b'{"method":"item/started","params":{"item":[]}}',
        b'{"method":"item/completed","params":{"item":{"type":"commandExecution"}}}',
        b'{"method":"item/completed","params":{"item":{"type":"fileChange","changes":[1,{}]}}}',
        b'{"method":"thread/tokenUsage/updated","params":{"threadId":"%b"}}' % THREAD.encode(),
        b'{"method":"error","params":{"threadId":"%b","willRetry":1}}' % THREAD.encode(),
        b'{"id":"thread","result":7}',
        b"\xff\xfe",
    ],
)
def test_a_strange_line_ends_nothing(line: bytes) -> None:
    dialogue = in_turn(CodexDialogue(task()))
    assert not any(isinstance(event, AgentResult) for event in dialogue.feed(line))


def test_a_process_that_just_ends_gives_its_last_words_without_the_key() -> None:
    result = CodexDialogue(task()).without_result(1, f"Error loading config.toml: {KEY}")
    assert result.error is not None
    assert result.error.code == "agent_ended_early"
    assert "Error loading config.toml: …" in result.error.detail


# --- its surroundings --------------------------------------------------------------------------


def test_the_private_configuration_is_complete_and_holds_no_secret(tmp_path: Path) -> None:
    model = ModelConfig(
        model="m", api_key=KEY, base_url="http://gw:1/api/v1/", headers={'X-"Org': "secret-org"}
    )
    write_private_config(tmp_path, model)
    file = tmp_path / "config.toml"
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]
    written = file.read_text(encoding="utf-8")
    assert KEY not in written
    assert "secret-org" not in written
    config = tomllib.loads(written)
    assert config["model_provider"] == "runner"
    assert config["features"] == {
        "plugins": False,
        "apps": False,
        "unbounded_connection_retries": False,
    }
    runner = config["model_providers"]["runner"]
    assert runner["base_url"] == "http://gw:1/api/v1"
    env = variables(task(private_home=tmp_path, model=model))
    assert env[runner["env_key"]] == KEY
    assert env[runner["env_http_headers"]['X-"Org']] == "secret-org"
    assert env["CODEX_HOME"] == str(tmp_path)
    hidden = config["shell_environment_policy"]["exclude"]
    assert {name for name, value in env.items() if value in (KEY, "secret-org")} == set(hidden)


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_the_private_configuration_is_the_owners_alone_and_no_link_is_followed(
    tmp_path: Path,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    home = tmp_path / "home"
    home.mkdir()
    for name in ("config.toml", "config.toml.new"):
        (home / name).symlink_to(elsewhere)
    write_private_config(home, task().model)
    assert elsewhere.read_text() == "mine"
    assert stat.S_IMODE((home / "config.toml").lstat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("model", "base_url", "has_key"),
    [
        (ModelConfig(api_key="k"), "https://api.openai.com/v1", True),
        (ModelConfig(base_url="http://gw:1"), "http://gw:1/v1", False),
        (ModelConfig(base_url="http://gw:1/x", api_key="k"), "http://gw:1/x", True),
        (
            ModelConfig(env={"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://e/v1"}),
            "http://e/v1",
            True,
        ),
    ],
)
def test_where_the_model_of_a_task_is(
    model: ModelConfig, base_url: str, has_key: bool, tmp_path: Path
) -> None:
    assert model.brings_access
    write_private_config(tmp_path, model)
    runner = tomllib.loads((tmp_path / "config.toml").read_text())["model_providers"]["runner"]
    assert (runner["base_url"], "env_key" in runner) == (base_url, has_key)


def test_the_command_line_holds_neither_prompt_nor_key() -> None:
    trusted = task(prompt="Hello", system_prompt="Be brief.", is_trusted=True)
    assert arguments(trusted) == ["app-server"]
    assert arguments(own())[:2] == ["app-server", "-c"]


def test_a_folder_that_is_not_trusted_is_named_to_codex_as_such() -> None:
    odd = Path('/home/me/a "b".c\\d')
    setting = arguments(task(folder=odd))[2]
    assert tomllib.loads(setting) == {"projects": {str(odd): {"trust_level": "untrusted"}}}


def test_the_users_own_plugins_stay_on() -> None:
    assert not [setting for setting in arguments(own()) if re.search("plugins|apps", setting)]


async def test_a_prompt_beyond_codexs_limit_is_refused_in_words(tmp_path: Path) -> None:
    put_codex(tmp_path, "exit 1")
    codex = Codex(agent_host(tmp_path, tmp_path / "bin" / "codex"))
    long = assignment(tmp_path, "http://127.0.0.1:1", "x" * (MAX_PROMPT + 1))
    with pytest.raises(ExecutorError) as refused:
        await run(codex, long)
    assert refused.value.code == "prompt_too_long"
    assert str(MAX_PROMPT) in refused.value.message.detail


async def run(codex: Codex, assignment: Assignment) -> AgentResult:
    return await codex.run(assignment, lambda _: None, asyncio.Event())


# --- where it is found -------------------------------------------------------------------------


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


BINARY = "codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"


@pytest.mark.skipif(sys.platform == "win32", reason="npm makes links elsewhere only")
@pytest.mark.parametrize("where", ["", "codex/node_modules/@openai/"], ids=["beside", "inside"])
def test_the_binary_is_preferred_over_the_node_launcher(tmp_path: Path, where: str) -> None:
    scope = tmp_path / "node_modules" / "@openai"
    launcher = tmp_path / "node_modules" / ".bin" / "codex"
    launcher.parent.mkdir(parents=True)
    launcher.symlink_to(put(scope / "codex" / "bin" / "codex.js"))
    assert native_program(launcher) == launcher
    binary = put(scope / where / BINARY)
    put(binary.with_name("codex-code-mode-host"))
    assert native_program(launcher) == binary
    put(scope / where / BINARY.replace("x64", "arm64"))
    assert native_program(launcher) == launcher


@pytest.mark.parametrize(
    ("shim", "package"),
    [
        ("codex.cmd", "node_modules/@openai/codex"),
        ("node_modules/.bin/codex.cmd", "node_modules/@openai/codex"),
    ],
    ids=["global", "local"],
)
def test_the_binary_behind_a_batch_file_is_found(tmp_path: Path, shim: str, package: str) -> None:
    name = "codex-win32-x64/vendor/x86_64-pc-windows-msvc/bin/codex.exe"
    binary = put((tmp_path / package).parent / name)
    assert native_program(put(tmp_path / shim)) == binary


def test_a_binary_of_its_own_is_used_as_it_is(tmp_path: Path) -> None:
    program = put(tmp_path / "codex")
    assert native_program(program) == program


def put_codex(folder: Path, login: str, version: str = "codex-cli 0.169.0") -> Path:
    """A program that answers as Codex does; `login` is what `codex login status` runs."""
    program = folder / "bin" / "codex"
    program.parent.mkdir()
    script = f'#!/bin/sh\ncase "$1" in --version) echo {version};; login) {login};; esac\n'
    program.write_text(script)
    program.chmod(0o755)
    return program


posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")


@posix
async def test_a_signed_in_codex_is_usable(tmp_path: Path) -> None:
    program = put_codex(tmp_path, "exit 0")
    found = await Codex(agent_host(tmp_path, program)).availability()
    assert (found.is_usable, found.version, found.path) == (True, "0.169.0", str(program))


@posix
async def test_without_login_or_key_it_says_what_to_do(tmp_path: Path) -> None:
    found = await Codex(agent_host(tmp_path, put_codex(tmp_path, "exit 1"))).availability()
    assert not found.is_usable
    assert found.problem is not None
    assert found.problem.code == "codex_not_signed_in"
    assert "codex login" in found.problem.hint


@posix
async def test_a_key_in_the_environment_counts_as_a_login(tmp_path: Path) -> None:
    host = agent_host(tmp_path, put_codex(tmp_path, "exit 1"), OPENAI_API_KEY="k")
    found = await Codex(host).availability()
    assert (found.is_usable, found.login, found.problem) == (True, "OPENAI_API_KEY", None)


@posix
async def test_a_model_provider_of_the_users_own_counts_as_a_login(tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text('model_provider = "mine"\n')
    host = agent_host(tmp_path, put_codex(tmp_path, "exit 1"), OPENAI_API_KEY="k")
    found = await Codex(host).availability()
    assert (found.is_usable, found.login) == (True, "mine")


@posix
async def test_an_older_codex_is_too_old(tmp_path: Path) -> None:
    program = put_codex(tmp_path, "exit 0", "codex-cli 0.168.2")
    found = await Codex(agent_host(tmp_path, program)).availability()
    assert found.problem is not None
    assert (found.is_usable, found.problem.code) == (False, "agent_too_old")


async def test_a_missing_codex_is_said_so(tmp_path: Path) -> None:
    codex = Codex(agent_host(tmp_path))
    found = await codex.availability()
    assert found.problem is not None
    assert (found.is_usable, found.problem.code) == (False, "codex_missing")
    with pytest.raises(ExecutorError, match="codex_missing"):
        await run(codex, own())


@pytest.mark.parametrize("protocol", ["anthropic", "gemini"])
async def test_a_model_that_speaks_something_else_is_refused_before_anything_starts(
    protocol: str, tmp_path: Path
) -> None:
    program = tmp_path / "codex"
    program.touch(mode=0o755)
    model = ModelConfig(model="m", api_key=KEY, protocol=protocol)
    wanted = assignment(tmp_path, "", model=model)
    codex = Codex(agent_host(tmp_path, program))
    with pytest.raises(ExecutorError, match="model_unfit"):
        await codex.run(wanted, lambda _: None, asyncio.Event())
