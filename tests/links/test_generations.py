"""What servers of each generation ask, and what they must be told or must never be told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from executor_core.clock import SystemClock
from executor_core.links.device.frames import MAX_PACKET_BYTES, Json
from executor_core.model import (
    LinkState,
    ReasoningDelta,
    RunState,
    SessionStarted,
    ToolFinished,
    ToolStarted,
)
from executor_core.texts import Message
from tests.links.conftest import QUICK, Device, MakeDevice, MakeServer, Turn, execute
from tests.links.test_link import begin, until_delivered
from tests.support.device_server import DeviceServer

DIALECTS = pytest.mark.parametrize("dialect", ["R", "P"])
HEARD = {"device:register", "device:heartbeat", "device:upgrade_status"}
HEARD_IN = {
    "P": HEARD | {"task:progress", "task:complete"},
    "R": HEARD
    | {
        "response.created",
        "response.output_text.delta",
        "response.reasoning_summary_part.added",
        "response.output_item.added",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
        "error",
    },
}
"""What a server of each dialect does something with; everything else is lost without a word."""
IDS = ("task_id", "subtask_id")


def use_tool(turn: Turn) -> None:
    turn.emit(ToolStarted(call_id="t1", name="Bash", input={"command": "ls"}))
    turn.emit(ToolFinished(call_id="t1", output="a.txt"))


def step_kinds(frame: Any) -> list[str]:
    return [step["details"]["type"] for step in frame.data["result"]["thinking"]]


async def told_everything(server: DeviceServer, device: Device) -> None:
    """A run of every end, with everything in between."""
    turns = [await begin(server, device, task_id=n, subtask_id=n) for n in (1, 2)]
    for turn in turns:
        turn.emit(ReasoningDelta(text="Let me see."))
        use_tool(turn)
        turn.say("Words.")
        turn.emit(ToolStarted(call_id="t2", name="Bash", input={"command": "sleep 9"}))
    await server.until(lambda: "sleep 9" in str(server.seen))
    turns[0].finish()
    await server.send("task:cancel", {"task_id": 2, "subtask_id": 2})
    await server.send("device:upgrade", {})
    for subtask_id in (1, 2):
        await server.until_ended(subtask_id)
    failing = await begin(server, device, task_id=3, subtask_id=3)
    failing.finish(error=Message(code="x", given_title="No."))
    await server.until_ended(3)
    await server.until_seen("device:upgrade_status")


async def test_servers_before_v1_7_12_find_the_result_of_a_tool_where_they_look_for_it(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    """They end its card with the first word that its arguments are complete."""
    server = await make_server("R")
    server.is_v2 = False
    turn = await begin(server, await make_device(server.url))
    use_tool(turn)
    turn.finish()
    await server.until_ended(2)
    [complete] = server.events("response.function_call_arguments.done")
    assert complete.data["data"] == {
        "type": "response.function_call_arguments.done",
        "call_id": "t1",
        "item_id": "t1",
        "arguments": '{"command":"ls"}',
        "output": "a.txt",
    }
    assert server.blocks.story(2) == ["tool Bash done"]


# --- names and shapes --------------------------------------------------------------------------


@DIALECTS
async def test_nothing_is_sent_under_a_name_that_the_server_does_not_hear(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    """Neither the names of the prototype nor those that the first executors sent in vain."""
    server = await make_server(dialect)
    await told_everything(server, await make_device(server.url))
    told = {seen.event for seen in server.seen if seen.data}
    assert told == HEARD_IN[dialect]


@DIALECTS
async def test_no_frame_has_a_field_that_means_something_else_in_another_generation(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    """With `data` a frame of P would be one of R; with `local_task_id` one of R is no chat's."""
    server = await make_server(dialect)
    await told_everything(server, await make_device(server.url))
    bodies = [seen.data for seen in server.seen if seen.data and seen.event not in HEARD]
    assert all(("data" in body) is (dialect == "R") for body in bodies)
    assert all("local_task_id" not in body for body in bodies)
    assert all(isinstance(body[name], int) for body in bodies for name in IDS)
    statuses = {body["status"] for body in bodies if "status" in body}
    expected = {"RUNNING", "COMPLETED", "CANCELLED", "FAILED"}
    assert statuses == (expected if dialect == "P" else set())


