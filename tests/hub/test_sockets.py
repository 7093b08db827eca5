"""The handshake, registration, heartbeats and probes, as the real servers answer them."""

from __future__ import annotations

import asyncio
import stat
from typing import Any

import jwt
import pytest

from executor_core.hub.sockets import DISCONNECT_GRACE_S
from executor_core.hub.wire import InvalidPayload, Registration, parsed
from tests.hub.conftest import CAPACITY, MakeWorld, World


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        (None, "Missing authentication token"),
        ({"token": ""}, "Missing authentication token"),
        ({"token": 7}, "Missing authentication token"),
        ({"token": "wg-abc"}, "Invalid or expired API key"),
        ({"token": "nonsense"}, "Invalid or expired token"),
        ({"token": jwt.encode({"sub": "owner"}, "x" * 32, "HS256")}, "Invalid or expired token"),
    ],
)
async def test_a_refused_connect_says_why(world: World, auth: Any, message: str) -> None:
    device = world.unconnected()
    assert await device.connect(auth) == message


@pytest.mark.slow
async def test_a_token_opens_until_it_expires(world: World) -> None:
    token = world.hub.device_token()
    await world.clock.advance(7 * 86400 - 60)
    await world.connected(token=token)
    await world.clock.advance(120)
    assert await world.unconnected().connect({"token": token}) == "Invalid or expired token"


async def test_a_task_token_opens_nothing(world: World) -> None:
    device = await world.registered()
    await world.owner.create()
    token = (await device.received("task:execute"))["auth_token"]
    assert jwt.decode(token, options={"verify_signature": False})["type"] == "task_token"
    assert await world.unconnected().connect({"token": token}) == "Invalid or expired token"


async def test_too_many_attempts_are_refused_for_a_while(world: World) -> None:
    for _ in range(30):
        assert await world.unconnected().connect(None) == "Missing authentication token"
    assert await world.unconnected().connect(None) == "Too many device connection attempts"
    await world.clock.advance(31)
    await world.connected()


async def test_registering_makes_the_first_device_the_default(world: World) -> None:
    await world.registered("hw-1")
    await world.registered("hw-2")
    found = (await world.owner.call("GET", "/api/devices"))["items"]
    assert [(each["device_id"], each["is_default"]) for each in found] == [
        ("hw-1", True),
        ("hw-2", False),
    ]
    assert {each["status"] for each in found} == {"online"}


async def test_capabilities_are_asked_for_after_registering(world: World) -> None:
    device = await world.registered()
    request = await device.received("device:sync_capabilities")
    assert request == {"mode": "replace", "skills": [], "plugins": [], "mcps": []}


@pytest.mark.parametrize(
    "fields",
    [
        {"device_id": ""},
        {"device_id": "x" * 101},
        {"device_id": 7},
        {"name": "x" * 101},
        {"name": None},
        {"executor_version": "x" * 51},
        {"device_type": "laptop"},
        {"bind_shell": "zsh"},
        {"capabilities": "git"},
        {"runtime_instance_id": "x" * 101},
    ],
)
async def test_a_bad_registration_is_answered_with_invalid_payload(
    world: World, fields: dict[str, Any]
) -> None:
    device = await world.connected()
    assert (await device.register(**fields))["error"].startswith("Invalid payload: ")
    assert (await world.owner.call("GET", "/api/devices"))["items"] == []


def test_half_a_character_is_invalid_in_words_that_can_be_sent() -> None:
    fields = {"device_id": "hw-1", "name": "mine", "device_type": "\ud800"}
    with pytest.raises(InvalidPayload, match="Invalid payload: ") as refused:
        parsed(Registration, fields)
    assert str(refused.value).encode()


async def test_a_registration_that_is_no_object_is_invalid(world: World) -> None:
    device = await world.connected()
    assert (await device.call("device:register", "x"))["error"].startswith("Invalid payload: ")


async def test_unknown_keys_of_a_registration_are_ignored(world: World) -> None:
    device = await world.connected()
    assert "success" in await device.register(from_the_future={"a": 1}, runtime_features="broken")


