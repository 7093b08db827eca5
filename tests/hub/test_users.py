"""A user sees only their own things."""

from __future__ import annotations

from tests.hub.conftest import World


async def test_another_users_tasks_and_devices_do_not_exist(world: World) -> None:
    second, second_token = await world.second_user()
    device = await world.registered("hw-1")
    task = await world.owner.create()
    sent = await device.received("task:execute")
    path = f"/api/tasks/{task['id']}"
    assert (await second.call("GET", "/api/tasks"))["items"] == []
    assert (await second.call("GET", "/api/devices"))["items"] == []
    for method, where in [
        ("GET", path),
        ("DELETE", path),
        ("POST", f"{path}/cancel"),
        ("POST", f"{path}/retry"),
        ("PUT", "/api/devices/hw-1/default"),
        ("DELETE", "/api/devices/hw-1"),
    ]:
        await second.call(method, where, status=404)
    await second.call("POST", f"{path}/messages", {"prompt": "x"}, status=404)
    body = {"prompt": "x", "device_id": "hw-1"}
    await second.call("POST", "/api/tasks", body, status=404)
    # Their device has the same id and knows the numbers, and still changes nothing.
    thief = await world.registered("hw-1", second_token)
    assert await thief.complete(sent, "stolen") == {"success": True}
    assert await device.heartbeat() == {"success": True}
    answer = await world.owner.answer(task["id"])
    assert (answer["status"], answer["text"]) == ("RUNNING", "")


async def test_each_users_device_gets_only_their_tasks(world: World) -> None:
    second, second_token = await world.second_user()
    mine, theirs = await world.registered(), await world.registered("hw-1", second_token)
    await second.create("for the second")
    assert (await theirs.received("task:execute"))["user"]["name"] == "second"
    await mine.heartbeat()
    assert not mine.has_received("task:execute")


async def test_only_the_owner_may_add_fields_to_a_task(world: World) -> None:
    second, second_token = await world.second_user()
    await world.registered("hw-1", second_token)
    body = {"prompt": "x", "payload": {"git_url": "https://example.com/x.git"}}
    await second.call("POST", "/api/tasks", body, status=403)


async def test_a_device_token_survives_a_restart_of_the_hub(world: World) -> None:
    token = world.hub.device_token()
    await world.restart()
    await world.connected(token=token)