@DIALECTS
async def test_no_registration_or_heartbeat_names_an_instance(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    """Servers that were told one refuse every heartbeat that does not repeat it."""
    server = await make_server(dialect)
    await make_device(server.url)
    await server.until_seen("device:heartbeat", count=2)
    told = server.events("device:register", "device:heartbeat")
    assert all("runtime_instance_id" not in seen.data for seen in told)


async def test_numbers_that_came_as_words_go_back_as_numbers(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    await server.send("task:execute", execute() | {"task_id": "1", "subtask_id": "2"})
    turn = await device.agent.next_turn()
    await server.until(lambda: any(beat.data["running_task_ids"] == [1] for beat in beats(server)))
    turn.finish()
    assert [(await server.until_ended(2)).data[name] for name in IDS] == [1, 2]


def beats(server: DeviceServer) -> Iterable[Any]:
    return server.events("device:heartbeat")


# --- follow-ups and closed sessions ------------------------------------------------------------


@DIALECTS
@pytest.mark.parametrize("event", ["task:execute", "chat:message"])
async def test_a_follow_up_is_another_message_of_the_same_task(
    make_server: MakeServer, make_device: MakeDevice, dialect: str, event: str
) -> None:
    """It waits for the one before it, and goes on with its session."""
    server = await make_server(dialect)
    device = await make_device(server.url)
    first = await begin(server, device)
    first.emit(SessionStarted(session_id="s1"))
    await server.send(event, execute(1, 3, "and now"))
    await server.until(lambda: device.states() == [RunState.RUNNING, RunState.QUEUED])
    first.finish(final_text="one")
    second = await device.agent.next_turn()
    assert (second.assignment.prompt, second.assignment.session_id) == ("and now", "s1")
    second.finish(final_text="two")
    assert "two" in str((await server.until_ended(3)).data)
    assert len(server.terminals(2)) == len(server.terminals(3)) == 1
    await server.send("task:execute", execute(1, 4, "anew", new_session=True))
    third = await device.agent.next_turn()
    assert third.assignment.session_id is None


@DIALECTS
async def test_a_closed_session_ends_the_task_frees_its_slot_and_says_so_at_once(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    turn = await begin(server, device, task_id=5, subtask_id=6)
    turn.say("half")
    await server.send("task:execute", execute(5, 7, "waits"))
    await server.until(lambda: len(device.states()) == 2)
    assert (await server.ask("task:close-session", {"task_id": 5}))["success"] is True
    for subtask_id in (6, 7):
        end = await server.until_ended(subtask_id)
        assert "incomplete" in end.event or end.data["status"] == "CANCELLED"
    await until_delivered(server, device)
    await server.until(lambda: server.events("device:heartbeat")[-1].data["running_task_ids"] == [])
    assert device.agent.begun == ["go"]
    # One of a task that is not there is taken as well, and nothing is owed for it.
    told = len(server.events())
    assert (await server.ask("task:close-session", {"task_id": 99}))["success"] is True
    await server.until_seen("device:heartbeat", count=len(server.events("device:heartbeat")) + 2)
    assert len(server.events()) == told


@DIALECTS
async def test_a_cancel_that_names_no_subtask_ends_all_of_the_task_and_nothing_else(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    await begin(server, device)
    other = await begin(server, device, task_id=8, subtask_id=9)
    await server.send("task:cancel", {"task_id": 1})
    await server.until_ended(2)
    other.finish(final_text="unharmed")
    assert "unharmed" in str((await server.until_ended(9)).data)


# --- calls into the device ---------------------------------------------------------------------

CALLS: dict[str, Any] = {
    "device:sync_capabilities": {"mode": "replace", "skills": [{"id": 1}]},
    "device:execute_command": {"command": "id", "argv": ["id"], "timeout_seconds": 600},
    "device:start_terminal_session": {"path": "/"},
    "device:start_code_server_session": {"path": "/"},
    "device:run_extension": {"name": "x"},
    "terminal:attach": {"session_id": "s"},
    "terminal:input": {"session_id": "s", "data": "id\n"},
    "terminal:resize": {"session_id": "s"},
    "terminal:close": {"session_id": "s"},
    "runtime:rpc": {"method": "runtime.tasks.create", "payload": {}},
    "from:the:future": {},
}


@pytest.mark.parametrize("event", CALLS)
async def test_a_call_is_answered_at_once_while_everything_else_waits(
    make_server: MakeServer, make_device: MakeDevice, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    held = asyncio.Event()
    monkeypatch.setitem(
        device.link._work._handlers, "task:close-session", lambda _data: held.wait()
    )
    await server.send("task:close-session", {"task_id": 1})
    reply = await server.ask(event, CALLS[event])
    assert reply["success"] is False
    assert reply["error"]
    held.set()
    # And it stands in nobody's way: the next cancel is heard.
    await begin(server, device)
    await server.send("task:cancel", {"task_id": 1, "subtask_id": 2})
    await server.until_ended(2)


@pytest.mark.parametrize("event", ["terminal:input", "from:the:future", "device:status"])
async def test_what_we_never_heard_of_is_unsupported(
    make_server: MakeServer, make_device: MakeDevice, event: str
) -> None:
    server = await make_server("R")
    await (await make_device(server.url)).until(LinkState.ONLINE)
    assert await server.ask(event, {}) == {"success": False, "error": "unsupported"}


# --- steps that outlive the story --------------------------------------------------------------


async def test_in_p_the_steps_survive_a_restart_of_the_device(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("P")
    first = await make_device(server.url)
    turn = await begin(server, first)
    use_tool(turn)
    port = server.port
    await server.stop()
    turn.finish(final_text="kept on disk")
    await first.stop(flush_s=0)
    folder = first.journal._path.parent
    second = Device(folder, f"http://127.0.0.1:{port}", QUICK, SystemClock())
    await second.start()
    try:
        await server.start()
        end = await server.until_ended(2)
    finally:
        await second.stop()
    assert end.data["result"]["value"] == "kept on disk"
    assert step_kinds(end) == ["assistant", "user"]


async def test_in_p_the_steps_survive_a_cancel_that_comes_too_late(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    """The server stores the repeated end as it stands, in place of the first."""
    server = await make_server("P")
    device = await make_device(server.url)
    turn = await begin(server, device)
    use_tool(turn)
    turn.finish(final_text="done")
    first = await server.until_ended(2)
    await until_delivered(server, device)
    await server.send("task:cancel", {"task_id": 1, "subtask_id": 2})
    second = await server.until_ended(2, count=2)
    assert step_kinds(second) == ["assistant", "user"]
    assert second.data == first.data


async def test_in_p_the_steps_survive_a_server_that_turns_out_to_be_of_that_kind(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    turn = await begin(server, device)
    use_tool(turn)
    await server.until_seen("response.output_item.done")
    server.dialect = "P"
    turn.finish(final_text="done")
    await until_delivered(server, device)
    assert step_kinds(server.terminals(2)[-1]) == ["assistant", "user"]


async def test_a_lost_event_file_costs_the_steps_and_not_the_result(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("P")
    device = await make_device(server.url)
    turn = await begin(server, device)
    use_tool(turn)
    turn.finish(final_text="done")
    await until_delivered(server, device)
    for file in device.journal._path.parent.rglob("events.jsonl"):
        file.unlink()
    await server.send("task:cancel", {"task_id": 1, "subtask_id": 2})
    again = await server.until_ended(2, count=2)
    assert again.data["result"] == {"value": "done", "thinking": [], "workbench": None}


# --- sizes, over a real socket -----------------------------------------------------------------


def whole_text(end: Any, dialect: str) -> str:
    if dialect == "P":
        return str(end.data["result"]["value"])
    [content] = end.data["data"]["response"]["output"][0]["content"]
    return str(content["text"])


@DIALECTS
async def test_eight_hundred_kilobytes_of_chinese_arrive_whole(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    turn = await begin(server, device)
    words = "中文测试" * 66_600
    for start in range(0, len(words), 20_000):
        turn.say(words[start : start + 20_000])
        await asyncio.sleep(0)
    turn.finish()
    assert len(words.encode()) > 799_000
    assert whole_text(await server.until_ended(2), dialect) == words
    assert len(server.events("device:register")) == 1


@DIALECTS
async def test_three_megabytes_arrive_cut_with_a_sentence_and_the_link_stays(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    turn = await begin(server, device)
    for _ in range(50):
        turn.say("中" * 20_000)
        await asyncio.sleep(0)
    turn.say("THE END")
    turn.finish()
    told = whole_text(await server.until_ended(2), dialect)
    await until_delivered(server, device)
    assert "1000007 characters was left out" in told
    assert told.endswith("THE END")
    sizes = [len(Json.dumps(seen.data).encode()) for seen in server.of_subtask(2)]
    assert 850_000 < max(sizes) <= MAX_PACKET_BYTES
    assert len(server.events("device:register")) == 1
    assert device.link.status.state is LinkState.ONLINE
