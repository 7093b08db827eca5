"""What the servers of August 2026 do differently: frames in any order, and what people see then."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from packaging.version import InvalidVersion, parse

from executor_core.links.device import LinkTiming, Registration
from executor_core.links.device.payload import parse_execute
from executor_core.links.device.server_socket import CALL_LIMIT_S, LinkLostError, ServerSocket
from executor_core.links.device.story import Dialect, RunStream
from executor_core.model import (
    LinkState,
    Notice,
    ReasoningDelta,
    ToolFinished,
    ToolStarted,
)
from tests.links.conftest import MakeDevice, MakeServer, execute
from tests.links.test_link import begin, until_delivered
from tests.support.clock import JumpingClock
from tests.support.device_server import SILENCE

ROUNDS = 8


@pytest.mark.parametrize("seed", range(3))
async def test_eight_rounds_of_think_say_tool_are_stored_in_order_with_no_card_pending(
    make_server: MakeServer, make_device: MakeDevice, seed: int
) -> None:
    server = await make_server("R")
    server.in_any_order = random.Random(seed)
    device = await make_device(server.url)
    turn = await begin(server, device)
    expected = []
    for number in range(ROUNDS):
        turn.emit(ReasoningDelta(text=f"thought {number}"))
        turn.say(f"I say {number}. ")
        turn.say(f"And {number} more.")
        turn.emit(ToolStarted(call_id=f"t{number}", name="Bash", input={"command": "ls"}))
        turn.emit(ToolFinished(call_id=f"t{number}", output="a.txt"))
        expected += [f"thinking thought {number}", f"text I say {number}. And {number} more."]
        expected += ["tool Bash done"]
    turn.say("It works.")
    turn.finish()
    end = await server.until_ended(2)
    assert server.blocks.story(2) == [*expected, "text It works."]
    told = "".join(s.data["data"]["delta"] for s in server.events("response.output_text.delta"))
    assert told == end.data["data"]["response"]["output"][0]["content"][0]["text"]


async def test_frames_of_different_runs_do_not_wait_for_each_other(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    silent = await begin(server, device)
    await server.until_seen("response.created")
    other = await begin(server, device, task_id=5, subtask_id=6)
    held = asyncio.Event()
    usual = server._event

    async def hold_one(event: str, sid: str, *args: Any) -> Any:
        if event == "response.output_text.delta" and args[0]["subtask_id"] == 2:
            await held.wait()
        return await usual(event, sid, *args)

    server._socketio.on("*", hold_one, namespace="/local-executor")
    silent.say("held back by the server")
    other.say("free")
    other.finish()
    await server.until_ended(6)
    held.set()
    silent.finish()
    await server.until_ended(2)


async def test_six_hundred_kilobytes_are_shown_whole_while_they_come(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    """The bound is for a link that is away; here it is merely slower than the agent."""
    server = await make_server("R")
    turn = await begin(server, await make_device(server.url))
    words = [f"{number:06} " * 1_000 for number in range(86)]
    for word in words:
        turn.say(word)
    await server.until(lambda: "".join(w["content"] for w in server.blocks.of(2)) == "".join(words))
    turn.finish()
    await server.until_ended(2)


async def test_a_card_whose_end_was_lost_with_the_link_ends_with_the_next_one(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    server.answers["response.output_item.done"] = SILENCE
    turn = await begin(server, await make_device(server.url))
    turn.emit(ToolStarted(call_id="t", name="Bash", input={"command": "ls"}))
    turn.emit(ToolFinished(call_id="t", output="a.txt"))
    await server.until_seen("response.output_item.done")
    server.answers.clear()
    await server.kick_transport()
    await server.until(lambda: server.blocks.story(2) == ["tool Bash done"])
    assert len(server.events("response.output_item.added")) == 1


# --- a run that waits --------------------------------------------------------------------------


async def test_a_run_that_waits_for_a_place_says_so_and_nothing_of_it_stays(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    first = await begin(server, device, task_id=1, subtask_id=2)
    await begin(server, device, task_id=3, subtask_id=4)
    await server.send("task:execute", execute(5, 6))
    await server.send("task:execute", execute(7, 8))
    await server.until(lambda: "before this one: 0" in str(server.blocks.story(6)))
    await server.until(lambda: "before this one: 1" in str(server.blocks.story(8)))
    # At this one pages begin the message anew.
    assert server.of_subtask(6)[0].event == "response.created"
    first.finish()
    third = await device.agent.next_turn()
    await server.until(lambda: server.blocks.of(6) == [])
    await server.until(lambda: "before this one: 0" in str(server.blocks.story(8)))
    third.say("At last.")
    await server.until(lambda: server.blocks.story(6) == ["text At last."])


@pytest.mark.parametrize("dialect", ["R", "P"])
async def test_a_paused_device_tells_server_and_chat(
    make_server: MakeServer, make_device: MakeDevice, dialect: str
) -> None:
    server = await make_server(dialect)
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    device.executor.pause()
    status = await server.until_seen("device:status")
    assert status.data == {"device_id": "hw-1", "status": "busy"}
    await server.send("task:execute", execute())
    await server.until(lambda: "paused" in str([seen.data for seen in server.of_subtask(2)]))
    device.executor.resume()
    turn = await device.agent.next_turn()
    assert (await server.until_seen("device:status", count=2)).data["status"] == "online"
    turn.finish(final_text="done")
    end = await server.until_ended(2)
    assert "paused" not in str(end.data)
    assert server.blocks.of(2) == []


async def test_a_device_that_leaves_says_at_once_that_it_takes_nothing(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url, timing=LinkTiming(heartbeat_interval_s=1_000.0))
    await begin(server, device)
    await server.until(lambda: server.events("device:heartbeat")[-1].data["running_task_ids"])
    device.executor.drain()
    assert (await server.until_seen("device:status")).data["status"] == "busy"


async def test_a_second_message_of_a_conversation_says_what_it_waits_for(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    await begin(server, await make_device(server.url))
    await server.send("task:execute", execute(1, 3))
    await server.until(lambda: "this conversation is still at work" in str(server.blocks.of(3)))


def test_the_reason_is_told_anew_in_another_dialect() -> None:
    request, _ = parse_execute(execute(), "origin")
    stream = RunStream(request, Dialect.BOTH, JumpingClock())
    stream.wait_for("The device is paused.")
    stream._encoder.take(0.0)
    stream.resume(Dialect.RESPONSES)
    assert "The device is paused." in str(stream._encoder.take(0.0))


async def test_progress_of_ours_is_not_stored_as_a_thought(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    turn = await begin(server, await make_device(server.url))
    turn.emit(Notice(code="fetching", text="Fetching what the task brings."))
    await server.until(lambda: server.blocks.of(2))
    turn.emit(ReasoningDelta(text="Let me see."))
    turn.say("Done.")
    turn.finish()
    await server.until_ended(2)
    assert server.blocks.story(2) == ["thinking Let me see.", "text Done."]


# --- nothing vanishes --------------------------------------------------------------------------


async def test_every_dispatch_and_cancel_of_a_flood_is_answered(
    make_server: MakeServer, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor_core.links.device.work.MAX_INBOX", 20)
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    held = asyncio.Event()
    work = device.link._work
    monkeypatch.setitem(work._handlers, "task:close-session", lambda _data: held.wait())
    work.on_server_event("task:close-session", {"task_id": 1})
    await asyncio.sleep(0)
    for number in range(100, 150):
        work.on_server_event("task:execute", execute(number, number, prompt="x" * 100_000))
    for number in range(130, 160):
        work.on_server_event("task:cancel", {"task_id": number, "subtask_id": number})
    waiting: Any = work._inbox
    assert sum(len(str(data)) > 1_000 for _, data in waiting._queue) <= 20
    held.set()
    for number in range(120, 160):
        await server.until_ended(number)
    refusal = server.terminals(120)[0].data["data"]
    assert refusal["code"] == "queue_full"
    assert server.terminals(159)[0].event == "response.incomplete"


@pytest.mark.parametrize(
    "words", ["Invalid or expired token", "Invalid state", "Subtask is locked", "Missing session"]
)
async def test_only_a_refusal_of_this_very_result_lets_go_of_it(
    make_server: MakeServer, make_device: MakeDevice, words: str
) -> None:
    server = await make_server("R")
    server.answers["response.completed"] = {"error": words}
    device = await make_device(server.url)
    (await begin(server, device)).finish(final_text="precious")
    await server.until_ended(2)
    await asyncio.sleep(0)
    assert device.executor.table.undelivered
    server.answers.clear()
    await server.kick_transport()
    await until_delivered(server, device)
    assert "precious" in str(server.terminals(2)[-1].data)


@pytest.mark.parametrize(
    "words",
    [
        "Subtask not found",
        "Subtask 2 not found",
        "Subtask does not belong to this device",
        "Missing subtask_id",
        "Missing task_id or subtask_id",
        "Invalid payload: text",
    ],
)
async def test_a_final_refusal_of_a_result_ends_its_delivery(
    make_server: MakeServer, make_device: MakeDevice, words: str
) -> None:
    server = await make_server("R")
    server.answers["response.completed"] = {"error": words}
    device = await make_device(server.url)
    (await begin(server, device)).finish(final_text="unwanted")
    await until_delivered(server, device)
    assert len(server.terminals(2)) == 1


# --- the times of the product ------------------------------------------------------------------


class SilentAfterOne(ServerSocket):
    """The first heartbeat is acknowledged, and nothing ever again."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(lambda _event, _data: None)
        self._clock = clock
        self.acked_at: float | None = None

    async def call(self, event: str, data: dict[str, Any], limit_s: float = CALL_LIMIT_S) -> Any:
        if self.acked_at is None:
            self.acked_at = self._clock.monotonic()
            return {"success": True}
        await self._clock.sleep(limit_s)
        raise TimeoutError


