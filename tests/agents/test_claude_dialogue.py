"""What Claude Code says, as our events: golden for every recording, unshaken by anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from executor_core import texts
from executor_core.agents import Assignment
from executor_core.agents.answer import MAX_CHARS, cut_output
from executor_core.agents.claude_dialogue import ClaudeDialogue
from executor_core.model import (
    AgentEvent,
    AgentResult,
    FileChanged,
    Image,
    ModelConfig,
    Notice,
    ReasoningDelta,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from executor_core.texts import in_words

HERE = Path(__file__).parent
RECORDINGS = sorted((HERE / "recordings" / "claude_code_2.1.197").glob("*.jsonl"))
EXPECTED = HERE / "expected" / "claude_code_2.1.197"
RECORDED_LINES = [line for file in RECORDINGS for line in file.read_bytes().splitlines()]


def dialogue(**fields: Any) -> ClaudeDialogue:
    wanted: dict[str, Any] = {
        "run_id": "r",
        "prompt": "Hello",
        "folder": Path("/ws"),
        "scratch": Path("/scratch"),
        "session_id": "the-session",
    }
    return ClaudeDialogue(Assignment(**wanted | fields))


def heard(*messages: dict[str, Any] | bytes, **fields: Any) -> list[AgentEvent]:
    """The events of these lines, said by one process."""
    listener = dialogue(**fields)
    lines = [m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages]
    return [event for line in lines for event in listener.feed(line)]


def text_block(words: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": words}]
    return {"type": "assistant", "message": {"content": content, "model": "m"}} | fields


def delta(words: Any, **fields: Any) -> dict[str, Any]:
    event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": words}}
    return {"type": "stream_event", "event": event} | fields


def result(**fields: Any) -> dict[str, Any]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": "End."} | fields


def said(events: list[AgentEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def failure(*messages: dict[str, Any] | bytes) -> tuple[str, str]:
    """Code and detail of the error in which these lines end."""
    last = heard(*messages)[-1]
    assert isinstance(last, AgentResult)
    assert last.error is not None
    return last.error.code, last.error.detail


def in_plain_words(event: AgentEvent) -> AgentEvent:
    """The event with the words of its error, as they are recorded, and without their values."""
    event = in_words(event)
    if not isinstance(event, AgentResult) or event.error is None:
        return event
    return replace(event, error=replace(event.error, values={}))


# --- golden --------------------------------------------------------------------------------------


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda file: file.stem)
def test_each_recording_gives_the_expected_events(recording: Path) -> None:
    events = heard(*recording.read_bytes().splitlines())
    lines = (EXPECTED / recording.name).read_bytes().splitlines()
    expected = [msgspec.json.decode(line, type=AgentEvent) for line in lines]
    assert [in_plain_words(event) for event in events] == expected


# --- the prompt ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("Hello", "Hello"),
        ("/clear", "\n/clear"),
        ("-p --help", "-p --help"),
        (" padded\n", " padded\n"),
        ("多行\n你好 \u2028", "多行\n你好 \u2028"),
    ],
)
def test_the_prompt_is_one_line_and_no_command(prompt: str, sent: str) -> None:
    talk = dialogue(prompt=prompt)
    line = talk.outgoing()
    assert line.count(b"\n") == 1
    assert json.loads(line)["message"]["content"] == [{"type": "text", "text": sent}]
    assert talk.outgoing() == b""


def test_images_follow_the_words() -> None:
    image = Image(media_type="image/png", data="aGk=")
    content = json.loads(dialogue(images=(image,)).outgoing())["message"]["content"]
    assert content[1] == {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
    }


# --- text ----------------------------------------------------------------------------------------


def test_a_text_that_was_streamed_in_part_is_completed_and_never_repeated() -> None:
    whole = text_block("Hello, world")
    assert said(heard(delta("Hello"), whole, whole)) == "Hello, world"


def stream(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "stream_event", "event": {"type": kind}} | fields


@pytest.mark.parametrize(
    "again",
    [
        [text_block("Here.")],
        [stream("message_start"), delta("He"), text_block("Here.")],
        [text_block("Here."), stream("message_start"), text_block("And more.")],
    ],
    ids=["whole", "streamed", "with more"],
)
def test_a_text_that_was_asked_for_again_stands_in_the_answer_once(
    again: list[dict[str, Any]],
) -> None:
    events = heard(stream("message_start"), delta("half of "), *again, result())
    last = events[-1]
    assert isinstance(last, AgentResult)
    assert last.answer(said(events)) == said(events).removeprefix("half of \n\n")
    assert [event.code for event in events if isinstance(event, Notice)] == ["text_abandoned"]


def gone_on(*half: dict[str, Any], kept: int) -> list[AgentEvent]:
    """An answer that broke off, of which so many blocks are kept, and how it went on."""
    gone = {"abandoned_blocks": {"from_block_index": kept}}
    start = stream("message_start")
    asked = {"type": "user", "message": {"content": [{"type": "text", "text": "Resume."}]}}
    stop = stream("message_stop", **gone)
    return heard(start, *half, stop, asked, start, delta("and one."), result())


def test_a_text_that_broke_off_is_gone_on_with_where_it_stops() -> None:
    events = gone_on(delta("One half "), text_block("One half "), kept=1)
    assert said(events) == "One half and one."
    assert not [event for event in events if isinstance(event, Notice)]


def test_a_text_of_which_nothing_is_kept_does_not_stand_in_the_answer() -> None:
    events = gone_on(delta("One half "), kept=0)
    last = events[-1]
    assert isinstance(last, AgentResult)
    assert last.answer(said(events)) == "and one."


def test_behind_a_thought_that_broke_off_a_paragraph_begins() -> None:
    events = gone_on(delta("One."), text_block("One."), kept=2)
    assert said(events) == "One.\n\nand one."


def test_a_sub_agent_that_speaks_meanwhile_breaks_no_text() -> None:
    other = {"type": "user", "message": {"content": "go"}, "parent_tool_use_id": "1"}
    events = heard(stream("message_start"), delta("Hel"), other, delta("lo"), text_block("Hello"))
    assert said(events) == "Hello"


def test_texts_that_were_not_streamed_are_paragraphs() -> None:
    start = {"type": "stream_event", "event": {"type": "message_start"}}
    assert said(heard(text_block("One."), start, text_block("Two."))) == "One.\n\nTwo."


def test_a_text_after_a_tool_is_whole_even_if_it_begins_like_the_one_before() -> None:
    tool_result = {"type": "tool_result", "tool_use_id": "1", "content": "ok"}
    user = {"type": "user", "message": {"content": [tool_result]}}
    heard_words = said(heard(delta("Step"), text_block("Step"), user, text_block("Step two")))
    assert heard_words == "Step\n\nStep two"


def test_words_of_sub_agents_are_not_the_answer_but_their_tools_are_seen() -> None:
    tool = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}}
    inner = {"parent_tool_use_id": "toolu_1"}
    events = heard(
        delta("inner", **inner),
        text_block("inner", **inner),
        {"type": "assistant", "message": {"content": [tool]}, **inner},
        {"type": "user", "message": {"content": "a plain string"}, **inner},
        text_block("outer"),
    )
    assert events == [
        ToolStarted(call_id="t", name="Bash", input={"command": "ls"}),
        TextDelta(text="outer"),
    ]


def test_the_clis_own_words_are_the_answer_only_where_there_is_no_other() -> None:
    own = text_block("Unknown command: /x")
    own["message"]["model"] = "<synthetic>"
    assert said(heard(own, result())) == "Unknown command: /x"
    assert said(heard(text_block("Answer"), own, result())) == "Answer"
    assert said(heard(own, result(is_error=True))) == ""


def test_null_is_no_word() -> None:
    assert heard(delta(None), text_block("")) == []
    assert said(heard(delta(None), delta("x"))) == "x"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (rb'{"type":"result","result":"cut \ud83d","is_error":false}', "cut ?"),
        (b'{"type":"result","result":"bytes \xff\xfe","is_error":false}', "bytes \ufffd\ufffd"),
        (rb'{"type":"result","result":"whole \ud83d\ude00","is_error":false}', "whole \U0001f600"),
    ],
)
def test_half_characters_do_not_cost_the_result(line: bytes, words: str) -> None:
    assert [getattr(event, "final_text", None) for event in heard(line)] == [words]


# --- tools ---------------------------------------------------------------------------------------


def test_a_huge_tool_output_is_cut_in_the_middle() -> None:
    block = {"type": "tool_result", "tool_use_id": "1", "content": "a" * 100_000 + "END"}
    [event] = heard({"type": "user", "message": {"content": [block]}})
    assert isinstance(event, ToolFinished)
    assert len(event.output) < MAX_CHARS + 50
    assert event.output.startswith("aaa")
    assert event.output.endswith("END")


def test_what_is_cut_says_how_much_is_missing() -> None:
    assert cut_output("0123456789", 10) == "0123456789"
    assert cut_output("0123456789ab", 10) == "01234567\n[… 2 …]\nab"


@pytest.mark.parametrize("is_error", [True, False])
def test_a_file_counts_as_changed_when_its_tool_succeeded(is_error: bool) -> None:
    tool = {"type": "tool_use", "id": "1", "name": "Edit", "input": {"file_path": "a.py"}}
    done = {"type": "tool_result", "tool_use_id": "1", "is_error": is_error}
    events = heard(
        {"type": "assistant", "message": {"content": [tool]}},
        {"type": "user", "message": {"content": [done]}},
    )
    changed = [] if is_error else [FileChanged(path="a.py", change="edited")]
    assert [e for e in events if isinstance(e, FileChanged)] == changed


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"api_error_status": 401}, "model_key_refused"),
        ({"api_error_status": 403}, "model_access_denied"),
        ({"api_error_status": 404}, "model_unknown"),
        ({"api_error_status": 400}, "model_refused"),
        ({"api_error_status": 413}, "model_refused"),
        ({"api_error_status": 429}, "model_rate_limited"),
        ({"api_error_status": 500}, "model_failing"),
        ({"api_error_status": 529}, "model_overloaded"),
        ({"result": "Claude AI usage limit reached|1767"}, "model_usage_limit"),
        ({"result": "Not logged in · Please run /login"}, "claude_code_not_signed_in"),
        (
            {"result": "", "errors": ["No conversation found with session ID: x"]},
            "session_not_found",
        ),
        ({"subtype": "error_during_execution", "errors": None}, "agent_failed"),
    ],
)
@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_each_failure_has_a_code_and_words_in_every_language(
    fields: dict[str, Any], code: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "_current", language)
    [event] = heard(result(is_error=True) | fields)
    assert isinstance(event, AgentResult)
    assert event.error is not None
    assert event.error.code == code
    assert event.error.title
    assert event.error.hint
    assert event.error.title.isascii() == (language == "en")
    assert "{" not in event.error.sentence


def test_an_error_subtype_is_a_failure_even_if_it_does_not_call_itself_one() -> None:
    given = result(subtype="error_max_turns", result=None)
    code, detail = failure(given)
    assert (code, "its own limit of model calls" in detail) == ("agent_stopped_early", True)


def test_the_vendors_own_sentence_is_shown() -> None:
    raw = 'API Error: 400 {"type":"error","error":{"type":"x","message":"Too many images."}}'
    given = result(is_error=True, api_error_status=400, result=raw)
    assert failure(given) == ("model_refused", "It answered 400: Too many images.")
    given = result(is_error=True, api_error_status=400, result="API Error: 400 {broken}")
    assert failure(given)[1] == "It answered 400: API Error: 400 {broken}"


def test_a_refused_key_is_not_tried_for_minutes() -> None:
    retry = {"type": "system", "subtype": "api_retry", "attempt": 1, "error_status": 401}
    assert [type(event) for event in heard(retry, retry)] == [Notice, AgentResult]
    assert failure(retry, retry)[0] == "model_key_refused"


def test_an_unreachable_service_is_said_as_such() -> None:
    retry = {"type": "system", "subtype": "api_retry", "attempt": 3, "max_retries": 10}
    [notice] = heard(retry | {"error_status": None})
    assert isinstance(notice, Notice)
    assert "cannot be reached" in notice.text
    assert "3 of 10" in notice.text


def test_costs_are_shown_only_where_prices_are_known() -> None:
    given = result(total_cost_usd=0.5, usage={"input_tokens": 1, "cache_read_input_tokens": 2})
    [event] = heard(given)
    assert isinstance(event, AgentResult)
    assert event.usage is not None
    assert (event.usage.cost_usd, event.usage.input_tokens, event.usage.cached_tokens) == (
        0.5,
        3,
        2,
    )
    [event] = heard(given, model=ModelConfig(base_url="http://gateway.example.com"))
    assert isinstance(event, AgentResult)
    assert event.usage is not None
    assert event.usage.cost_usd is None


@pytest.mark.parametrize("number", ["true", "1.5", "null", '"3"', "[]", "NaN", "9" * 400])
def test_a_count_that_is_no_number_costs_neither_the_result_nor_its_record(number: str) -> None:
    counts = f'{{"input_tokens":5,"output_tokens":{number}}}'
    line = f'{{"type":"result","result":"End.","total_cost_usd":{number},"usage":{counts}}}'
    [event] = heard(line.encode())
    assert isinstance(event, AgentResult)
    assert event.usage is not None
    assert (event.usage.input_tokens, event.usage.output_tokens) == (5, 0)
    assert msgspec.json.decode(msgspec.json.encode(event), type=AgentEvent) == event


def test_a_process_without_a_last_word_ends_in_its_exit_code_and_stderr() -> None:
    error = dialogue().without_result(3, "claude: bad flag").error
    assert error is not None
    assert (error.code, error.detail) == (
        "agent_ended_early",
        "Its process ended with code 3. claude: bad flag",
    )


# --- anything ------------------------------------------------------------------------------------

_NAMES = st.sampled_from(
    (
        *("type", "subtype", "event", "delta", "text", "thinking", "message", "content", "model"),
        *("id", "name", "input", "result", "usage", "session_id", "parent_tool_use_id", "errors"),
        *("is_error", "error_status", "tool_use_id", "total_cost_usd", "input_tokens"),
    )
)
_WORDS = st.sampled_from(
    (
        *("system", "init", "api_retry", "stream_event", "assistant", "user", "result", "text"),
        *("content_block_delta", "text_delta", "thinking_delta", "tool_use", "tool_result"),
        *("success", "<synthetic>"),
    )
)
_LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | _WORDS
)  # fmt: skip
_ANY_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=5),
    max_leaves=20,
)


def check(lines: list[bytes]) -> None:
    """Feeding these lines raises nothing and gives events that can be written and read again."""
    for event in heard(*lines):
        again = msgspec.json.decode(msgspec.json.encode(event), type=AgentEvent)
        assert type(again) is type(event)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_bytes_of_any_kind_are_survived(lines: list[bytes]) -> None:
    check(lines)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.dictionaries(_NAMES, _ANY_JSON, max_size=6), max_size=4))
def test_messages_of_any_shape_are_survived(messages: list[Any]) -> None:
    check([json.dumps(message).encode() for message in messages])


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_recorded_lines_that_are_cut_doubled_or_mixed_are_survived(data: st.DataObject) -> None:
    lines = data.draw(st.lists(st.sampled_from(RECORDED_LINES), max_size=12))
    cuts = data.draw(st.lists(st.integers(0, 400), min_size=len(lines), max_size=len(lines)))
    check([line[:cut] if cut < 200 else line for line, cut in zip(lines, cuts, strict=True)])


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"type":' * 5000, b"9" * 10_000, b'{"a":1e999}']
)
def test_lines_that_overwhelm_a_parser_are_left_out(line: bytes) -> None:
    assert heard(line, text_block("still here")) == [TextDelta(text="still here")]


def test_what_follows_the_last_word_is_not_heard() -> None:
    lines = (HERE / "recordings" / "claude_code_2.1.197" / "text.jsonl").read_bytes().splitlines()
    kinds = [type(event) for event in heard(*lines, *lines)]
    assert kinds == [SessionStarted, ReasoningDelta, *[TextDelta] * 3, AgentResult]
