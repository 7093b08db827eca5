"""The Agent Client Protocol without a process: messages in, our events and answers out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.acp_dialogue import LATE_WORDS_S, AcpDialogue
from executor_core.agents.agent import FOR_MODEL, FOR_TOOL, Assignment
from executor_core.model import (
    AgentEvent,
    AgentResult,
    FileChanged,
    Image,
    Notice,
    Permission,
    ReasoningDelta,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
)

IMAGE = Image(media_type="image/png", data="aGk=")
OPTIONS = [
    {"optionId": "always", "name": "Always", "kind": "allow_always"},
    {"optionId": "once", "name": "Once", "kind": "allow_once"},
    {"optionId": "no", "name": "No", "kind": "reject_once"},
]


class Talk:
    """A dialogue and the agent's side of it."""

    def __init__(self, folder: Path = Path("/home/me/ws"), **fields: Any) -> None:
        options = {name: fields.pop(name) for name in ("check_model",) if name in fields}
        task: dict[str, Any] = {"run_id": "run_1", "prompt": "Hello", "scratch": folder}
        self.dialogue = AcpDialogue(Assignment(folder=folder, **task | fields), "Mine", **options)

    def written(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.dialogue.outgoing().splitlines()]

    def say(self, message: dict[str, Any]) -> list[AgentEvent]:
        return list(self.dialogue.feed(json.dumps({"jsonrpc": "2.0", **message}).encode()))

    def answer(self, result: Any) -> list[AgentEvent]:
        """Answer the last request that the dialogue made."""
        (request,) = self.written()
        return self.say({"id": request["id"], "result": result})

    def refuse(self, code: int, message: str, data: Any = None) -> AgentResult:
        (request,) = self.written()
        error = {"code": code, "message": message, "data": data}
        return only_result(self.say({"id": request["id"], "error": error}))

    def update(self, kind: str, /, **fields: Any) -> list[AgentEvent]:
        params = {"sessionId": "s", "update": {"sessionUpdate": kind, **fields}}
        return self.say({"method": "session/update", "params": params})

    def chunk(
        self, words: str, kind: str = "agent_message_chunk", **fields: Any
    ) -> list[AgentEvent]:
        return self.update(kind, content={"type": "text", "text": words}, **fields)

    def prompted(self, **abilities: Any) -> dict[str, Any]:
        """Answer up to the prompt; the prompt request as it was written."""
        self.answer({"protocolVersion": 1, "agentCapabilities": abilities})
        self.answer({"sessionId": "s"})
        (self.request,) = self.written()
        return self.request

    def end(self, **result: Any) -> list[AgentEvent]:
        """Answer the prompt, and say nothing more."""
        return [*self.say({"id": self.request["id"], "result": result}), *self.silence()]

    def fail(self, **error: Any) -> AgentResult:
        """Answer the prompt with an error, and say nothing more."""
        assert self.say({"id": self.request["id"], "error": error}) == []
        return only_result(self.silence())

    def silence(self) -> list[AgentEvent]:
        """What is told when the agent says nothing for as long as it is waited for."""
        return list(self.dialogue.waits().then)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the client something; its answer."""
        assert self.say({"id": "q1", "method": method, "params": params}) == []
        (answer,) = self.written()
        assert answer["id"] == "q1"
        return answer

    def ask_permission(self, **tool_call: Any) -> dict[str, Any]:
        call = {"toolCallId": "c", **tool_call}
        answer = self.ask(
            "session/request_permission", sessionId="s", toolCall=call, options=OPTIONS
        )
        outcome: dict[str, Any] = answer["result"]["outcome"]
        return outcome


def only_result(events: list[AgentEvent]) -> AgentResult:
    (result,) = events
    assert isinstance(result, AgentResult)
    return result


def code_of(result: AgentEvent) -> str:
    assert isinstance(result, AgentResult)
    assert result.error is not None
    return result.error.code


# --- handshake and session -----------------------------------------------------------------------


def test_nothing_of_ours_is_offered_to_the_agent() -> None:
    (request,) = Talk().written()
    assert request["method"] == "initialize"
    assert request["params"]["protocolVersion"] == 1
    capabilities = request["params"]["clientCapabilities"]
    assert capabilities["fs"] == {"readTextFile": False, "writeTextFile": False}
    assert not capabilities["terminal"]


def test_a_new_session_is_opened_in_the_working_folder_and_named() -> None:
    talk = Talk()
    talk.answer({"protocolVersion": 1})
    (request,) = talk.written()
    assert (request["method"], request["params"]["cwd"]) == ("session/new", "/home/me/ws")
    events = talk.say({"id": request["id"], "result": {"sessionId": "s"}})
    assert events == [SessionStarted(session_id="s")]


def test_the_model_of_a_session_is_told() -> None:
    talk = Talk()
    talk.answer({"protocolVersion": 1})
    option: dict[str, Any] = {"id": "m", "name": "Model", "category": "model", "type": "select"}
    option |= {"currentValue": "big", "options": [{"value": "big", "name": "Big"}]}
    events = talk.answer({"sessionId": "s", "configOptions": [option]})
    assert events == [SessionStarted(session_id="s", model="big")]


def test_another_version_of_the_protocol_is_refused_in_words() -> None:
    result = only_result(Talk().answer({"protocolVersion": 2}))
    assert code_of(result) == "acp_version_unknown"
    assert result.error
    assert "version 2" in result.error.detail


@pytest.mark.parametrize(
    ("abilities", "method"),
    [
        ({"loadSession": True}, "session/load"),
        ({"sessionCapabilities": {"resume": {}}}, "session/resume"),
        ({"loadSession": True, "sessionCapabilities": {"resume": {}}}, "session/resume"),
    ],
)
def test_a_session_is_taken_up_in_the_way_the_agent_knows(
    abilities: dict[str, Any], method: str
) -> None:
    talk = Talk(session_id="s")
    talk.answer({"protocolVersion": 1, "agentCapabilities": abilities})
    (request,) = talk.written()
    assert (request["method"], request["params"]["sessionId"]) == (method, "s")


def test_an_agent_that_keeps_no_sessions_has_lost_it() -> None:
    assert code_of(Talk(session_id="s").answer({"protocolVersion": 1})[0]) == "session_not_found"


def test_a_session_that_cannot_be_taken_up_is_lost_whatever_the_agent_calls_it() -> None:
    talk = Talk(session_id="s")
    talk.answer({"protocolVersion": 1, "agentCapabilities": {"loadSession": True}})
    assert code_of(talk.refuse(-32603, "Internal error: service failure")) == "session_not_found"


def test_the_history_that_a_resumed_session_tells_is_not_said_again() -> None:
    talk = Talk(session_id="s")
    talk.answer({"protocolVersion": 1, "agentCapabilities": {"loadSession": True}})
    assert talk.chunk("before") == []
    assert talk.answer(None) == [SessionStarted(session_id="s")]
    assert talk.chunk("now") == [TextDelta(text="now")]


def test_an_agent_that_wants_a_login_is_not_signed_in() -> None:
    talk = Talk(session_id="s")
    talk.answer({"protocolVersion": 1, "agentCapabilities": {"loadSession": True}})
    assert code_of(talk.refuse(-32000, "Authentication required")) == "agent_not_signed_in"


# --- prompt --------------------------------------------------------------------------------------


def test_the_system_prompt_stands_before_the_first_prompt_of_a_session() -> None:
    request = Talk(system_prompt="Be kind.").prompted()
    assert request["params"]["prompt"] == [{"type": "text", "text": "Be kind.\n\nHello"}]


def test_a_resumed_session_is_not_told_the_system_prompt_again() -> None:
    talk = Talk(system_prompt="Be kind.", session_id="s")
    request = talk.prompted(loadSession=True)
    assert request["params"]["prompt"] == [{"type": "text", "text": "Hello"}]


@pytest.mark.parametrize("prompt", ["/init now", " \n/init now"])
def test_a_prompt_with_a_slash_in_front_is_no_command(prompt: str) -> None:
    words = Talk(prompt=prompt).prompted()["params"]["prompt"][0]["text"]
    assert words.endswith(prompt)
    assert not words.lstrip().startswith("/")


def test_images_go_to_an_agent_that_takes_them() -> None:
    request = Talk(images=(IMAGE,)).prompted(promptCapabilities={"image": True})
    assert request["params"]["prompt"][1:] == [
        {"type": "image", "mimeType": "image/png", "data": "aGk="}
    ]


def test_images_for_an_agent_that_takes_none_are_a_notice() -> None:
    talk = Talk(images=(IMAGE,))
    talk.answer({"protocolVersion": 1})
    events = talk.answer({"sessionId": "s"})
    assert [event.code for event in events if isinstance(event, Notice)] == ["images_ignored"]
    assert len(talk.written()[0]["params"]["prompt"]) == 1


# --- what it says --------------------------------------------------------------------------------


def test_text_and_thoughts_come_part_by_part() -> None:
    talk = Talk()
    talk.prompted()
    said = [*talk.chunk("Hm.", "agent_thought_chunk"), *talk.chunk("Hel"), *talk.chunk("lo")]
    assert said == [ReasoningDelta(text="Hm."), TextDelta(text="Hel"), TextDelta(text="lo")]


def test_messages_of_one_turn_are_paragraphs() -> None:
    talk = Talk()
    talk.prompted()
    talk.chunk("One.", messageId="m1")
    assert talk.chunk("Two", messageId="m2") == [TextDelta(text="\n\nTwo")]
    assert talk.chunk(".", messageId="m2") == [TextDelta(text=".")]
    talk.update("tool_call", toolCallId="c", title="read", status="completed")
    assert talk.chunk("Three.", messageId="m2") == [TextDelta(text="\n\nThree.")]


def test_a_tool_call_is_told_when_it_is_known_and_when_it_is_done() -> None:
    talk = Talk()
    talk.prompted()
    assert talk.update("tool_call", toolCallId="c", title="bash", rawInput={}) == []
    started = talk.update(
        "tool_call_update", toolCallId="c", status="in_progress", rawInput={"command": "ls"}
    )
    assert started == [ToolStarted(call_id="c", name="bash", input={"command": "ls"})]
    content = [{"type": "content", "content": {"type": "text", "text": "a.txt"}}]
    done = talk.update("tool_call_update", toolCallId="c", status="completed", content=content)
    assert done == [ToolFinished(call_id="c", output="a.txt")]


def test_a_shell_command_that_failed_is_an_error_though_its_call_is_completed() -> None:
    talk = Talk()
    talk.prompted()
    output = {"output": "", "metadata": {"exit": 3}}
    events = talk.update(
        "tool_call", toolCallId="c", title="bash", status="completed", rawOutput=output
    )
    assert events[-1] == ToolFinished(call_id="c", output="", is_error=True)


def test_changed_files_are_told_by_their_diffs() -> None:
    talk = Talk()
    talk.prompted()
    content = [
        {"type": "diff", "path": "/home/me/ws/new.txt", "newText": "x"},
        {"type": "diff", "path": "old.txt", "oldText": "a", "newText": "b"},
    ]
    events = talk.update(
        "tool_call", toolCallId="c", title="edit", kind="edit", status="completed", content=content
    )
    assert events[2:] == [
        FileChanged(path="/home/me/ws/new.txt", change="written"),
        FileChanged(path="/home/me/ws/old.txt", change="edited"),
    ]


@pytest.mark.parametrize(
    ("kind", "change"), [("edit", "edited"), ("delete", "deleted"), ("read", None)]
)
def test_without_a_diff_kind_and_place_of_a_call_tell_what_changed(
    kind: str, change: str | None
) -> None:
    talk = Talk()
    talk.prompted()
    place = [{"path": "a.txt"}]
    events = talk.update(
        "tool_call", toolCallId="c", title="t", kind=kind, status="completed", locations=place
    )
    changed = [event for event in events if isinstance(event, FileChanged)]
    assert changed == ([FileChanged(path="/home/me/ws/a.txt", change=change)] if change else [])


def test_a_failed_call_changed_nothing() -> None:
    talk = Talk()
    talk.prompted()
    events = talk.update(
        "tool_call",
        toolCallId="c",
        title="t",
        kind="edit",
        status="failed",
        locations=[{"path": "a.txt"}],
    )
    assert events[-1] == ToolFinished(call_id="c", output="", is_error=True)


def test_a_plan_is_told_as_a_tool_call() -> None:
    talk = Talk()
    talk.prompted()
    entries = [{"content": "Look", "status": "pending", "priority": "high"}]
    assert talk.update("plan", entries=entries) == [
        ToolStarted(
            call_id="plan-1",
            name="plan",
            input={"entries": [{"content": "Look", "status": "pending"}]},
        ),
        ToolFinished(call_id="plan-1", output=""),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"Welcome to my agent!",
        b"[1, 2]",
        b'{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s"}}',
        b'{"jsonrpc":"2.0","method":"session/update","params":'
        b'{"sessionId":"s","update":{"sessionUpdate":"brand_new","x":1}}}',
        b'{"jsonrpc":"2.0","method":"session/update"}',
        b'{"jsonrpc":"2.0","method":"other/news","params":{}}',
        b'{"jsonrpc":"2.0","id":99,"result":{}}',
    ],
)
def test_a_line_that_means_nothing_to_us_changes_nothing(line: bytes) -> None:
    talk = Talk()
    talk.prompted()
    assert list(talk.dialogue.feed(line)) == []
    assert talk.written() == []
    assert talk.chunk("on") == [TextDelta(text="on")]


def test_news_of_another_session_are_not_ours() -> None:
    talk = Talk()
    talk.prompted()
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "x"}}
    params = {"sessionId": "other", "update": update}
    assert talk.say({"method": "session/update", "params": params}) == []


# --- what it asks --------------------------------------------------------------------------------


def test_unattended_work_is_allowed_once() -> None:
    talk = Talk()
    talk.prompted()
    outcome = talk.ask_permission(kind="execute", title="rm -rf /")
    assert outcome == {"outcome": "selected", "optionId": "once"}


@pytest.mark.parametrize(
    ("kind", "path", "chosen"),
    [
        ("edit", "a.txt", "once"),
        ("edit", "{ws}/sub/a.txt", "once"),
        ("delete", "{ws}/a.txt", "once"),
        ("edit", "{ws}/../a.txt", "no"),
        ("edit", "{ws}/link/a.txt", "no"),
        ("edit", "/etc/passwd", "no"),
        ("edit", None, "no"),
        ("execute", "{ws}", "no"),
        ("fetch", "{ws}/a.txt", "no"),
        (None, "{ws}/a.txt", "no"),
    ],
)
def test_attended_work_may_change_the_folder_and_nothing_else(
    tmp_path: Path, kind: str | None, path: str | None, chosen: str
) -> None:
    folder = tmp_path / "ws"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    talk = Talk(folder=folder, permission=Permission.WORKSPACE_WRITE)
    talk.prompted()
    places = [{"path": path.format(ws=folder)}] if path else []
    outcome = talk.ask_permission(kind=kind, locations=places)
    assert outcome == {"outcome": "selected", "optionId": chosen}


def test_a_folder_behind_a_link_is_still_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    folder = tmp_path / "ws"
    folder.symlink_to(tmp_path / "real")
    talk = Talk(folder=folder, permission=Permission.WORKSPACE_WRITE)
    talk.prompted()
    outcome = talk.ask_permission(kind="edit", locations=[{"path": str(folder / "a.txt")}])
    assert outcome == {"outcome": "selected", "optionId": "once"}


def test_a_question_that_says_less_than_its_call_is_judged_by_its_call(tmp_path: Path) -> None:
    talk = Talk(folder=tmp_path, permission=Permission.WORKSPACE_WRITE)
    talk.prompted()
    talk.update("tool_call", toolCallId="c", title="t", kind="execute", locations=[])
    outcome = talk.ask_permission(locations=[{"path": str(tmp_path / "a.txt")}])
    assert outcome == {"outcome": "selected", "optionId": "no"}


def test_a_question_without_a_fitting_answer_is_not_left_open() -> None:
    talk = Talk(permission=Permission.WORKSPACE_WRITE)
    talk.prompted()
    answer = talk.ask(
        "session/request_permission",
        sessionId="s",
        toolCall={"toolCallId": "c", "kind": "execute"},
        options=OPTIONS[:2],
    )
    assert answer["result"] == {"outcome": {"outcome": "cancelled"}}


def test_a_question_of_unknown_shape_is_not_left_open() -> None:
    talk = Talk()
    talk.prompted()
    answer = talk.ask("session/request_permission", strange=True)
    assert answer["result"] == {"outcome": {"outcome": "cancelled"}}


@pytest.mark.parametrize("method", ["fs/read_text_file", "terminal/create", "elicitation/create"])
def test_what_we_do_not_offer_is_refused_at_once(method: str) -> None:
    talk = Talk()
    talk.prompted()
    assert talk.ask(method, sessionId="s", path="/etc/passwd")["error"]["code"] == -32601


# --- how it ends ---------------------------------------------------------------------------------


def test_the_answer_to_the_prompt_is_the_last_word_with_its_usage() -> None:
    talk = Talk()
    talk.prompted()
    talk.update("usage_update", used=1, size=2, cost={"amount": 0.5, "currency": "USD"})
    tokens = {"inputTokens": 100, "outputTokens": 20, "totalTokens": 127}
    events = talk.end(
        stopReason="end_turn", usage=tokens | {"cachedReadTokens": 5, "cachedWriteTokens": 2}
    )
    usage = Usage(input_tokens=107, output_tokens=20, cached_tokens=5, cost_usd=0.5)
    assert events == [AgentResult(usage=usage)]


def test_the_price_of_a_whole_session_is_not_that_of_a_later_turn() -> None:
    talk = Talk(session_id="s")
    talk.prompted(loadSession=True)
    talk.update("usage_update", used=1, size=2, cost={"amount": 0.5, "currency": "USD"})
    tokens = {"inputTokens": 100, "outputTokens": 20, "totalTokens": 120}
    usage = only_result(talk.end(stopReason="end_turn", usage=tokens)).usage
    assert usage == Usage(input_tokens=100, output_tokens=20)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("refusal", "agent_refused"),
        ("max_tokens", "agent_stopped_early"),
        ("max_turn_requests", "agent_stopped_early"),
        ("cancelled", "agent_stopped_early"),
    ],
)
def test_a_turn_that_ends_otherwise_failed(reason: str, code: str) -> None:
    talk = Talk()
    talk.prompted()
    assert code_of(only_result(talk.end(stopReason=reason))) == code


@pytest.mark.parametrize("reason", ["error", "for_fun", None, 7, {}])
def test_a_reason_that_the_protocol_does_not_know_is_told_in_words(reason: object) -> None:
    talk = Talk()
    talk.prompted()
    talk.chunk("Half of the work is done.")
    result = only_result(talk.end(stopReason=reason, transcriptPath="/x"))
    assert code_of(result) == "agent_stopped_early"
    assert result.error is not None
    assert "PromptResponse" not in result.error.sentence
    assert not isinstance(reason, str) or reason in result.error.detail


def test_an_answer_of_unknown_shape_is_a_failure_and_no_silence() -> None:
    talk = Talk()
    talk.answer({"protocolVersion": 1})
    assert code_of(only_result(talk.answer({"sessionId": 7}))) == "agent_failed"


# --- when it ends --------------------------------------------------------------------------------


def test_words_that_come_a_moment_after_the_end_of_the_turn_still_count() -> None:
    talk = Talk()
    talk.prompted()
    talk.chunk("The answer is ", messageId="m")
    assert talk.say({"id": talk.request["id"], "result": {"stopReason": "end_turn"}}) == []
    assert talk.dialogue.waits().limit_s == LATE_WORDS_S
    assert talk.chunk("forty-two.", messageId="m") == [TextDelta(text="forty-two.")]
    assert only_result(talk.silence()).final_text == "The answer is forty-two."


def test_only_more_words_prolong_the_wait_behind_the_end() -> None:
    talk = Talk()
    talk.prompted()
    talk.chunk("Done")
    talk.end(stopReason="end_turn")
    first = talk.dialogue.waits()
    assert first.is_background
    talk.update("available_commands_update", availableCommands=[])
    assert talk.dialogue.waits() == first
    talk.chunk(".")
    assert talk.dialogue.waits() != first


def test_a_tool_that_is_told_of_behind_the_end_is_told() -> None:
    talk = Talk()
    talk.prompted()
    talk.end(stopReason="end_turn")
    late = talk.update("tool_call", toolCallId="c", title="read", status="completed")
    assert late == [ToolStarted(call_id="c", name="read"), ToolFinished(call_id="c", output="")]
    assert only_result(talk.silence()).error is None


def test_an_agent_that_leaves_right_behind_the_end_has_ended_its_turn() -> None:
    talk = Talk()
    talk.prompted()
    talk.chunk("Done.")
    talk.end(stopReason="end_turn")
    assert talk.dialogue.without_result(0, "") == AgentResult(final_text="Done.")


def test_a_second_answer_to_the_prompt_changes_nothing() -> None:
    talk = Talk()
    talk.prompted()
    end = talk.end(stopReason="refusal")
    assert talk.end(stopReason="end_turn") == end


def test_a_model_is_waited_for_in_minutes_and_a_tool_for_as_long_as_it_works() -> None:
    talk = Talk()
    talk.prompted()
    assert talk.dialogue.waits() is FOR_MODEL
    talk.update("tool_call", toolCallId="c", title="bash", status="pending", rawInput={})
    assert talk.dialogue.waits() is FOR_MODEL
    talk.update("tool_call_update", toolCallId="c", rawInput={"command": "make"})
    assert talk.dialogue.waits() is FOR_TOOL
    talk.update("tool_call_update", toolCallId="c", status="in_progress")
    assert talk.dialogue.waits() is FOR_TOOL
    talk.update("tool_call_update", toolCallId="c", status="completed")
    assert talk.dialogue.waits() is FOR_MODEL


# --- what it says of failures --------------------------------------------------------------------


def test_tools_that_are_still_open_at_the_end_are_closed() -> None:
    talk = Talk()
    talk.prompted()
    talk.update("tool_call", toolCallId="a", title="bash", status="in_progress")
    talk.update("tool_call", toolCallId="b", title="read")
    assert talk.end(stopReason="end_turn")[:-1] == [
        ToolFinished(call_id="a", output="", is_error=True),
        ToolStarted(call_id="b", name="read"),
        ToolFinished(call_id="b", output="", is_error=True),
    ]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Internal error: Incorrect API key provided", "model_key_refused"),
        ("401 Unauthorized", "model_key_refused"),
        ("You have hit your usage limit", "model_usage_limit"),
        ("Rate limit reached for requests", "model_rate_limited"),
        ("Overloaded", "model_overloaded"),
        ("Cannot connect to API: Unable to connect", "model_unreachable"),
        ("The model `x` does not exist", "model_unknown"),
        ("Something else", "agent_failed"),
    ],
)
def test_a_failed_turn_says_what_the_model_service_said(words: str, code: str) -> None:
    talk = Talk()
    talk.prompted()
    result = talk.fail(code=-32603, message=words)
    assert code_of(result) == code
    assert result.error is not None
    assert words.removeprefix("Internal error: ") in result.error.detail


SENTENCE = "The encrypted content could not be verified."


@pytest.mark.parametrize(
    ("message", "data", "detail"),
    [
        ("Internal error", {"details": "disk full"}, "disk full"),
        ("Internal error", {"codex_error_info": "other", "message": SENTENCE}, SENTENCE),
        ("Internal error", "disk full", "disk full"),
        ("Internal error", {"error": {"message": "disk full"}}, "disk full"),
        ("Internal error: disk full", {"service": "x", "message": "disk full"}, "disk full"),
        ("Turn failed", {"reason": "disk full"}, "Turn failed: disk full"),
        ("Disk full", {"details": ["no", "words"]}, "Disk full"),
        ("Internal error", None, ""),
    ],
)
def test_what_the_data_of_an_error_say_reaches_the_person(
    message: str, data: object, detail: str
) -> None:
    talk = Talk()
    talk.prompted()
    error = talk.fail(code=-32603, message=message, data=data).error
    assert error is not None
    assert error.detail == detail


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"codex_error_info": "usage_limit_exceeded", "message": "x"}, "model_usage_limit"),
        ({"codexErrorInfo": "contextWindowExceeded"}, "model_context_full"),
        ({"codex_error_info": {"http_connection_failed": {"http_status_code": 401}}},
         "model_key_refused"),
        ({"errorName": "ContextOverflowError"}, "model_context_full"),
        ({"errorName": "APIError", "statusCode": 402}, "model_credit_used_up"),
        ({"type": "error", "error": {"type": "overloaded_error"}}, "model_overloaded"),
        ({"status": 503}, "model_overloaded"),
        ({"code": "insufficient_quota"}, "model_credit_used_up"),
        ({"status": 200, "code": 7}, "agent_failed"),
    ],
)  # fmt: skip
def test_the_structure_of_an_error_goes_before_its_words(data: object, code: str) -> None:
    talk = Talk()
    talk.prompted()
    result = talk.fail(code=-32603, message="Rate limit, they say", data=data)
    words_alone = "model_rate_limited"
    assert code_of(result) == (words_alone if code == "agent_failed" else code)
    assert result.error is not None
    assert "{" not in result.error.sentence


def test_a_limit_says_when_it_is_reset_if_the_agent_does() -> None:
    talk = Talk()
    talk.prompted()
    data = {"codex_error_info": "usage_limit_exceeded", "resets_at": 1_795_922_937}
    error = talk.fail(code=-32603, message="Internal error", data=data).error
    assert error is not None
    assert error.retry_at == datetime.fromtimestamp(1_795_922_937, UTC)


def test_tools_that_were_not_permitted_are_named_at_the_end() -> None:
    talk = Talk(permission=Permission.WORKSPACE_WRITE)
    talk.prompted()
    talk.ask_permission(kind="execute", title="rm -rf /")
    talk.ask_permission(kind="execute", title="rm -rf /")
    talk.chunk("I could not.")
    notice, result = talk.end(stopReason="end_turn")
    assert isinstance(notice, Notice)
    assert (notice.code, notice.text.count("rm -rf /")) == ("tool_denied", 1)
    assert isinstance(result, AgentResult)
    assert result.error is None


def test_a_turn_that_came_to_nothing_but_denials_has_failed() -> None:
    talk = Talk(permission=Permission.WORKSPACE_WRITE)
    talk.prompted()
    talk.ask_permission(kind="execute", title="rm -rf /")
    assert code_of(talk.end(stopReason="end_turn")[-1]) == "agent_forbidden"


def test_a_turn_is_cancelled_by_name_and_before_it_only_by_the_end_of_input() -> None:
    talk = Talk()
    assert talk.dialogue.interrupt() == b""
    talk.prompted()
    word = json.loads(talk.dialogue.interrupt())
    assert (word["method"], word["params"]) == ("session/cancel", {"sessionId": "s"})
    assert "id" not in word


def test_a_dead_agent_is_told_with_its_code_and_its_last_words() -> None:
    error = Talk().dialogue.without_result(3, "Something broke.").error
    assert error is not None
    assert (error.code, "3" in error.detail) == ("agent_ended_early", True)
    assert "Something broke." in error.detail
