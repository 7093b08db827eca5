"""A user sees only their own things."""

from __future__ import annotations

import asyncio

from executor_core.hub.store import remove_user
from tests.hub.conftest import Client, World


async def removed(world: World, name: str) -> None:
    """Take a user away as a command line does it: in the file, and without a word to the hub."""
    assert await asyncio.to_thread(remove_user, world._database, name)


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


async def test_nothing_of_a_removed_user_opens_a_door_from_that_moment(world: World) -> None:
    second, token = await world.second_user()
    key = (await world.owner.call("POST", "/api/hub/keys", {"user": "second"}))["key"]
    await removed(world, "second")
    for word in (token, key):
        await Client(world._http, word).call("GET", "/api/devices", status=401)
        await Client(world._http, word).call("GET", "/api/tasks", status=401)
        assert (await world.unconnected().connect({"token": word})).startswith("Invalid or expired")
    await second.call("POST", "/api/tasks", {"prompt": "x"}, status=401)


async def test_what_a_removed_user_has_open_ends_soon_and_what_others_have_does_not(
    world: World,
) -> None:
    _, token = await world.second_user()
    mine, theirs = await world.registered(), await world.registered("hw-1", token)
    stream = await world._http.get("/api/hub/events", params={"access_token": token})
    await removed(world, "second")
    async with asyncio.timeout(5):
        while theirs.is_connected:
            await world.clock.advance(1)
        await stream.read()
    assert mine.is_connected
    assert await mine.heartbeat() == {"success": True}
    assert not await asyncio.to_thread(remove_user, world._database, "second")


async def test_a_later_user_of_the_same_name_is_another_one(world: World) -> None:
    second, old_token = await world.second_user()
    old_key = (await world.owner.call("POST", "/api/hub/keys", {"user": "second"}))["key"]
    await world.registered("hw-1", old_token)
    await second.create()
    await removed(world, "second")
    again, _ = await world.second_user()
    assert (await again.call("GET", "/api/tasks"))["items"] == []
    assert (await again.call("GET", "/api/devices"))["items"] == []
    for word in (old_token, old_key):
        await Client(world._http, word).call("GET", "/api/tasks", status=401)
    await world.restart()
    await Client(world._http, old_token).call("GET", "/api/tasks", status=401)