async def test_a_heartbeat_reports_the_slots(world: World) -> None:
    device = await world.registered()
    busy = {"limit": 2, "active": 2, "active_task_ids": ["1", "2"], "queued": 1}
    assert await device.heartbeat(runtime_capacity=busy, executor_version="9.9") == {
        "success": True
    }
    found = await world.owner.device()
    assert (found["slot_used"], found["slot_max"], found["status"]) == (2, 2, "busy")
    assert found["executor_version"] == "9.9"
    await device.heartbeat(runtime_capacity=CAPACITY)
    assert (await world.owner.device())["status"] == "online"


@pytest.mark.parametrize(
    "fields",
    [
        {"running_task_ids": ["x"]},
        {"running_task_ids": "1"},
        {"runtime_capacity": []},
        {"runtime_capacity": CAPACITY | {"limit": 0}},
        {"runtime_capacity": CAPACITY | {"limit": 21}},
        {"runtime_capacity": CAPACITY | {"active": 1}},
        {"runtime_capacity": CAPACITY | {"active": 2, "active_task_ids": ["1", "1"]}},
        {"runtime_capacity": CAPACITY | {"active": 1, "active_task_ids": [1]}},
        {"runtime_capacity": CAPACITY | {"queued": -1}},
    ],
)
async def test_a_malformed_heartbeat_fails_whole(world: World, fields: dict[str, Any]) -> None:
    device = await world.registered()
    assert (await device.heartbeat(**fields))["error"].startswith("Invalid payload: ")


async def test_a_heartbeat_of_another_device_is_a_mismatch(world: World) -> None:
    device = await world.connected()
    assert await device.heartbeat() == {"error": "Device ID mismatch"}
    await device.register()
    assert await device.heartbeat(device_id="hw-2") == {"error": "Device ID mismatch"}


async def test_an_instance_id_must_stay_the_same(world: World) -> None:
    device = await world.connected()
    await device.register(runtime_instance_id="a")
    assert await device.heartbeat() == {"error": "Runtime instance ID mismatch"}
    assert await device.heartbeat(runtime_instance_id="a") == {"success": True}


async def test_an_older_socket_of_the_same_device_is_stale(world: World) -> None:
    older = await world.registered()
    newer = await world.registered()
    assert await older.heartbeat() == {"error": "Stale device connection"}
    assert await newer.heartbeat() == {"success": True}


async def test_a_device_without_heartbeats_is_offline_after_90_s_and_back_with_one(
    world: World,
) -> None:
    device = await world.registered()
    await world.clock.advance(89)
    assert (await world.owner.device())["status"] == "online"
    await world.clock.advance(2)
    assert (await world.owner.device())["status"] == "offline"
    assert (await world.owner.call("GET", "/api/devices/online"))["total"] == 0
    await device.heartbeat()
    assert (await world.owner.device())["status"] == "online"


async def test_a_device_may_call_itself_busy(world: World) -> None:
    device = await world.registered()
    status = {"device_id": "hw-1", "status": "busy"}
    assert await device.call("device:status", status) == {"success": True}
    assert (await world.owner.device())["status"] == "busy"
    assert "error" in await device.call("device:status", status | {"status": "tired"})


async def test_a_device_that_hangs_up_is_offline_after_the_grace(world: World) -> None:
    device = await world.registered()
    await device.close()
    await _hung_up(world)
    assert (await world.owner.device())["status"] == "online"
    await world.clock.advance(DISCONNECT_GRACE_S + 0.1)
    async with asyncio.timeout(5):
        while (await world.owner.device())["status"] != "offline":
            pass


async def test_a_device_that_is_back_within_the_grace_was_never_gone(world: World) -> None:
    device = await world.registered()
    task = await world.owner.create()
    await device.close()
    await _hung_up(world)
    await world.registered()
    await world.clock.advance(DISCONNECT_GRACE_S + 0.1)
    assert (await world.owner.device())["status"] == "online"
    assert (await world.owner.answer(task["id"]))["status"] == "RUNNING"


