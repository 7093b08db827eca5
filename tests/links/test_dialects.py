"""How a run is told in each dialect: golden frames, order, timing and size."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor_core.links.device.frames import MAX_PACKET_BYTES, Frame, Json, cut_text, encoded_size
from executor_core.links.device.progress import MAX_VALUE_BYTES, SHORTEST_PAUSE_S
from executor_core.links.device.responses import MAX_WAITING_CHARS
from executor_core.links.device.story import (
    Dialect,
    cancelled_unknown,
    choose_dialect,
    make_encoder,
    terminal_frames,
)
from executor_core.model import (
    AgentEvent,
    Notice,
    ReasoningDelta,
    RunState,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
)
from executor_core.texts import Message
from tests.links.story import PATIENT, REPLY_TO, only_frames, outcome, tell, wire_bytes

P, R, BOTH = Dialect.PROGRESS, Dialect.RESPONSES, Dialect.BOTH
IDS = {"task_id": 7, "subtask_id": 9, "message_id": 3}
RICH: list[tuple[float, AgentEvent]] = [
    (0.0, ReasoningDelta(text="Let me see.")),
    (0.1, TextDelta(text="I look")),
    (0.01, TextDelta(text=" at it.")),
    (0.3, ToolStarted(call_id="t1", name="Bash", input={"command": "ls"})),
    (1.0, ToolFinished(call_id="t1", output="a.txt")),
    (0.1, Notice(code="retry", text="The model is slow.")),
    (0.1, TextDelta(text=" 完成")),
]
TEXT = "I look at it. 完成"


def response(event: str, **data: Any) -> tuple[str, Any]:
    return event, {**IDS, "data": {"type": event, **data}}


CALL = {
    "type": "function_call",
    "id": "t1",
    "call_id": "t1",
    "name": "Bash",
    "arguments": '{"command":"ls"}',
}
GOLDEN_R = [
    response(
        "response.created",
        response={"id": "resp_9", "status": "in_progress"},
        shell_type="ClaudeCode",
    ),
    response(
        "response.reasoning_summary_part.added", part={"type": "reasoning", "text": "Let me see."}
    ),
    response("response.output_text.delta", delta="I look", offset=0),
    response("response.output_text.delta", delta=" at it.", offset=6),
    response("response.output_item.added", item=CALL | {"status": "in_progress"}),
    response(
        "response.function_call_arguments.done",
        call_id="t1",
        item_id="t1",
        arguments='{"command":"ls"}',
    ),
    response("response.output_item.done", item=CALL | {"status": "completed", "output": "a.txt"}),
    response(
        "response.reasoning_summary_part.added",
        part={"type": "reasoning", "text": "The model is slow.\n"},
    ),
    response("response.output_text.delta", delta=" 完成", offset=13),
    response(
        "response.completed",
        response={
            "id": "resp_9",
            "object": "response",
            "status": "completed",
            "output": [
                {
                    "type": "message",
                    "id": "msg_9",
                    "status": "completed",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
                }
            ],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13},
        },
    ),
]
USE = {
    "title": "thinking.assistant_message_received",
    "next_action": "continue",
    "details": {
        "type": "assistant",
        "message": {
            "type": "message",
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
            ],
        },
    },
}
RESULT = {
    "title": "thinking.user_message_received",
    "next_action": "continue",
    "details": {
        "type": "user",
        "message": {
            "type": "message",
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": "a.txt",
                    "is_error": False,
                }
            ],
        },
    },
}
NOTICE = {"title": "The model is slow.", "next_action": "continue"}


def progress(value: str | None, *steps: Any) -> tuple[str, Any]:
    result = None if value is None else {"value": value, "thinking": [*steps], "workbench": None}
    return "task:progress", {
        "task_id": 7,
        "subtask_id": 9,
        "status": "RUNNING",
        "progress": 10 if value is None else 50,
        "result": result,
    }


GOLDEN_P = [
    progress(None),
    progress("I look"),
    progress("I look at it."),
    progress("I look at it.", USE),
    progress("I look at it.", USE, RESULT),
    (
        "task:complete",
        {
            "task_id": 7,
            "subtask_id": 9,
            "status": "COMPLETED",
            "progress": 100,
            "result": {"value": TEXT, "thinking": [USE, RESULT, NOTICE], "workbench": None},
        },
    ),
]


def rich_end() -> Any:
    usage = Usage(input_tokens=10, output_tokens=3)
    return msgspec.structs.replace(outcome(TEXT), usage=usage)


def test_the_golden_story_in_dialect_r() -> None:
    assert only_frames(tell(R, RICH, rich_end())) == GOLDEN_R


def test_the_golden_story_in_dialect_p() -> None:
    assert only_frames(tell(P, RICH, rich_end())) == GOLDEN_P


def test_while_the_dialect_is_unknown_both_stories_are_told_whole() -> None:
    told = only_frames(tell(BOTH, RICH, rich_end()))
    assert [frame for frame in told if not frame[0].startswith("task:")] == GOLDEN_R
    assert [frame for frame in told if frame[0].startswith("task:")] == GOLDEN_P


# --- ends --------------------------------------------------------------------------------------

BROKEN = Message(
    code="git_failed", given_title="No clone.", given_detail="It said no.", given_hint="Ask."
)


@pytest.mark.parametrize(
    ("end", "event", "data"),
    [
        (
            outcome("so far", RunState.FAILED, BROKEN),
            "error",
            {"type": "error", "code": "git_failed", "message": "No clone. It said no. Ask."},
        ),
        (
            outcome("so far", RunState.CANCELLED),
            "response.incomplete",
            {
                "type": "response.incomplete",
                "response": {
                    "id": "resp_9",
                    "object": "response",
                    "status": "incomplete",
                    "output": [],
                    "incomplete_details": {"reason": "cancelled"},
                },
            },
        ),
    ],
)
def test_the_other_ends_in_r(end: Any, event: str, data: Any) -> None:
    [frame] = terminal_frames(R, REPLY_TO, end)
    assert (frame.event, frame.data) == (event, {**IDS, "data": data})


def test_the_other_ends_in_p_go_through_task_complete_with_the_text_so_far() -> None:
    [failed] = terminal_frames(P, REPLY_TO, outcome("so far", RunState.FAILED, BROKEN))
    [cancelled] = terminal_frames(P, REPLY_TO, outcome("so far", RunState.CANCELLED))
    assert failed.event == cancelled.event == "task:complete"
    assert (failed.data["status"], cancelled.data["status"]) == ("FAILED", "CANCELLED")
    assert failed.data["error_message"] == "No clone. It said no. Ask."
    assert failed.data["result"]["value"] == cancelled.data["result"]["value"] == "so far"
    assert "data" not in failed.data


def test_a_cancel_of_something_unknown_is_answered_where_the_server_waits_for_it() -> None:
    assert cancelled_unknown(P, 7, 9) == []
    for dialect in (R, BOTH):
        [frame] = cancelled_unknown(dialect, 7, 9)
        assert frame.event == "response.incomplete"
        assert (frame.data["task_id"], frame.data["subtask_id"]) == (7, 9)


@pytest.mark.parametrize(
    ("progress_handled", "responses_handled", "dialect"),
    [(True, False, P), (False, True, R), (True, True, P), (False, False, BOTH)],
)
def test_the_probes_choose(
    progress_handled: bool, responses_handled: bool, dialect: Dialect
) -> None:
    chosen = choose_dialect(progress_handled=progress_handled, responses_handled=responses_handled)
    assert chosen is dialect


# --- properties --------------------------------------------------------------------------------

# Half an emoji is a sign like any other here; `st.text` would never make one.
_SIGNS = st.sampled_from('a"\\\n\x00\x1f\x7f\u2028é完😀\ud83d') | st.characters()
NASTY = st.lists(_SIGNS, max_size=30).map("".join)
CALL_IDS = st.sampled_from(["t1", "t2", "t3"])
EVENTS: st.SearchStrategy[AgentEvent] = st.one_of(
    st.builds(TextDelta, text=NASTY),
    st.builds(TextDelta, text=st.builds(lambda t, n: t * n, NASTY, st.integers(1, 3_000))),
    st.builds(ReasoningDelta, text=NASTY),
    st.builds(Notice, code=st.just("n"), text=NASTY),
    st.builds(
        ToolStarted,
        call_id=CALL_IDS,
        name=NASTY,
        input=st.dictionaries(NASTY, NASTY | st.lists(NASTY, max_size=2), max_size=3),
    ),
    st.builds(ToolFinished, call_id=CALL_IDS, output=NASTY, is_error=st.booleans()),
)
STORIES = st.lists(st.tuples(st.floats(0, 1.5), EVENTS), max_size=40)
STATES = st.sampled_from([RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED])


def text_of(events: list[tuple[float, AgentEvent]]) -> str:
    return "".join(event.text for _, event in events if isinstance(event, TextDelta))


@PATIENT
@given(STORIES, st.booleans(), STATES)
def test_r_tells_every_story_in_order_and_with_true_offsets(
    events: list[tuple[float, AgentEvent]], link_is_up: bool, state: RunState
) -> None:
    words = text_of(events)
    sent = tell(R, events, outcome(words, state), link_is_up=link_is_up)
    frames = [frame for _, frame in sent]
    shown, position = "", 0
    phase: dict[str, int] = {}
    for frame in frames[:-1]:
        data = frame.data["data"]
        match frame.event:
            case "response.output_text.delta":
                assert data["offset"] >= position
                if data["offset"] > position:
                    assert not link_is_up
                assert words[data["offset"] :].startswith(data["delta"])
                position = data["offset"] + len(data["delta"])
                shown += data["delta"]
            case "response.output_item.added":
                phase[data["item"]["call_id"]] = 1
            case "response.function_call_arguments.done":
                assert phase.pop(data["call_id"]) == 1
                phase[data["call_id"]] = 2
            case "response.output_item.done":
                assert phase.pop(data["item"]["call_id"]) in (1, 2)
    assert 1 not in phase.values()
    if link_is_up:
        assert shown == words
    ends = ("response.completed", "response.incomplete", "error")
    assert [frame.event in ends for frame in frames] == [False] * (len(frames) - 1) + [True]


@PATIENT
@given(STORIES, st.booleans(), STATES)
def test_p_only_grows_and_never_sends_content_without_its_whole_text(
    events: list[tuple[float, AgentEvent]], link_is_up: bool, state: RunState
) -> None:
    words = text_of(events)
    sent = tell(P, events, outcome(words, state), link_is_up=link_is_up)
    value = ""
    for _, frame in sent[:-1]:
        assert frame.event == "task:progress"
        assert frame.data["status"] == "RUNNING"
        if (result := frame.data["result"]) is not None:
            assert set(result) == {"value", "thinking", "workbench"}
            assert result["value"].startswith(value)
            assert len(msgspec.json.encode(Json.loads(Json.dumps(result["thinking"])))) < 250_000
            value = result["value"]
    assert words.startswith(value)
    moments = [moment for moment, frame in sent[:-1] if frame.data["result"] is not None]
    assert all(b - a >= SHORTEST_PAUSE_S - 1e-6 for a, b in pairwise(moments))
    assert sent[-1][1].data["status"] == state.value.upper()


@PATIENT
@given(STORIES, NASTY, st.sampled_from(Dialect), st.booleans(), STATES)
@pytest.mark.slow
def test_no_frame_is_ever_too_large_or_beyond_what_json_can_carry(
    events: list[tuple[float, AgentEvent]],
    unit: str,
    dialect: Dialect,
    link_is_up: bool,
    state: RunState,
) -> None:
    words = unit * (3_000_000 // max(1, len(unit)))
    events = [*events, (0.0, TextDelta(text=words[:1_000_000]))]
    error = Message(code="x", given_title=words[:100_000])
    for _, frame in tell(dialect, events, outcome(words, state, error), link_is_up=link_is_up):
        assert encoded_size(frame) <= MAX_PACKET_BYTES
        assert Json.loads(Json.dumps([frame.event, frame.data]))[0] == frame.event


# --- timing and size ---------------------------------------------------------------------------


def stream(text: str, pieces: int, seconds: float) -> list[tuple[float, AgentEvent]]:
    size = len(text) // pieces
    return [
        (seconds / pieces, TextDelta(text=text[start : start + size]))
        for start in range(0, size * pieces, size)
    ]


@pytest.mark.parametrize("characters", [10_000, 100_000])
def test_r_takes_little_more_than_the_text_twice(characters: int) -> None:
    """Once as it is written and once at the end, with everything around it."""
    text = "abcdefghij" * (characters // 10)
    sent = tell(R, stream(text, 1_000, 5.0), outcome(text))
    assert wire_bytes(sent) <= 2.6 * characters
    deltas = [moment for moment, frame in sent if frame.event == "response.output_text.delta"]
    assert deltas[0] == 0.005
    assert max(b - a for a, b in pairwise(deltas)) <= 0.25


def test_words_that_trickle_are_shown_four_times_a_second() -> None:
    """However little text there is, the bytes around it do not make anybody wait."""
    sent = tell(R, stream("word " * 200, 200, 4.0), outcome("word " * 200))
    deltas = [moment for moment, frame in sent if frame.event == "response.output_text.delta"]
    assert len(deltas) >= 16
    assert max(b - a for a, b in pairwise(deltas)) <= 0.25


@pytest.mark.parametrize("dialect", [P, R])
def test_what_an_answer_and_fifty_tools_cost_on_the_wire(dialect: Dialect) -> None:
    answer = "abcdefghij" * 1_000
    sent = tell(dialect, stream(answer, 1_000, 6.0), outcome(answer))
    tools: list[tuple[float, AgentEvent]] = []
    for number in range(50):
        call = f"toolu_{number:020}"
        tools.append((0.1, ToolStarted(call_id=call, name="Bash", input={"command": "ls -la"})))
        tools.append((0.05, ToolFinished(call_id=call, output="a.txt\n" * 30)))
    with_tools = tell(dialect, tools, outcome("done"))
    print(f"{dialect}: {wire_bytes(sent)} and {wire_bytes(with_tools)} bytes")
    assert wire_bytes(sent) <= 60_000
    assert wire_bytes(with_tools) <= 150_000


def test_the_first_words_leave_at_once_in_both_dialects() -> None:
    for dialect in (R, P):
        encoder = make_encoder(dialect, REPLY_TO)
        encoder.begin()
        encoder.absorb(TextDelta(text="Hi"))
        assert encoder.due_at() == 0.0
        assert "Hi" in str(encoder.take(100.0))
        assert encoder.due_at() is None


def test_in_r_the_first_words_wait_for_nothing_however_late_they_come() -> None:
    encoder = make_encoder(R, REPLY_TO)
    encoder.begin()
    encoder.take(99.9)
    encoder.absorb(TextDelta(text="Hi"))
    assert encoder.due_at() == 0.0


def test_a_tool_leaves_at_once_with_the_words_before_it() -> None:
    encoder = make_encoder(R, REPLY_TO)
    encoder.absorb(TextDelta(text="a"))
    encoder.take(100.0)
    encoder.absorb(TextDelta(text="b"))
    assert encoder.due_at() == 100.2
    encoder.absorb(ToolStarted(call_id="t", name="Bash"))
    assert encoder.due_at() == 0.0
    told = [f.event.removeprefix("response.") for f in encoder.take(100.01)]
    assert told == ["output_text.delta", "output_item.added", "function_call_arguments.done"]
    encoder.absorb(ToolFinished(call_id="t", output="ok"))
    assert [f.event for f in encoder.take(100.01)] == ["response.output_item.done"]


def test_hundreds_of_tools_that_end_while_a_frame_is_on_its_way_take_two_frames_each() -> None:
    encoder = make_encoder(R, REPLY_TO)
    for number in range(300):
        encoder.absorb(ToolStarted(call_id=f"t{number}", name="Read"))
        encoder.absorb(ToolFinished(call_id=f"t{number}", output="ok"))
    encoder.absorb(ToolStarted(call_id="last", name="Bash"))
    assert len(encoder.take(0.0)) == 2 * 300 + 2


def test_p_speaks_every_two_seconds_and_stays_below_twenty_times_a_megabyte() -> None:
    text = "abcdefghij" * 100_000
    sent = tell(P, stream(text, 1_000, 100.0), outcome(text))
    assert wire_bytes(sent) <= 20 * len(text)
    flowing = [
        moment
        for moment, frame in sent[1:-1]
        if len(frame.data["result"]["value"]) < MAX_VALUE_BYTES - 20_000
    ]
    assert max(b - a for a, b in pairwise(flowing)) <= 2.2


@pytest.mark.parametrize("dialect", [P, R])
def test_eight_hundred_kilobytes_of_chinese_arrive_whole(dialect: Dialect) -> None:
    text = "中文测试" * 66_000
    [frame] = terminal_frames(dialect, REPLY_TO, outcome(text))
    assert text in (
        frame.data["result"]["value"]
        if dialect is P
        else frame.data["data"]["response"]["output"][0]["content"][0]["text"]
    )
    assert encoded_size(frame) <= MAX_PACKET_BYTES


@pytest.mark.parametrize("dialect", [P, R])
def test_three_megabytes_are_cut_with_a_sentence_and_keep_head_and_tail(dialect: Dialect) -> None:
    text = "HEAD" + "中" * 1_000_000 + "TAIL"
    [frame] = terminal_frames(dialect, REPLY_TO, outcome(text))
    told = Json.dumps(frame.data)
    assert 850_000 < encoded_size(frame) <= MAX_PACKET_BYTES
    assert '"HEAD中' in told
    assert '中TAIL"' in told
    assert "1000008 characters was left out" in told


def test_steps_give_way_before_the_text_does() -> None:
    text = "x" * 800_000
    step = {"title": "t" * 150_000}
    [frame] = terminal_frames(P, REPLY_TO, outcome(text), [step])
    assert frame.data["result"]["value"] == text
    assert frame.data["result"]["thinking"] == []
    [frame] = terminal_frames(P, REPLY_TO, outcome("short"), [step])
    assert frame.data["result"]["thinking"] == [step]


# --- progress of ours --------------------------------------------------------------------------

FETCHING = Notice(code="fetching", text="Fetching what the task brings.")


def test_in_r_progress_of_ours_is_no_thought_and_gone_when_the_agent_speaks() -> None:
    encoder = make_encoder(R, REPLY_TO)
    encoder.note("Two tasks are before this one.")
    told = encoder.take(0.0)
    encoder.absorb(FETCHING)
    told += encoder.take(1.0)
    encoder.absorb(TextDelta(text="Hi"))
    told += encoder.take(2.0)
    block = {"id": "note_9_1", "type": "thinking", "status": "streaming"}
    gone = {"content": "", "status": "done"}
    assert [(frame.event, frame.data) for frame in told] == [
        response("response.block.created", block=block | {"content": told_first(told)}),
        response(
            "response.block.updated",
            block_id="note_9_1",
            updates={"content": FETCHING.text, "status": "streaming"},
        ),
        response("response.block.updated", block_id="note_9_1", updates=gone),
        response("response.output_text.delta", delta="Hi", offset=0),
    ]


def told_first(frames: list[Frame]) -> str:
    content: str = frames[0].data["data"]["block"]["content"]
    assert content == "Two tasks are before this one."
    return content


def test_in_p_progress_of_ours_is_a_step_that_the_end_does_not_repeat() -> None:
    encoder = make_encoder(P, REPLY_TO)
    encoder.absorb(FETCHING)
    [shown] = encoder.take(0.0)
    assert shown.data["result"]["thinking"] == [{"title": FETCHING.text, "next_action": "continue"}]
    assert encoder.steps == []
    encoder.absorb(TextDelta(text="Hi"))
    [spoken] = encoder.take(10.0)
    assert spoken.data["result"] == {"value": "Hi", "thinking": [], "workbench": None}


@pytest.mark.parametrize("dialect", [P, R, BOTH])
def test_a_run_that_ends_before_the_agent_speaks_leaves_no_progress_behind(
    dialect: Dialect,
) -> None:
    sent = tell(dialect, [(0.0, FETCHING)], outcome("", RunState.FAILED, BROKEN))
    notes = [f.data["data"] for _, f in sent if f.event.startswith("response.block.")]
    if dialect is not P:
        assert notes[-1]["updates"]["content"] == ""
    assert FETCHING.text not in str([frame.data for _, frame in sent[-1:]])


# --- bounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [P, R, BOTH])
def test_days_without_a_link_do_not_fill_the_memory(dialect: Dialect) -> None:
    encoder = make_encoder(dialect, REPLY_TO)
    words = 0
    for number in range(2_000):
        words += 1_000
        call = f"t{number}"
        for event in (
            TextDelta(text="w" * 1_000),
            ToolStarted(call_id=call, name="Read", input={"a": "b" * 3_000}),
            ToolFinished(call_id=call, output="c" * 3_000),
        ):
            encoder.absorb(event, is_heard=False)
    waiting = encoder.take(0.0, is_last=dialect is R)
    assert sum(map(encoded_size, waiting)) < 2_000_000
    if dialect is R:
        # What comes after the gap says truly where it belongs.
        encoder.absorb(TextDelta(text="after"))
        [frame] = encoder.take(1_000.0)
        assert (frame.data["data"]["delta"], frame.data["data"]["offset"]) == ("after", words)


def test_what_waits_is_forgotten_only_past_the_bound() -> None:
    encoder = make_encoder(R, REPLY_TO)
    for _ in range(MAX_WAITING_CHARS // 100):
        encoder.absorb(TextDelta(text="w" * 100), is_heard=False)
    encoder.absorb(TextDelta(text="lost"), is_heard=False)
    told = "".join(frame.data["data"]["delta"] for frame in encoder.take(0.0))
    assert told == "w" * MAX_WAITING_CHARS


def test_one_huge_file_written_does_not_wipe_out_the_steps_of_p() -> None:
    encoder = make_encoder(P, REPLY_TO)
    encoder.absorb(ToolStarted(call_id="a", name="Bash", input={"command": "ls"}))
    encoder.absorb(ToolStarted(call_id="b", name="Write", input={"content": "x" * 5_000_000}))
    steps = encoder.steps
    assert len(steps) == 2
    assert "the whole is kept on the device" in str(steps[1])


def test_a_delta_larger_than_the_live_text_of_p_is_shown_as_far_as_it_fits() -> None:
    encoder = make_encoder(P, REPLY_TO)
    encoder.absorb(TextDelta(text="x" * 2_000_000))
    encoder.absorb(TextDelta(text="y"))
    [frame] = encoder.take(0.0)
    assert 599_000 < len(frame.data["result"]["value"]) <= 600_000
    assert encoder.due_at() is None


def test_a_tool_without_an_id_is_still_told() -> None:
    encoder = make_encoder(R, REPLY_TO)
    encoder.absorb(ToolStarted(call_id="", name="Bash"))
    encoder.absorb(ToolFinished(call_id="", output="ok", is_error=True))
    added, done = encoder.take(0.0)
    assert added.data["data"]["item"]["call_id"] == done.data["data"]["item"]["call_id"] != ""
    assert (done.data["data"]["item"]["status"], done.data["data"]["item"]["error"]) == (
        "failed",
        "ok",
    )


@PATIENT
@given(NASTY, st.integers(1, 5_000), st.integers(500, 20_000))
def test_a_cut_text_fits_and_keeps_both_ends(unit: str, times: int, room: int) -> None:
    text = unit * times
    cut = cut_text(text, room)
    assert len(Json.dumps(cut).encode()) <= room
    if cut != text:
        head, _, tail = cut.partition("\n\n[")
        assert text.startswith(head)
        assert text.endswith(tail.partition("]\n\n")[2])


def test_a_frame_measures_what_the_socket_will_carry() -> None:
    frame = Frame("task:progress", {"text": "完" * 10})
    packet = '42/local-executor,17["task:progress",' + Json.dumps(frame.data) + "]"
    assert encoded_size(frame) - len(packet.encode()) in range(12)
