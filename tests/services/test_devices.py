"""The server's list of devices, on our hub and on servers that say no."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executor_core.control import Address
from executor_core.errors import ExecutorError
from executor_core.hub.wire import Registration, parsed
from executor_core.model import LinkState
from executor_core.services.devices import LocalDevices, read_device
from executor_core.services.interface import Device
from tests.services.conftest import Computer, RunningExecutor
from tests.support.hub_server import TOKEN, HubServer
from tests.support.rest_server import RestServer


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[HubServer]:
    server = HubServer(tmp_path)
    await server.start()
    for device_id, name in (("hw-1", "Mine"), ("hw-2", "Theirs")):
        await server.hub._devices.register(
            1, f"sid-{device_id}", parsed(Registration, {"device_id": device_id, "name": name})
        )
    yield server
    await server.stop()


@pytest.fixture
async def rest() -> AsyncIterator[RestServer]:
    async with RestServer() as server:
        yield server


@pytest.fixture
def room(computer: Computer) -> LocalDevices:
    return LocalDevices(computer.load, computer.reach)


async def test_the_list_has_the_default_first_and_knows_this_computer(
    room: LocalDevices, computer: Computer, hub: HubServer
) -> None:
    computer.connect_to(hub.url, hub.hub.device_token())
    await room.make_default("hw-2")
    first, second = await room.devices()
    assert (first.device_id, first.is_default, first.is_this) == ("hw-2", True, False)
    assert (second.device_id, second.status, second.is_this) == ("hw-1", "online", True)
    await room.clear_default()
    await room.clear_default()
    assert not any(device.is_default for device in await room.devices())
    await room.remove("hw-2")
    assert [device.device_id for device in await room.devices()] == ["hw-1"]
    for ask in (room.remove, room.make_default):
        with pytest.raises(ExecutorError, match="unknown_device"):
            await ask("hw-2")


async def test_a_running_hub_is_asked_with_the_owners_token(
    room: LocalDevices, computer: Computer, hub: HubServer
) -> None:
    computer.connect_to("https://wegent.example.com", "token")
    computer.executor = RunningExecutor()
    computer.executor.api = hub.url
    computer.executor.link(hub.url, LinkState.ONLINE)
    address = Address(url=hub.url, token=TOKEN, pid=1)
    computer.home.api_json.write_bytes(msgspec.json.encode(address))
    assert len(await room.devices()) == 2


async def test_an_id_is_one_part_of_the_path_whatever_it_is(
    room: LocalDevices, computer: Computer, rest: RestServer
) -> None:
    computer.connect_to(rest.url, "token")
    with pytest.raises(ExecutorError, match="unknown_device"):
        await room.remove("../tasks/1?x#y")
    [asked] = rest.asked
    assert asked.path == "/api/devices/../tasks/1?x#y"
    assert asked.token == "token"


async def test_a_key_is_told_what_is_missing(
    room: LocalDevices, computer: Computer, rest: RestServer
) -> None:
    rest.answers["GET /api/devices"] = (401, {"detail": "Could not validate credentials"})
    computer.connect_to(rest.url, "wg-key")
    with pytest.raises(ExecutorError, match="api_key_not_enough") as missing:
        await room.devices()
    assert "JWT" in missing.value.message.sentence
    computer.connect_to(rest.url, "a-jwt")
    with pytest.raises(ExecutorError, match="token_refused"):
        await room.devices()


async def test_a_server_that_always_has_a_default_is_not_asked_for_none_in_vain(
    room: LocalDevices, computer: Computer, rest: RestServer
) -> None:
    items = [{"device_id": "hw-1", "is_default": True}]
    rest.answers["GET /api/devices"] = (200, {"items": items, "total": 1})
    rest.answers["DELETE /api/devices/hw-1/default"] = (405, {"detail": "Method Not Allowed"})
    computer.connect_to(rest.url, "token")
    with pytest.raises(ExecutorError, match="no_unset_default") as refused:
        await room.clear_default()
    assert "another device" in refused.value.message.hint


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((200, "<html>"), "server_answer_strange"),
        ((200, {"items": 5}), "server_answer_strange"),
        ((200, [1]), "server_answer_strange"),
        ((503, {"detail": "later"}), "server_said_no"),
        ((200, {"items": [], "more": "x" * 5_000_000}), "server_answer_strange"),
    ],
)
async def test_an_answer_that_is_no_list_is_an_error_in_words(
    room: LocalDevices, computer: Computer, rest: RestServer, answer: tuple[int, Any], code: str
) -> None:
    rest.answers["GET /api/devices"] = answer
    computer.connect_to(rest.url, "token")
    with pytest.raises(ExecutorError, match=code):
        await room.devices()


async def test_a_redirect_does_not_take_the_token_elsewhere(
    room: LocalDevices, computer: Computer, rest: RestServer
) -> None:
    async with RestServer() as other:
        rest.answers["GET /api/devices"] = (302, f"{other.url}/api/devices")
        computer.connect_to(rest.url, "token")
        with pytest.raises(ExecutorError, match="server_said_no"):
            await room.devices()
        assert other.asked == []


async def test_without_server_token_or_network_it_is_said(
    room: LocalDevices, computer: Computer
) -> None:
    with pytest.raises(ExecutorError, match="no_server"):
        await room.devices()
    computer.environment["WEGENT_BACKEND_URL"] = "http://127.0.0.1:1"
    with pytest.raises(ExecutorError, match="signed_out"):
        await room.devices()
    computer.connect_to("http://127.0.0.1:1", "token")
    with pytest.raises(ExecutorError, match="server_unreachable"):
        await room.devices()


@pytest.mark.parametrize(
    ("item", "device"),
    [
        ({"device_id": "a"}, Device(device_id="a", name="a", status="offline")),
        (
            {"device_id": "a", "name": "", "status": "sleeping", "slot_max": None, "slot_used": -1},
            Device(device_id="a", name="a", status="offline"),
        ),
        (
            {"device_id": "b", "name": "B", "status": "busy", "slot_max": 5, "slot_used": 5,
             "is_default": True, "executor_version": "1.9", "future": {}},
            Device(device_id="b", name="B", status="busy", slots_max=5, slots_used=5,
                   is_default=True, is_this=True, version="1.9"),
        ),
    ],
)  # fmt: skip
def test_devices_of_every_generation_are_read(item: Any, device: Device) -> None:
    assert read_device(item, "b") == device
