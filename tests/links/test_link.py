"""Tasks over a link: told, cancelled, doubled, retried, delivered; in each dialect."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest

from executor_core.executor import Executor
from executor_core.links import outbox
from executor_core.links.device import LinkTiming, work
from executor_core.links.device.frames import MAX_PACKET_BYTES, Json
from executor_core.model import LinkState, ToolFinished, ToolStarted
from tests.links.conftest import Device, MakeDevice, MakeServer, Turn, execute
from tests.support.device_server import EMPTY, SILENCE, DeviceServer

DIALECTS = pytest.mark.parametrize("dialect", ["R", "P"])


async def begin(server: DeviceServer, device: Device, **task: Any) -> Turn:
    """A task that the agent has taken up and the server has heard of."""
    await device.until(LinkState.ONLINE)
    payload = execute(**task)
    await server.send("task:execute", payload)
    turn = await device.agent.next_turn()
    await server.until(lambda: server.of_subtask(payload["subtask_id"]))
    return turn


async def until_delivered(server: DeviceServer, device: Device) -> None:
    """The run is over and the server has said that it has its end."""

    def is_done() -> bool:
        table = device.executor.table
        return not table.entries and not table.undelivered

    await server.until(is_done)


@DIALECTS
async def test_a_task_is_answered_from_the_first_word_to_the_last(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    turn = await begin(server, device, message_id=3)
    assert device.link.status.dialect == dialect
    turn.say("Hello")
    await server.until(lambda: any("Hello" in str(seen.data) for seen in server.of_subtask(2)))
    turn.say(" world")
    turn.finish()
    end = await server.until_ended(2)
    assert "Hello world" in str(end.data)
    await until_delivered(server, device)
    assert len(server.terminals(2)) == 1
    assert server.of_subtask(2)[-1] == end
    names = {seen.event for seen in server.of_subtask(2)}
    assert all(name.startswith("task:") is (dialect == "P") for name in names)
    assert device.link._work._streams == {}


async def test_in_p_the_steps_of_the_run_stay_in_its_stored_result(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("P")
    turn = await begin(server, await make_device(server.url))
    turn.emit(ToolStarted(call_id="t1", name="Bash", input={"command": "ls"}))
    turn.emit(ToolFinished(call_id="t1", output="a.txt"))
    turn.finish(final_text="done")
    end = await server.until_ended(2)
    assert [step["details"]["type"] for step in end.data["result"]["thinking"]] == [
        "assistant",
        "user",
    ]


# --- cancel ------------------------------------------------------------------------------------


@DIALECTS
async def test_a_running_task_is_cancelled_once_and_nothing_follows(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    turn = await begin(server, device)
    turn.say("half an ans")
    for _ in range(2):
        await server.send("task:cancel", {"task_id": 1, "subtask_id": 2})
    end = await server.until_ended(2)
    assert "incomplete" in end.event or end.data["status"] == "CANCELLED"
    await until_delivered(server, device)
    assert server.terminals(2) == [end]
    assert server.of_subtask(2)[-1] == end


async def test_in_r_the_last_words_before_a_cancel_are_still_sent(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    """The server keeps what was streamed; the terminal frame of a cancel has no text."""
    server = await make_server("R")
    turn = await begin(server, await make_device(server.url))
    turn.say("one ")
    await server.until_seen("response.output_text.delta")
    turn.say("two")
    await server.send("task:cancel", {"task_id": 1, "subtask_id": 2})
    await server.until_ended(2)
    deltas = server.events("response.output_text.delta")
    assert "".join(seen.data["data"]["delta"] for seen in deltas) == "one two"


async def test_in_p_no_running_is_sent_after_a_cancel_even_if_it_was_waiting_for_its_turn(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("P")
    server.answers["task:progress"] = SILENCE
    device = await make_device(server.url)
    turn = await begin(server, device)
    turn.say("words that wait until the first progress is acknowledged")
    [stream] = device.link._work._streams.values()
    await server.until(lambda: stream._encoder.due_at() is not None)
    await server.send("task:cancel", {"task_id": 1, "subtask_id": 2})
    await server.until(lambda: device.executor.table.undelivered)
    server.release()
    end = await server.until_ended(2)
    assert [seen.data["status"] for seen in server.of_subtask(2)] == ["RUNNING", "CANCELLED"]
    assert "words that wait" in end.data["result"]["value"]


@DIALECTS
async def test_a_waiting_task_is_cancelled_without_ever_running(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    await begin(server, device)
    await server.send("task:execute", execute(1, 3, "second of the same task"))
    await server.until(lambda: len(device.states()) == 2)
    await server.send("task:cancel", {"task_id": 1, "subtask_id": 3})
    await server.until_ended(3)
    assert device.agent.begun == ["go"]


async def test_a_cancel_without_a_subtask_and_a_closed_session_end_the_whole_task(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await begin(server, device)
    await server.send("task:cancel", {"task_id": 1})
    await server.until_ended(2)
    await begin(server, device, task_id=5, subtask_id=6)
    await server.send("task:close-session", {"task_id": 5})
    assert (await server.until_ended(6)).event == "response.incomplete"


async def test_a_cancel_of_something_unknown_is_answered_in_r_and_not_in_p(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    for dialect in ("R", "P"):
        server = await make_server(dialect)
        device = await make_device(server.url)
        await device.until(LinkState.ONLINE)
        await server.send("task:cancel", {"task_id": 1, "subtask_id": 99})
        # Handled in order, so its refusal shows that the cancel was handled, too.
        await server.send("task:execute", execute(8, 9, prompt=""))
        await server.until_ended(9)
        ends = [seen.event for seen in server.terminals(99)]
        assert ends == (["response.incomplete"] if dialect == "R" else [])


async def test_a_cancel_that_overtakes_its_dispatch_prevents_the_run(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    await server.send("task:cancel", {"task_id": 1, "subtask_id": 2})
    await server.send("task:execute", execute())
    await server.until_ended(2, count=2)
    assert {seen.event for seen in server.terminals(2)} == {"response.incomplete"}
    # Only once: the next try is another one.
    await server.send("task:execute", execute(prompt="again"))
    await device.agent.next_turn()
    assert device.agent.begun == ["again"]


@DIALECTS
async def test_a_cancel_that_comes_too_late_repeats_the_same_end(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    (await begin(server, device)).finish(final_text="all done")
    first = await server.until_ended(2)
    await until_delivered(server, device)
    await server.send("task:cancel", {"task_id": 1, "subtask_id": 2})
    second = await server.until_ended(2, count=2)
    assert (second.event, second.data) == (first.event, first.data)


async def test_cancels_are_heard_while_the_server_leaves_answers_unacknowledged(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    server.answers["device:upgrade_status"] = server.answers["response.incomplete"] = SILENCE
    device = await make_device(server.url)
    await begin(server, device)
    await server.send("device:upgrade", {})
    await server.send("task:cancel", {"task_id": 7, "subtask_id": 70})
    await server.send("task:cancel", {"task_id": 1, "subtask_id": 2})
    await server.until_ended(2)
    assert server.events("device:upgrade_status")[0].data["status"] == "skipped"


# --- doubles and retries -----------------------------------------------------------------------


async def test_a_task_that_is_dispatched_twice_runs_once(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    turn = await begin(server, device)
    await server.send("task:execute", execute())
    await server.until_seen("response.created", count=2)
    turn.finish(final_text="done")
    await server.until_ended(2)
    assert device.agent.begun == ["go"]
    assert len(server.terminals(2)) == 1


@DIALECTS
async def test_a_finished_task_that_was_acknowledged_runs_again_on_a_retry(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    for attempt in ("first", "second"):
        turn = await begin(server, device, prompt=attempt)
        turn.finish(final_text=attempt)
        await until_delivered(server, device)
    assert device.agent.begun == ["first", "second"]
    assert "second" in str((await server.until_ended(2, count=2)).data)


# --- refusals ----------------------------------------------------------------------------------


async def test_what_cannot_be_done_is_refused_in_words_and_without_ids_dropped(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    await server.send("task:execute", {"prompt": "nobody could be answered"})
    await server.send("task:execute", ["not", "an", "object"])
    await server.send("task:execute", execute(1, 2, bot=[{"shell_type": "Dify"}]))
    await server.send("chat:message", execute(1, 3, prompt=""))
    refusals = [(await server.until_ended(2)).data["data"], (await server.until_ended(3)).data]
    assert refusals[0]["code"] == "agent_unknown"
    assert refusals[1]["data"]["code"] == "prompt_empty"
    assert device.agent.begun == []


async def test_a_task_that_breaks_something_of_ours_is_answered(
    make_server: MakeServer,
    make_device: MakeDevice,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    monkeypatch.setattr(Executor, "submit", broken)
    await server.send("task:execute", execute())
    assert (await server.until_ended(2)).data["data"]["code"] == "internal"
    assert "a bug" in caplog.text


async def test_every_call_of_a_new_server_is_answered_and_ten_megabytes_are_taken(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    assert (await server.ask("from:the:future", None))["success"] is False
    assert (await server.ask("device:sync_capabilities", {"skills": []}))["success"] is True
    capacity = await server.ask("runtime:rpc", {"method": "runtime.capacity.get"})
    assert capacity == {"limit": 2, "active": 0, "active_task_ids": [], "queued": 0}
    prompt = "x" * 10_000_000
    assert (await server.ask("task:execute", execute(prompt=prompt)))["success"] is True
    assert (await device.agent.next_turn()).assignment.prompt == prompt


# --- delivery ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "meant"), [("P", "R"), ("R", "P")])
async def test_an_empty_acknowledgement_disproves_the_dialect(
    make_server: MakeServer, make_device: MakeDevice, said: str, meant: str
) -> None:
    """The probes were answered by another generation than the one that takes the result."""
    server = await make_server(said)
    device = await make_device(server.url)
    turn = await begin(server, device)
    server.dialect = meant
    turn.finish(final_text="done")
    await until_delivered(server, device)
    ends = [seen.event for seen in server.terminals(2)]
    assert ends[0].startswith("task:") is (said == "P")
    assert ends[1].startswith("task:") is (meant == "P")
    assert device.link.status.dialect == meant


async def test_without_an_answer_to_the_probes_both_stories_are_told_until_one_is_taken(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("none")
    device = await make_device(server.url)
    turn = await begin(server, device)
    assert device.link.status.dialect == "?"
    await server.until(lambda: {seen.event for seen in server.of_subtask(2)} >= {
        "response.created", "task:progress"
    })  # fmt: skip
    server.dialect = "P"
    turn.finish(final_text="done")
    await until_delivered(server, device)
    assert device.link.status.dialect == "P"


async def test_a_server_that_will_never_take_a_result_ends_its_delivery(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("P")
    server.answers["task:complete"] = {"error": "Subtask not found"}
    device = await make_device(server.url)
    (await begin(server, device)).finish()
    await until_delivered(server, device)
    await device.link.stop()
    [row] = await device.executor.history(1)
    assert (row.awaits_delivery, row.delivery_error) == (False, "Subtask not found")


async def test_a_server_that_forgot_the_device_is_registered_with_again_and_then_delivered_to(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    refusal = {"error": "Not authenticated or not registered"}
    server.answers["response.completed"] = deque([refusal])
    device = await make_device(server.url)
    (await begin(server, device)).finish(final_text="kept")
    await until_delivered(server, device)
    assert len(server.terminals(2)) == 2
    assert len(server.events("device:register")) == 2


async def test_one_result_that_is_never_acknowledged_does_not_hold_up_the_others(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    server.answers["response.completed"] = deque([SILENCE])
    device = await make_device(server.url)
    first = await begin(server, device, task_id=1, subtask_id=2)
    second = await begin(server, device, task_id=3, subtask_id=4)
    first.finish(final_text="poisoned")
    await server.until_ended(2)
    second.finish(final_text="fine")
    await server.until_ended(4)
    await server.until(lambda: len(device.executor.table.undelivered) == 1)
    assert len(server.terminals(2)) == 1


@DIALECTS
async def test_a_result_that_is_not_acknowledged_stays_and_is_sent_again(
    make_server: MakeServer, make_device: MakeDevice, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "TERMINAL_LIMIT_S", 0.05)
    monkeypatch.setattr(outbox, "RETRY_S", 0.1)
    server = await make_server(dialect)
    end = "task:complete" if dialect == "P" else "response.completed"
    server.answers[end] = deque([SILENCE])
    device = await make_device(server.url)
    (await begin(server, device)).finish(final_text="kept")
    again = await server.until_ended(2, count=2)
    assert "kept" in str(again.data)
    await until_delivered(server, device)
    assert len(server.events("device:register")) == 1


async def test_nothing_larger_than_a_packet_leaves_and_the_link_stays(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    # Heartbeats have their usual time: to make and to read all this holds the one loop of both.
    device = await make_device(server.url, timing=LinkTiming())
    turn = await begin(server, device)
    turn.say("中" * 2_000_000)
    turn.emit(ToolStarted(call_id="t", name="Write", input={"content": '"\\' * 2_000_000}))
    turn.emit(ToolFinished(call_id="t", output="\x00" * 1_000_000))
    turn.finish()
    await server.until_ended(2)
    await until_delivered(server, device)
    sizes = [len(Json.dumps(seen.data).encode()) for seen in server.of_subtask(2)]
    assert max(sizes) <= MAX_PACKET_BYTES
    assert max(sizes) > MAX_PACKET_BYTES - 10_000
    assert len(server.events("device:register")) == 1


async def test_results_of_another_server_or_account_stay_at_home(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url, with_link=False)
    from executor_core.errors import ExecutorError
    from executor_core.links.device.payload import parse_execute

    problem = ExecutorError("prompt_empty").message
    for origin, account, subtask_id in (
        ("origin", "17", 1), ("origin", "18", 2), ("elsewhere", "17", 3), ("origin", "", 4),
    ):  # fmt: skip
        payload = execute(1, subtask_id, user=None)
        request, _ = parse_execute(payload, origin, account)
        await device.executor.refuse(request, problem)
    await device.link.start()
    await server.until(lambda: len(device.executor.table.undelivered) == 2)
    assert {seen.data["subtask_id"] for seen in server.events("error")} == {1, 4}


async def test_the_disk_failing_for_a_while_does_not_end_the_deliveries(
    make_server: MakeServer, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    from executor_core.errors import ExecutorError

    server = await make_server("R")
    device = await make_device(server.url)
    turn = await begin(server, device)
    reads = Executor.undelivered
    failures = [1]

    async def failing(executor: Executor, source: Any) -> Any:
        if failures:
            failures.pop()
            raise ExecutorError("journal_failed", path="x", reason="disk")
        return await reads(executor, source)

    monkeypatch.setattr(Executor, "undelivered", failing)
    device.link._work._outbox.look_again()
    await server.until(lambda: not failures)
    turn.finish(final_text="kept")
    await server.until_ended(2)
    assert len(server.events("device:register")) == 1


async def test_half_an_emoji_from_the_agent_arrives_as_a_question_mark(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    turn = await begin(server, await make_device(server.url))
    try:
        turn.say("cut \ud83d here")
    except UnicodeEncodeError:
        pytest.skip("the event file does not take it")
    turn.finish()
    await server.until_ended(2)
    assert "cut ? here" in str(server.events("response.output_text.delta")[0].data)


async def test_empty_acknowledgements_of_the_story_do_not_stop_it(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    server.answers["response.output_text.delta"] = EMPTY
    turn = await begin(server, await make_device(server.url))
    for number in range(40):
        turn.say(f"{number} ")
        turn.emit(ToolStarted(call_id=f"t{number}", name="Read"))
    turn.finish()
    await server.until_ended(2)
    told = "".join(
        seen.data["data"]["delta"] for seen in server.events("response.output_text.delta")
    )
    assert told == "".join(f"{number} " for number in range(40))


async def test_what_arrives_is_bounded(
    make_server: MakeServer, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    held = asyncio.Event()
    inner = device.link._work
    monkeypatch.setitem(inner._handlers, "task:close-session", lambda _data: held.wait())
    inner.on_server_event("task:close-session", {"task_id": 1})
    await asyncio.sleep(0)
    answers = [inner.on_server_event("task:cancel", {}) for _ in range(1_001)]
    assert answers[999] == {"success": True}
    assert answers[1_000] == {"success": False, "error": "busy"}
    held.set()


async def test_the_outbox_is_not_read_for_outcomes_that_are_handed_to_it(
    make_server: MakeServer, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    turns = [await begin(server, device), await begin(server, device, task_id=3, subtask_id=4)]
    reads: list[Any] = []
    monkeypatch.setattr(Executor, "undelivered", lambda *asked: reads.append(asked))
    for number, turn in zip((2, 4), turns, strict=True):
        turn.finish(final_text="done")
        await server.until_ended(number)
    await until_delivered(server, device)
    assert not reads
