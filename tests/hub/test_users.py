"""Sign-in, and that a user sees only their own things."""

from __future__ import annotations

from typing import Any

import pytest

from executor_core.errors import ExecutorError
from tests.hub.conftest import Client, World

PASSWORD = "correct horse"


async def _login(world: World, body: Any, status: int = 200) -> Any:
    return await Client(world.owner._http, "none").call(
        "POST", "/api/auth/login", body, status=status
    )


async def test_without_a_password_nobody_signs_in(world: World) -> None:
    for password in ("admin", "owner", ""):
        answer = await _login(world, {"username": "owner", "password": password}, 403)
        assert answer["error"]["code"] == "no_password"
    await _login(world, {"username": "admin", "password": "admin"}, 400)


@pytest.mark.parametrize("name", ["user_name", "username"])
async def test_both_spellings_of_login_give_a_token_that_works(world: World, name: str) -> None:
    await world.hub.set_password("owner", PASSWORD)
    answer = await _login(world, {name: "owner", "password": PASSWORD})
    assert answer["token"] == answer["access_token"]
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 7 * 86400)
    client = Client(world.owner._http, answer["token"])
    assert (await client.call("GET", "/api/devices"))["total"] == 0


async def test_wrong_passwords_are_slowed_down_and_time_heals(world: World) -> None:
    await world.hub.set_password("owner", PASSWORD)
    wrong = {"username": "owner", "password": "wrong"}
    for _ in range(5):
        assert (await _login(world, wrong, 400))["error"]["code"] == "login_failed"
    right = {"username": "owner", "password": PASSWORD}
    assert (await _login(world, right, 429))["error"]["code"] == "login_slowed"
    await world.clock.advance(1.1)
    await _login(world, right)


async def test_a_password_is_kept_as_a_hash_and_must_be_long(world: World) -> None:
    with pytest.raises(ExecutorError, match="weak_password"):
        await world.hub.set_password("owner", "short")
    with pytest.raises(ExecutorError, match="unknown_user"):
        await world.hub.set_password("nobody", PASSWORD)
    await world.hub.set_password("owner", PASSWORD)
    for path in world._database.parent.glob("hub.db*"):
        assert PASSWORD.encode() not in path.read_bytes()


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