async def test_a_device_that_is_back_while_its_tasks_are_failed_stays_online(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await world.registered()
    await device.close()
    await _hung_up(world)
    fail_device, is_back = world.hub._subtasks.fail_device, asyncio.Event()

    async def come_back(*what: Any) -> None:
        await fail_device(*what)
        await world.registered()
        is_back.set()

    monkeypatch.setattr(world.hub._subtasks, "fail_device", come_back)
    await world.clock.advance(DISCONNECT_GRACE_S + 0.1)
    async with asyncio.timeout(5):
        await is_back.wait()
        while _in_grace(world):
            await asyncio.sleep(0)
    assert (await world.owner.device())["status"] == "online"


async def _hung_up(world: World) -> None:
    """Wait until the hub has seen it: then it sleeps for the grace, its shortest deadline."""
    async with asyncio.timeout(5):
        while (world.clock.next_deadline_s or 99) != DISCONNECT_GRACE_S or not _in_grace(world):
            await asyncio.sleep(0)


def _in_grace(world: World) -> bool:
    return any("disconnect grace" in job.get_name() for job in asyncio.all_tasks())


PROBES = [
    ("task:progress", None, {"error": "Missing subtask_id"}),
    ("task:complete", None, {"error": "Missing subtask_id"}),
    ("response.created", {"error": "Missing task_id or subtask_id"}, None),
    ("response.failed", {"error": "Missing task_id or subtask_id"}, None),
    ("error", {"error": "Missing task_id or subtask_id"}, None),
    ("terminal:output", {"error": "Missing session_id"}, None),
    ("terminal:exit", {"error": "Missing session_id"}, None),
    ("runtime.tasks.updated", {"error": "Invalid runtime task update payload"}, None),
    ("runtime:event", {"success": True}, None),
    ("task:result", None, None),
    ("chat:done", None, None),
    ("local:task:result", None, None),
    ("no:such:event", None, None),
]


@pytest.mark.parametrize(("event", "new", "old"), PROBES)
async def test_a_probe_gets_the_answer_of_its_era(
    make_world: MakeWorld, event: str, new: Any, old: Any
) -> None:
    world = await make_world("responses")
    assert await (await world.registered()).call(event, {}) == new


@pytest.mark.parametrize(("event", "new", "old"), PROBES)
async def test_a_probe_gets_the_answer_of_the_older_era(
    make_world: MakeWorld, event: str, new: Any, old: Any
) -> None:
    world = await make_world("progress")
    assert await (await world.registered()).call(event, {}) == old


async def test_the_upgrade_probe_is_invalid_on_new_servers_only(
    make_world: MakeWorld,
) -> None:
    world = await make_world("responses")
    answer = await (await world.registered()).call("device:upgrade_status", {})
    assert answer["error"].startswith("Invalid payload: ")


async def test_results_before_registering_are_refused(world: World) -> None:
    device = await world.connected()
    assert await device.call("response.created", {}) == {
        "error": "Not authenticated or not registered"
    }


async def test_the_older_era_keeps_a_silent_device_offline_until_it_registers(
    old_world: World,
) -> None:
    device = await old_world.registered()
    await old_world.clock.advance(91)
    assert await device.heartbeat() == {"success": True}
    assert (await old_world.owner.device())["status"] == "offline"
    await device.register()
    assert (await old_world.owner.device())["status"] == "online"


async def test_the_older_era_counts_running_tasks_as_slots_of_five(old_world: World) -> None:
    device = await old_world.registered()
    await device.heartbeat(running_task_ids=[1, "2"])
    found = await old_world.owner.device()
    assert (found["slot_used"], found["slot_max"]) == (2, 5)
    assert not device.has_received("device:sync_capabilities")


async def test_the_database_is_for_the_owner_only(world: World) -> None:
    database = world._database
    for path in database.parent.glob("hub.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_packet_over_the_limit_ends_the_socket_and_one_below_passes(
    world: World,
) -> None:
    device = await world.registered()
    place = {"task_id": 1, "subtask_id": 1}
    fits = place | {"data": {"delta": "x" * 990_000}}
    assert await device.call("response.output_text.delta", fits) == {"success": True}
    await device.emit("response.output_text.delta", place | {"data": {"delta": "x" * 1_000_001}})
    await _hung_up(world)
