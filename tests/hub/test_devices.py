"""What a user does with devices."""

from __future__ import annotations

import pytest

from executor_core.hub import devices
from tests.hub.conftest import World


async def test_the_default_can_be_moved_and_unset(world: World) -> None:
    await world.registered("hw-1")
    await world.registered("hw-2")
    await world.owner.call("PUT", "/api/devices/hw-2/default")
    assert await _defaults(world) == ["hw-2"]
    await world.owner.call("DELETE", "/api/devices/hw-2/default")
    assert await _defaults(world) == []
    await world.owner.call("PUT", "/api/devices/unknown/default", status=404)


async def test_a_deleted_device_comes_back_when_it_registers(world: World) -> None:
    device = await world.registered()
    await world.owner.call("DELETE", "/api/devices/hw-1")
    assert (await world.owner.call("GET", "/api/devices"))["items"] == []
    await device.register()
    assert (await world.owner.device())["device_id"] == "hw-1"


async def test_a_task_without_a_device_goes_to_the_default(world: World) -> None:
    await world.registered("hw-1")
    second = await world.registered("hw-2")
    await world.owner.call("PUT", "/api/devices/hw-2/default")
    task = await world.owner.create()
    assert (await second.received("task:execute"))["task_id"] == task["id"]
    running = (await world.owner.call("GET", "/api/devices"))["items"][1]["running_tasks"]
    assert running == [{"task_id": task["id"], "subtask_id": task["messages"][-1]["subtask_id"]}]


async def test_one_device_too_many_takes_the_place_of_the_one_unseen_for_longest(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "MAX_DEVICES", 3)
    for device_id in ("default", "oldest", "newer"):
        await (await world.registered(device_id)).close()
        await world.clock.advance(100)
    assert await _ids(world) == ["default", "oldest", "newer"]
    await world.registered("new")
    assert await _ids(world) == ["default", "newer", "new"]
    await world.owner.call("DELETE", "/api/devices/newer")
    await world.registered("newest")
    assert await _ids(world) == ["default", "new", "newest"]


async def test_where_all_are_online_one_more_is_refused_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "MAX_DEVICES", 2)
    _, token = await world.second_user()
    await world.registered("hw-1")
    again = await world.registered("hw-2")
    refused = await (await world.connected("hw-3")).register()
    assert refused == {"error": "Registration failed: 2 devices are online already"}
    assert await again.register() == {"success": True, "device_id": "hw-2"}
    await world.registered("hw-3", token)


async def _ids(world: World) -> list[str]:
    return [each["device_id"] for each in (await world.owner.call("GET", "/api/devices"))["items"]]


async def _defaults(world: World) -> list[str]:
    items = (await world.owner.call("GET", "/api/devices"))["items"]
    return [each["device_id"] for each in items if each["is_default"]]
