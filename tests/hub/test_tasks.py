"""Dispatch, answers and their ends, in both dialects, seen through REST."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import Any
from urllib.parse import quote

import pytest

from executor_core.hub import Dialect
from executor_core.hub.hub import MONITOR_S
from executor_core.hub.sockets import DISCONNECT_GRACE_S
from executor_core.hub.store import Json
from tests.hub.conftest import TOKEN, Device, MakeWorld, World
from tests.hub.test_sockets import _hung_up

DEEP: Any = json.loads("[" * 60 + "]" * 60)


async def _dispatched(world: World, **more: Any) -> tuple[Device, Any, int]:
    device = await world.registered()
    task = await world.owner.create("say hello 你好", **more)
    return device, await device.received("task:execute"), task["id"]


# --- dispatch ------------------------------------------------------------------------------------


async def test_a_task_reaches_the_device_in_the_new_shape(world: World) -> None:
    _device, sent, task_id = await _dispatched(world, agent="codex")
    assert (sent["task_id"], sent["prompt"], sent["device_id"]) == (
        task_id,
        "say hello 你好",
        "hw-1",
    )
    assert sent["bot"][0]["shell_type"] == "CodeX"
    assert sent["model_config"] == {}
    assert sent["user"]["id"] == sent["user_id"] == 1
    assert sent["message_id"] == 2
    assert sent["user_subtask_id"] == sent["subtask_id"] - 1
    assert sent["backend_url"] == world.base


async def test_a_task_reaches_the_device_in_the_old_shape(old_world: World) -> None:
    _device, sent, _task_id = await _dispatched(
        old_world, payload={"model_config": {"model_id": "m"}}
    )
    assert sent["executor_name"] == "device-hw-1"
    assert sent["status"] == "RUNNING"
    assert "subtask_next_id" in sent
    assert "model_config" not in sent
    assert sent["bot"][0]["agent_config"] == {"env": {"model_id": "m"}}


async def test_extra_fields_cannot_change_who_and_what_is_meant(world: World) -> None:
    extra = {"task_id": 99, "user": {"id": 7}, "model_config": {"model_id": "m"}}
    _device, sent, task_id = await _dispatched(world, payload=extra)
    assert (sent["task_id"], sent["user"]["id"]) == (task_id, 1)
    assert sent["model_config"] == {"model_id": "m"}


async def test_a_model_key_is_not_written_to_disk(world: World) -> None:
    await _dispatched(world, payload={"model_config": {"api_key": "sk-very-secret"}})
    for path in world._database.parent.glob("hub.db*"):
        assert b"sk-very-secret" not in path.read_bytes()


@pytest.mark.parametrize(
    ("field", "value"),
    [("bot", "x"), ("bot", {}), ("bot", None), ("bot", [1]), ("history", DEEP)],
)
async def test_a_field_of_the_owners_that_cannot_be_sent_is_named_and_no_task_is_made(
    old_world: World, field: str, value: Any
) -> None:
    device = await old_world.registered()
    good: dict[str, Any] = {"model_config": {"model": "m"}, "bot": []}
    body = {"prompt": "x", "payload": good | {field: value}}
    refused = await old_world.owner.call("POST", "/api/tasks", body, status=400)
    assert f"payload.{field}" in refused["detail"]
    assert (await old_world.owner.call("GET", "/api/tasks"))["items"] == []
    await old_world.owner.create(payload=good)
    assert (await device.received("task:execute"))["task_id"]


async def test_an_offline_device_is_a_clear_error_and_no_task(world: World) -> None:
    answer = await world.owner.call("POST", "/api/tasks", {"prompt": "x"}, status=409)
    assert answer["error"]["code"] == "no_device"
    device = await world.registered()
    await device.close()
    await _hung_up(world)
    await world.clock.advance(90)
    answer = await world.owner.call("POST", "/api/tasks", {"prompt": "x"}, status=409)
    assert answer["error"]["code"] == "device_offline"
    assert "Linux - hw-1" in answer["detail"]
    assert (await world.owner.call("GET", "/api/tasks"))["items"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"prompt": "  "}, 400),
        ({"prompt": 7}, 400),
        ({"prompt": "x" * 200_001}, 400),
        ({"prompt": "x", "agent": "a b"}, 400),
        ({"prompt": "x", "payload": []}, 400),
        ({"prompt": "x", "device_id": "other"}, 404),
    ],
)
async def test_a_bad_task_is_refused(world: World, body: Any, status: int) -> None:
    await world.registered()
    await world.owner.call("POST", "/api/tasks", body, status=status)


async def test_a_follow_up_is_the_same_task_with_a_new_subtask(world: World) -> None:
    device, first, task_id = await _dispatched(world)
    messages = f"/api/tasks/{task_id}/messages"
    refused = await world.owner.call("POST", messages, {"prompt": "more"}, status=409)
    assert refused["error"]["code"] == "task_running"
    await device.complete(first, "hello")
    await world.owner.call("POST", messages, {"prompt": "more"})
    second = await device.received("task:execute")
    assert second["task_id"] == task_id
    assert second["subtask_id"] > first["subtask_id"]
    assert second["message_id"] == 4
    shown = await world.owner.task(task_id)
    assert [each["text"] for each in shown["messages"]] == ["say hello 你好", "hello", "more", ""]


# --- dialect R -----------------------------------------------------------------------------------


async def test_text_grows_and_the_end_replaces_it(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    ok = {"success": True}
    assert await device.respond(sent, "response.created") == ok
    for delta in ("Hel", "lo 你", "好"):
        assert await device.respond(sent, "response.output_text.delta", delta=delta) == ok
    assert (await world.owner.answer(task_id))["text"] == "Hello 你好"
    assert await device.complete(sent, "Hello, whole.") == ok
    answer = await world.owner.answer(task_id)
    assert (answer["status"], answer["text"]) == ("COMPLETED", "Hello, whole.")
    assert answer["usage"] == {"input_tokens": 1, "output_tokens": 2}
    assert (await world.owner.task(task_id))["status"] == "COMPLETED"


async def test_an_empty_end_erases_the_text(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    await device.respond(sent, "response.output_text.delta", delta="gone")
    await device.complete(sent, "")
    assert (await world.owner.answer(task_id))["text"] == ""


async def test_an_error_fails_the_task_in_words_and_keeps_the_text(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    await device.respond(sent, "response.output_text.delta", delta="so far")
    await device.respond(sent, "error", message="model said 400", code="execution_error")
    answer = await world.owner.answer(task_id)
    assert (answer["status"], answer["text"], answer["error"]) == (
        "FAILED",
        "so far",
        "model said 400",
    )


@pytest.mark.parametrize(
    "event", ["response.failed", "response.in_progress", "response.output_text.done"]
)
async def test_skipped_events_are_acknowledged_and_change_nothing(world: World, event: str) -> None:
    device, sent, task_id = await _dispatched(world)
    before = await world.owner.task(task_id)
    assert await device.respond(sent, event, text="x") == {"success": True}
    assert await world.owner.task(task_id) == before


async def test_cancel_waits_for_the_device(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    await device.respond(sent, "response.output_text.delta", delta="half")
    shown = await world.owner.call("POST", f"/api/tasks/{task_id}/cancel")
    assert shown["status"] == "RUNNING"
    ids = {"task_id": task_id, "subtask_id": sent["subtask_id"]}
    assert await device.received("task:cancel") == ids
    await device.respond(sent, "response.incomplete", response={"status": "incomplete"})
    answer = await world.owner.answer(task_id)
    assert (answer["status"], answer["text"]) == ("CANCELLED", "half")
    again = await world.owner.call("POST", f"/api/tasks/{task_id}/cancel", status=409)
    assert again["error"]["code"] == "nothing_to_cancel"


async def test_a_tool_call_is_recorded_with_its_result(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    item = {"type": "function_call", "call_id": "c1", "name": "Bash", "arguments": '{"a": 1}'}
    await device.respond(sent, "response.output_item.added", item=item)
    # On new servers this one ends the arguments and carries no result.
    await device.respond(
        sent, "response.function_call_arguments.done", call_id="c1", output="not this"
    )
    assert (await world.owner.answer(task_id))["tools"][0]["status"] == "running"
    done = item | {"status": "failed", "output": "no such file"}
    await device.respond(sent, "response.output_item.done", item=done)
    assert (await world.owner.answer(task_id))["tools"] == [
        {
            "id": "c1",
            "name": "Bash",
            "input": '{"a": 1}',
            "output": "no such file",
            "status": "failed",
        }
    ]


async def test_a_tool_call_without_id_is_an_error(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    item = {"type": "function_call", "name": "Bash"}
    assert "error" in await device.respond(sent, "response.output_item.added", item=item)
    assert (await world.owner.answer(task_id))["tools"] == []


async def test_deltas_keep_their_order_when_sent_without_acks(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    place = {"task_id": sent["task_id"], "subtask_id": sent["subtask_id"]}
    for number in range(300):
        await device.emit("response.output_text.delta", place | {"data": {"delta": f"{number} "}})
    # An ack comes after everything that was sent before it.
    await device.respond(sent, "response.in_progress")
    text = (await world.owner.answer(task_id))["text"]
    assert text == "".join(f"{number} " for number in range(300))


async def test_an_unknown_subtask_is_acknowledged_so_that_an_outbox_empties(
    world: World,
) -> None:
    device, _sent, _task_id = await _dispatched(world)
    assert await device.complete({"task_id": 99, "subtask_id": 99}, "x") == {"success": True}


async def test_old_results_mean_nothing_to_a_new_server(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    report = {"subtask_id": sent["subtask_id"], "status": "COMPLETED", "result": {"value": "x"}}
    assert await device.call("task:complete", report) is None
    assert (await world.owner.answer(task_id))["status"] == "RUNNING"


# --- dialect P -----------------------------------------------------------------------------------


async def test_cumulative_progress_grows_and_completes(old_world: World) -> None:
    device, sent, task_id = await _dispatched(old_world)
    for value in ("He", "Hello"):
        report = {
            "subtask_id": sent["subtask_id"],
            "status": "running",
            "result": {"value": value},
        }
        assert await device.call("task:progress", report) == {"success": True}
    assert (await old_world.owner.answer(task_id))["text"] == "Hello"
    end = {"subtask_id": sent["subtask_id"], "status": "COMPLETED", "result": {"value": "Hello!"}}
    await device.call("task:complete", end)
    task = await old_world.owner.task(task_id)
    assert (task["status"], task["messages"][-1]["text"]) == ("COMPLETED", "Hello!")


async def test_a_result_without_value_resets_the_text(old_world: World) -> None:
    device, sent, task_id = await _dispatched(old_world)
    results: list[Any] = [{"value": "text"}, None, {"thinking": []}]
    for result in results:
        await device.call("task:progress", {"subtask_id": sent["subtask_id"], "result": result})
        if result is None:
            assert (await old_world.owner.answer(task_id))["text"] == "text"
    assert (await old_world.owner.answer(task_id))["text"] == ""


async def test_thinking_steps_show_as_tools(old_world: World) -> None:
    device, sent, task_id = await _dispatched(old_world)
    use = {"type": "tool_use", "id": "t1", "name": "Write", "input": {"a": 1}}
    back = {"type": "tool_result", "tool_use_id": "t1", "content": "ok", "is_error": False}
    thinking = [{"details": {"message": {"content": [part]}}} for part in (use, back)]
    result = {"value": "x", "thinking": thinking}
    await device.call("task:progress", {"subtask_id": sent["subtask_id"], "result": result})
    tools = (await old_world.owner.answer(task_id))["tools"]
    assert [(tool["name"], tool["output"], tool["status"]) for tool in tools] == [
        ("Write", "ok", "done")
    ]


async def test_failed_progress_leaves_the_task_running_but_complete_ends_it(
    old_world: World,
) -> None:
    device, sent, task_id = await _dispatched(old_world)
    failed = {"subtask_id": sent["subtask_id"], "status": "FAILED", "error_message": "no model"}
    await device.call("task:progress", failed)
    task = await old_world.owner.task(task_id)
    assert (task["status"], task["messages"][-1]["status"]) == ("RUNNING", "FAILED")
    await device.call("task:complete", failed)
    task = await old_world.owner.task(task_id)
    assert (task["status"], task["messages"][-1]["error"]) == ("FAILED", "no model")


async def test_the_older_server_cancels_by_itself(old_world: World) -> None:
    device, sent, task_id = await _dispatched(old_world)
    shown = await old_world.owner.call("POST", f"/api/tasks/{task_id}/cancel")
    assert shown["status"] == "CANCELLED"
    await device.received("task:cancel")
    partial = {"subtask_id": sent["subtask_id"], "status": "CANCELLED", "result": {"value": "hal"}}
    await device.call("task:complete", partial)
    answer = await old_world.owner.answer(task_id)
    assert (answer["status"], answer["text"]) == ("CANCELLED", "hal")


async def test_a_subtask_belongs_to_its_device(old_world: World) -> None:
    _device, sent, task_id = await _dispatched(old_world)
    other = await old_world.registered("hw-2")
    report = {"subtask_id": sent["subtask_id"], "status": "COMPLETED"}
    answer = await other.call("task:complete", report)
    assert answer == {"error": "Subtask does not belong to this device"}
    unknown = {"subtask_id": 99}
    assert await other.call("task:complete", unknown) == {"error": "Subtask not found"}
    assert (await old_world.owner.answer(task_id))["status"] == "RUNNING"


async def test_new_results_mean_nothing_to_an_old_server(old_world: World) -> None:
    device, sent, task_id = await _dispatched(old_world)
    assert await device.complete(sent, "x") is None
    assert (await old_world.owner.answer(task_id))["status"] == "RUNNING"


# --- devices that go away, retry, delete, restart ------------------------------------------------


async def test_a_disconnect_fails_what_runs_and_a_late_result_overwrites(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    await device.close()
    await _hung_up(world)
    await world.clock.advance(DISCONNECT_GRACE_S + 0.1)
    task = await world.owner.eventually(task_id, "FAILED")
    assert "disconnected" in task["messages"][-1]["error"]
    back = await world.registered()
    await back.complete(sent, "done after all")
    answer = await world.owner.answer(task_id)
    assert (answer["status"], answer["text"], answer["error"]) == (
        "COMPLETED",
        "done after all",
        None,
    )


@pytest.mark.parametrize("dialect", ["responses", "progress"])
async def test_what_is_sent_while_a_device_reconnects_reaches_it_once_it_is_back(
    make_world: MakeWorld, dialect: Dialect
) -> None:
    world = await make_world(dialect)
    device = await world.registered()
    await device.close()
    await _hung_up(world)
    task = await world.owner.create("are you there?")
    back = await world.registered()
    sent = await back.received("task:execute")
    assert (sent["task_id"], sent["prompt"]) == (task["id"], "are you there?")
    if dialect == "responses":
        await back.respond(sent, "response.created")
    else:
        await back.call("task:progress", {"subtask_id": sent["subtask_id"], "status": "RUNNING"})
    await back.register()
    await back.call("device:status", {"device_id": "hw-1", "status": "online"})
    assert not back.has_received("task:execute")
    await world.clock.advance(DISCONNECT_GRACE_S + 0.1)
    assert (await world.owner.answer(task["id"]))["status"] == "RUNNING"


async def test_a_late_end_of_an_earlier_turn_does_not_finish_a_task_that_goes_on(
    world: World,
) -> None:
    device, first, task_id = await _dispatched(world)
    await device.close()
    await _hung_up(world)
    await world.clock.advance(DISCONNECT_GRACE_S + 0.1)
    await world.owner.eventually(task_id, "FAILED")
    back = await world.registered()
    await world.owner.call("POST", f"/api/tasks/{task_id}/messages", {"prompt": "and then?"})
    second = await back.received("task:execute")
    await back.complete(first, "done after all")
    task = await world.owner.task(task_id)
    assert task["status"] == "RUNNING"
    assert [message["status"] for message in task["messages"][1::2]] == ["COMPLETED", "RUNNING"]
    await back.respond(second, "error", message="broken")
    await back.complete(first, "once more")
    assert (await world.owner.task(task_id))["status"] == "FAILED"


async def test_a_silent_device_is_failed_by_the_monitor(world: World) -> None:
    _device, _sent, task_id = await _dispatched(world)
    await world.clock.advance(MONITOR_S + 1)
    assert (await world.owner.answer(task_id))["status"] == "RUNNING"
    await world.clock.advance(MONITOR_S)
    task = await world.owner.eventually(task_id, "FAILED")
    assert "90 seconds" in task["messages"][-1]["error"]


async def test_a_retry_reuses_the_subtask_and_starts_from_nothing(world: World) -> None:
    device, first, task_id = await _dispatched(world)
    path = f"/api/tasks/{task_id}/retry"
    assert (await world.owner.call("POST", path, status=409))["error"]["code"] == "task_running"
    await device.respond(first, "response.output_text.delta", delta="old")
    await device.respond(first, "error", message="broken")
    await world.owner.call("POST", path)
    second = await device.received("task:execute")
    assert (second["subtask_id"], second["prompt"]) == (first["subtask_id"], first["prompt"])
    answer = await world.owner.answer(task_id)
    assert (answer["status"], answer["text"], answer["error"]) == ("RUNNING", "", None)
    await device.complete(second, "better")
    refused = await world.owner.call("POST", path, status=409)
    assert refused["error"]["code"] == "nothing_to_retry"


async def test_deleting_a_task_closes_its_session(world: World) -> None:
    device, sent, task_id = await _dispatched(world)
    await world.owner.call("DELETE", f"/api/tasks/{task_id}")
    assert await device.received("task:close-session") == {"task_id": task_id}
    await world.owner.call("GET", f"/api/tasks/{task_id}", status=404)
    # The device still ends the run that it has, and must be able to forget it.
    assert await device.respond(sent, "response.incomplete") == {"success": True}


async def test_a_restart_keeps_the_history_and_what_was_streamed(world: World) -> None:
    device, done, done_id = await _dispatched(world)
    await device.complete(done, "kept")
    running_id = (await world.owner.create("second"))["id"]
    running = await device.received("task:execute")
    await device.respond(running, "response.output_text.delta", delta="half")
    await world.restart()
    assert (await world.owner.answer(done_id))["text"] == "kept"
    answer = await world.owner.answer(running_id)
    assert (answer["status"], answer["text"]) == ("RUNNING", "half")
    back = await world.registered()
    await back.complete(running, "whole")
    assert (await world.owner.answer(running_id))["status"] == "COMPLETED"


async def test_what_runs_on_a_device_that_stays_away_after_a_restart_fails(
    world: World,
) -> None:
    _device, _sent, task_id = await _dispatched(world)
    await world.restart()
    await world.clock.advance(MONITOR_S + 1)
    await world.owner.eventually(task_id, "FAILED")


async def test_tasks_are_listed_newest_first_and_by_pages(world: World) -> None:
    device = await world.registered()
    for number in range(3):
        await world.owner.create(f"task {number}")
        await device.received("task:execute")
    first = await world.owner.call("GET", "/api/tasks?limit=2")
    assert [each["title"] for each in first["items"]] == ["task 2", "task 1"]
    assert first["has_more"]
    rest = await world.owner.call("GET", f"/api/tasks?before={first['items'][-1]['id']}")
    assert [each["title"] for each in rest["items"]] == ["task 0"]
    assert not rest["has_more"]
    await world.owner.call("GET", "/api/tasks?limit=x", status=400)


@pytest.mark.parametrize("before", ["0" + "9" * 38, "9" * 39, "0", "-1", "x", "٣", "1" * 16])
async def test_a_page_before_no_number_of_a_task_is_refused_by_name(
    world: World, before: str
) -> None:
    refused = await world.owner.call("GET", f"/api/tasks?before={quote(before)}", status=400)
    assert "before" in refused["detail"]


async def test_a_search_finds_titles_and_the_users_own_words_of_that_user(world: World) -> None:
    device = await world.registered()
    first = await world.owner.create("Mend the 100% greeting", title="Greeting")
    await device.complete(await device.received("task:execute"), "the answer says secret")
    second = await world.owner.create("rename it", title="Other thing")

    async def found(words: str) -> list[int]:
        path = f"/api/tasks?search={quote(words)}"
        return [task["id"] for task in (await world.owner.call("GET", path))["items"]]

    assert await found("GREETING") == [first["id"]]
    assert await found(" 100% ") == [first["id"]]
    assert await found("rename") == [second["id"]]
    assert await found("") == [second["id"], first["id"]]
    for words in ("secret", "1__%", "\\", "'"):
        assert await found(words) == [], words
    stranger, _token = await world.second_user()
    assert (await stranger.call("GET", "/api/tasks?search=greeting"))["items"] == []
    await world.owner.call("GET", f"/api/tasks?search={'x' * 201}", status=400)


async def test_a_task_that_ends_while_it_is_cancelled_keeps_its_end(
    old_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await old_world.registered()
    task = await old_world.owner.create()
    sent = await device.received("task:execute")
    report = {"subtask_id": sent["subtask_id"], "status": "COMPLETED", "result": {"value": "done"}}

    async def send(*_: Any) -> None:
        await device.call("task:complete", report)

    monkeypatch.setattr(old_world.hub._tasks, "_send", send)
    await old_world.owner.call("POST", f"/api/tasks/{task['id']}/cancel")
    answer = await old_world.owner.answer(task["id"])
    assert (answer["status"], answer["text"]) == ("COMPLETED", "done")


async def test_a_task_that_is_deleted_while_it_is_continued_is_simply_gone(world: World) -> None:
    device = await world.registered()
    task = await world.owner.create()
    await device.complete(await device.received("task:execute"), "done")
    path, headers = f"/api/tasks/{task['id']}", {"Authorization": f"Bearer {TOKEN}"}

    async def asked(method: str, path: str, body: Any = None) -> int:
        async with world._http.request(method, path, json=body, headers=headers) as answer:
            return answer.status

    found = await asyncio.gather(
        asked("POST", f"{path}/messages", {"prompt": "more"}), asked("DELETE", path)
    )
    assert [*found] in ([200, 200], [404, 200])


async def test_what_the_database_refuses_once_is_written_with_the_next_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await world.registered()
    await world.owner.create()
    sent = await device.received("task:execute")
    store, is_refused = world.hub._store, asyncio.Event()

    async def refuse(*_: Any) -> None:
        is_refused.set()
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(store, "run", refuse)
        await device.respond(sent, "response.output_text.delta", delta="kept")
        await world.clock.advance(2.1)
        async with asyncio.timeout(5):
            await is_refused.wait()
    await world.clock.advance(2.1)
    async with asyncio.timeout(5):
        while (await store.rows(Json, "SELECT text FROM subtasks ORDER BY id"))[-1] != {
            "text": "kept"
        }:
            pass
