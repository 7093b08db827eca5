"""What a user does with devices."""

from __future__ import annotations

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


async def _defaults(world: World) -> list[str]:
    items = (await world.owner.call("GET", "/api/devices"))["items"]
    return [each["device_id"] for each in items if each["is_default"]]
