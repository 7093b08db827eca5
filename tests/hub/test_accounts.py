"""Tokens and keys that the owner hands out, and that each user sees their own only."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from executor_core.jwt import claims_of
from tests.hub.conftest import Client, MakeWorld, World

OLDEST = {
    "id", "device_id", "name", "status", "is_default", "last_heartbeat", "capabilities",
    "slot_used", "slot_max", "running_tasks", "executor_version", "latest_version",
    "update_available", "device_type", "connection_mode",
}  # fmt: skip
NEWEST = OLDEST | {
    "client_ip", "cloud_config", "bind_shell", "runtime_transfer_host", "runtime_instance_id",
    "app_device_id", "socket_device_id", "runtime_features", "remote_config",
}  # fmt: skip


def client(world: World, token: str) -> Client:
    return Client(world._http, token)


async def new_key(world: World, **body: Any) -> Any:
    return await world.owner.call("POST", "/api/hub/keys", body)


async def test_a_token_is_good_for_seven_days_and_for_devices_and_requests(world: World) -> None:
    given = await world.owner.call("POST", "/api/hub/tokens", {})
    assert given["user"] == "owner"
    await world.registered("hw-1", given["token"])
    holder = client(world, given["token"])
    assert (await holder.call("GET", "/api/devices"))["total"] == 1
    assert await holder.call("GET", "/api/hub") == {"hub": True, "user": "owner"}
    ends = claims_of(given["token"])["exp"] - world.clock.now().timestamp()
    assert ends == pytest.approx(7 * 86400, abs=2)


async def test_a_token_that_has_ended_opens_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor_core.hub.accounts.TOKEN_LIFE", timedelta(seconds=30))
    token = (await world.owner.call("POST", "/api/hub/tokens", {}))["token"]
    holder = client(world, token)
    await world.clock.advance(28)
    await holder.call("GET", "/api/devices")
    await world.clock.advance(3)
    await holder.call("GET", "/api/devices", status=401)
    assert await world.unconnected().connect({"token": token}) == "Invalid or expired token"


async def test_a_key_opens_the_same_doors_until_it_is_removed(world: World) -> None:
    given = await new_key(world, name="laptop")
    assert given["key"].startswith("wg-")
    assert len(given["key"]) == 35
    await world.registered("hw-1", given["key"])
    holder = client(world, given["key"])
    assert (await holder.call("GET", "/api/devices"))["total"] == 1
    await world.restart()
    holder = client(world, given["key"])
    await holder.call("GET", "/api/devices")
    [shown] = (await world.owner.call("GET", "/api/hub/keys"))["items"]
    assert (shown["name"], shown["user"], shown["id"]) == ("laptop", "owner", given["id"])
    assert shown.keys() == {"id", "name", "user", "created_at"}
    await world.owner.call("DELETE", f"/api/hub/keys/{given['id']}")
    await holder.call("GET", "/api/devices", status=401)
    refusal = await world.unconnected().connect({"token": given["key"]})
    assert refusal == "Invalid or expired API key"
    await world.owner.call("DELETE", f"/api/hub/keys/{given['id']}", status=404)


async def test_a_key_is_kept_as_a_digest_only(world: World) -> None:
    given = await new_key(world)
    for path in world._database.parent.glob("hub.db*"):
        assert given["key"].encode() not in path.read_bytes()


async def test_keys_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor_core.hub.accounts.MAX_KEYS", 1)
    monkeypatch.setattr("executor_core.hub.accounts.MAX_USERS", 2)
    await new_key(world, user="bob")
    assert (await world.owner.call("POST", "/api/hub/keys", {}, status=409))["error"]["hint"]
    await world.owner.call("POST", "/api/hub/tokens", {"user": "carol"}, status=409)
    await world.owner.call("POST", "/api/hub/tokens", {"user": "bob"})


async def test_only_the_owner_hands_out(world: World) -> None:
    bob = client(
        world, (await world.owner.call("POST", "/api/hub/tokens", {"user": "bob"}))["token"]
    )
    key = await new_key(world)
    for method, path in [
        ("POST", "/api/hub/tokens"),
        ("POST", "/api/hub/keys"),
        ("GET", "/api/hub/keys"),
        ("DELETE", f"/api/hub/keys/{key['id']}"),
    ]:
        body: Any = {} if method == "POST" else None
        assert (await bob.call(method, path, body, status=403))["error"]["code"] == "owner_only"
        await client(world, "nobody").call(method, path, body, status=401)
    assert (await bob.call("GET", "/api/hub"))["user"] == "bob"


@pytest.mark.parametrize(
    "body", [{"user": ""}, {"user": 1}, {"user": "a b"}, {"user": "x" * 65}, {"user": None}]
)
async def test_a_name_that_is_none_is_refused(world: World, body: Any) -> None:
    for path in ("/api/hub/tokens", "/api/hub/keys"):
        answer = await world.owner.call("POST", path, body, status=400)
        is_word = isinstance(body["user"], str)
        assert answer["error"]["code"] == ("bad_user_name" if is_word else "bad_field")


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101, 5])
async def test_a_keys_name_is_one_line(world: World, name: Any) -> None:
    await world.owner.call("POST", "/api/hub/keys", {"name": name}, status=400)


async def test_a_second_user_with_a_key_sees_nothing_of_the_first(world: World) -> None:
    bob = client(world, (await new_key(world, user="bob"))["key"])
    device = await world.registered("hw-1")
    task = await world.owner.create("mine")
    await device.received("task:execute")
    assert (await bob.call("GET", "/api/devices"))["items"] == []
    assert (await bob.call("GET", "/api/tasks"))["items"] == []
    await bob.call("GET", f"/api/tasks/{task['id']}", status=404)
    await bob.call("PUT", "/api/devices/hw-1/default", status=404)
    theirs = await world.registered("hw-2", (await new_key(world, user="bob"))["key"])
    await bob.create("theirs")
    assert (await theirs.received("task:execute"))["user"]["name"] == "bob"
    assert [one["device_id"] for one in (await bob.call("GET", "/api/devices"))["items"]] == [
        "hw-2"
    ]


async def test_devices_are_described_as_each_generation_does(make_world: MakeWorld) -> None:
    new, old = await make_world("responses"), await make_world("progress")
    await new.registered("hw-1")
    assert (await new.owner.device()).keys() == NEWEST
    await old.registered("hw-1")
    assert (await old.owner.device()).keys() == OLDEST