async def test_a_silent_server_is_given_the_ninety_seconds_that_the_option_says(
    make_device: MakeDevice,
) -> None:
    clock = JumpingClock()
    device = await make_device("http://127.0.0.1:1", timing=LinkTiming(), with_link=False)
    device.link._clock = clock
    connection = SilentAfterOne(clock)
    async with clock.jumping():
        with pytest.raises(LinkLostError):
            await device.link._heartbeats(connection)
    assert connection.acked_at is not None
    assert 90 <= clock.monotonic() - connection.acked_at <= 90 + CALL_LIMIT_S


class NoSecondRegistration(ServerSocket):
    """Acknowledges heartbeats, but not the first registration that is repeated."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(lambda _event, _data: None)
        self._clock = clock
        self.asked: list[float] = []

    async def call(self, event: str, data: dict[str, Any], limit_s: float = CALL_LIMIT_S) -> Any:
        if event == "device:register":
            self.asked.append(self._clock.monotonic())
            if len(self.asked) == 1:
                await self._clock.sleep(limit_s)
                raise TimeoutError
            raise LinkLostError("seen enough")
        return {"success": True}


async def test_a_registration_that_is_repeated_late_ends_no_link_that_has_its_heartbeats(
    make_device: MakeDevice,
) -> None:
    clock = JumpingClock()
    device = await make_device("http://127.0.0.1:1", timing=LinkTiming(), with_link=False)
    device.link._clock = clock
    device.link._work.dialect = Dialect.PROGRESS
    connection = NoSecondRegistration(clock)
    async with clock.jumping():
        with pytest.raises(LinkLostError, match="seen enough"):
            await device.link._heartbeats(connection)
    assert connection.asked[1] - connection.asked[0] <= 2 * CALL_LIMIT_S


def test_servers_find_no_update_for_us_whatever_their_own_newest_release_is() -> None:
    """As they decide it: what is not a version of the usual form is compared with nothing."""
    told = Registration(device_id="d", name="n", version="0.1.0").executor_version
    assert told.startswith("0.1.0")
    with pytest.raises(InvalidVersion):
        parse(told)
