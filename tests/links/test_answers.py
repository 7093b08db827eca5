"""Answers to what newer servers ask of a device beyond tasks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor_core.hub.wire import parse_heartbeat
from executor_core.links.device.answers import Question, RuntimeCapacity, answer
from tests.links.story import PATIENT

IDLE = RuntimeCapacity(limit=5, active_task_ids=(), queued=0)


def said(event: str, data: object, capacity: RuntimeCapacity = IDLE) -> dict[str, Any]:
    """The acknowledgement; nothing is sent behind it."""
    acknowledgement, frame = answer(event, Question(data, capacity, "hw-1"))
    assert frame is None
    return acknowledgement


def test_a_sync_that_asks_for_nothing_is_done_and_one_that_asks_is_refused() -> None:
    nothing = {"mode": "replace", "skills": [], "plugins": [], "mcps": []}
    empty: dict[str, list[object]] = {"skills": [], "plugins": [], "mcps": []}
    assert said("device:sync_capabilities", nothing) == {
        "success": True,
        **empty,
        "errors": [],
    }
    refused = said("device:sync_capabilities", nothing | {"skills": [{"id": 1}]})
    assert refused["success"] is False
    assert "skills" in refused["error"]
    assert refused["errors"] == [refused["error"]]


def test_a_command_is_refused_in_the_full_shape_of_a_result() -> None:
    refused = said("device:execute_command", {"command": "rm -rf /"})
    assert refused["success"] is False
    assert refused["error"]
    assert set(refused) == {
        "success", "exit_code", "stdout", "stderr", "duration", "timed_out",
        "stdout_truncated", "stderr_truncated", "error",
    }  # fmt: skip


def test_runtime_rpc_answers_what_is_known_and_refuses_the_rest_by_its_code() -> None:
    busy = RuntimeCapacity(limit=3, active_task_ids=("7", "9"), queued=2)
    assert said("runtime:rpc", {"method": "runtime.capacity.get"}, busy) == {
        "limit": 3,
        "active": 2,
        "active_task_ids": ["7", "9"],
        "queued": 2,
    }
    assert said("runtime:rpc", {"method": "runtime.settings.get"}, busy) == {
        "maxConcurrentTasks": 3
    }
    refused = said("runtime:rpc", {"method": "runtime.tasks.create"}, busy)
    assert (refused["success"], refused["code"]) == (False, "unsupported_method")
    assert "runtime.tasks.create" in refused["error"]


@pytest.mark.parametrize("event", ["runtime:rpc", "device:run_extension", "from:the:future"])
@pytest.mark.parametrize("data", [None, [], "x", {"method": "m" * 2_000_000}, {"method": {}}])
def test_every_call_is_answered_and_no_answer_can_drop_the_link(event: str, data: object) -> None:
    reply = said(event, data)
    assert reply["success"] is False
    assert reply["error"]
    assert len(msgspec.json.encode(reply)) < 2_000


@PATIENT
@given(
    st.integers(-5, 100),
    st.lists(st.text(max_size=5), max_size=40),
    st.integers(0, 1_000),
)
def test_every_capacity_passes_the_servers_check(limit: int, ids: list[str], queued: int) -> None:
    capacity = RuntimeCapacity(limit=limit, active_task_ids=tuple(ids), queued=queued)
    beat = {"device_id": "hw-1", "runtime_capacity": capacity.as_heartbeat()}
    assert parse_heartbeat(beat, "responses").runtime_capacity is not None


def test_an_upgrade_is_declined_with_a_word_that_servers_know() -> None:
    acknowledgement, frame = answer("device:upgrade", Question({}, IDLE, "hw-1"))
    assert acknowledgement == {"success": True}
    assert frame is not None
    assert (frame.event, frame.data["device_id"]) == ("device:upgrade_status", "hw-1")
    assert frame.data["status"] == "skipped"
