"""One row above a method is its route, its description and its remote stub."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Protocol, cast

import pytest
from msgspec import Meta, Struct

from executor_core.api.openapi import document
from executor_core.api.route import Parts, access_of, handler
from executor_core.control import Control
from executor_core.control.endpoint import endpoint, endpoints
from executor_core.control.remote import Remote
from executor_core.errors import ExecutorError
from executor_core.services.interface import DeviceService
from executor_core.web import Listener
from tests.support.clock import JumpingClock
from tests.support.office import TOKEN, Office, write_address


class Sum(Struct):
    """What it comes to."""

    sum: int


class Sums(Protocol):
    """A surface with one method."""

    @endpoint("POST", "/api/sums/{name}", envelope=Sum, errors={"unknown_path": 404})
    async def add(self, name: str, left: int, right: Annotated[int, Meta(le=9)] = 1) -> int:
        """Add two numbers. The name says nothing."""


class LocalSums:
    """Implements Sums."""

    async def add(self, name: str, left: int, right: int = 1) -> int:
        if name == "none":
            raise ExecutorError("unknown_path")
        return left + right


class RemoteSums(Remote, Sums):
    """Implements Sums."""


class RemoteDevices(Remote, DeviceService):
    """Implements DeviceService."""


@pytest.mark.parametrize("protocol", [Control, DeviceService])
def test_every_method_has_a_row(protocol: type) -> None:
    methods = {
        name
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }
    assert {row.name for row in endpoints(protocol)} == methods


@pytest.fixture
async def sums(tmp_path: Path, clock: JumpingClock) -> AsyncIterator[RemoteSums]:
    """Sums in another process, as it were."""
    listener = Listener(port=0, token=TOKEN, clock=clock)
    parts = Parts(listener=listener, control=cast("Control", LocalSums()))
    for row in endpoints(Sums):
        listener.route(row.method, row.path, handler(row, parts), access=access_of(row))
    write_address(tmp_path / "api.json", await listener.start())
    async with RemoteSums.of_home(tmp_path / "api.json") as remote:
        yield remote
    await listener.stop()


async def test_a_method_with_its_row_can_be_asked_over_http(sums: RemoteSums) -> None:
    assert await sums.add("a/b c", 2) == 3
    assert await sums.add("x", left=2, right=5) == 7
    with pytest.raises(ExecutorError) as caught:
        await sums.add("none", 1)
    assert caught.value.code == "unknown_path"


async def test_what_a_row_does_not_allow_is_refused(sums: RemoteSums) -> None:
    with pytest.raises(ExecutorError) as caught:
        await sums.add("x", 2, 10)
    assert caught.value.code == "bad_body"
    with pytest.raises(TypeError):
        await sums.add("x", 2, none=1)  # type: ignore[call-arg]


def test_a_row_is_described_by_its_signature_and_its_docstring() -> None:
    described = document(endpoints(Sums), "1")
    add = described["paths"]["/api/sums/{name}"]["post"]
    assert add["summary"] == "Add two numbers"
    assert add["responses"]["404"]["description"] == "unknown_path"
    assert [parameter["name"] for parameter in add["parameters"]] == ["name"]
    body = described["components"]["schemas"]["AddRequest"]
    assert body["required"] == ["left"]
    assert body["properties"]["right"] == {"type": "integer", "maximum": 9, "default": 1}


async def test_the_devices_can_be_asked_for_over_http_like_the_executor(office: Office) -> None:
    async with RemoteDevices.of_home(office.api_json) as devices:
        (device,) = await devices.devices()
        assert (device.device_id, device.is_default) == ("hw-1", True)
        await devices.clear_default()
        assert not (await devices.devices())[0].is_default
        await devices.make_default("hw-1")
        assert (await devices.devices())[0].is_default
        await devices.remove("hw-9")
    assert office.services.removed == ["hw-9"]
