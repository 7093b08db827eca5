"""Cables pulled, pinched and slowed between the device and its server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import engineio
import pytest

from executor_core.links.device import LinkTiming
from executor_core.links.device.server_socket import (
    GOODBYE_LIMIT_S,
    ConnectFailedError,
    LinkLostError,
    ServerSocket,
)
from executor_core.model import LinkState
from tests.links.conftest import QUICK, TOKEN, Device, MakeDevice, MakeServer, execute
from tests.support.device_server import DeviceServer
from tests.support.lossy_proxy import LossyProxy, lossy_proxy


@pytest.fixture
async def server(make_server: MakeServer) -> DeviceServer:
    return await make_server("R")


@pytest.fixture
async def proxy(server: DeviceServer) -> AsyncIterator[LossyProxy]:
    async with lossy_proxy(("127.0.0.1", server.port)) as proxy:
        yield proxy


@pytest.fixture
async def device(proxy: LossyProxy, make_device: MakeDevice) -> Device:
    device = await make_device(proxy.url)
    await device.until(LinkState.ONLINE)
    return device


async def until_attempts(device: Device, count: int) -> None:
    async with asyncio.timeout(10):
        while device.link._past.attempts < count:
            await asyncio.sleep(0.002)


async def test_a_cable_that_is_pulled_costs_no_words_that_were_not_yet_sent(
    server: DeviceServer, proxy: LossyProxy, device: Device
) -> None:
    await server.send("task:execute", execute())
    turn = await device.agent.next_turn()
    turn.say("one ")
    await server.until_seen("response.output_text.delta")
    proxy.cut()
    turn.say("two ")
    await server.until_seen("device:register", count=2)
    await server.until_seen("response.output_text.delta", count=2)
    turn.say("three")
    turn.finish()
    end = await server.until_ended(2)
    assert "one two three" in str(end.data)
    assert len(server.terminals(2)) == 1
    deltas = [seen.data["data"]["delta"] for seen in server.events("response.output_text.delta")]
    assert "".join(deltas) == "one two three"


async def test_a_half_open_link_is_noticed_by_its_heartbeats_and_rebuilt(
    server: DeviceServer, proxy: LossyProxy, device: Device
) -> None:
    await server.send("task:execute", execute())
    turn = await device.agent.next_turn()
    clients = len(engineio.base_client.connected_clients)
    proxy.stall()
    turn.finish(final_text="said into the void")
    began = time.monotonic()
    await until_attempts(device, 1)
    assert time.monotonic() - began < 3 * QUICK.heartbeat_timeout_s
    assert device.link.status.state is not LinkState.ONLINE
    assert device.executor.table.undelivered
    proxy.cut()
    proxy.flow()
    await device.until(LinkState.ONLINE)
    assert "said into the void" in str((await server.until_ended(2)).data)
    await server.until(lambda: not device.executor.table.undelivered)
    assert len(server.terminals(2)) == 1
    assert len(engineio.base_client.connected_clients) == clients


async def test_a_slow_link_stays_up_and_loses_nothing(
    server: DeviceServer, proxy: LossyProxy, make_device: MakeDevice
) -> None:
    proxy.delay_s = 0.03
    patient = LinkTiming(heartbeat_interval_s=0.2, heartbeat_timeout_s=30.0)
    device = await make_device(proxy.url, timing=patient)
    await device.until(LinkState.ONLINE)
    await server.send("task:execute", execute())
    turn = await device.agent.next_turn()
    words = [f"{number} " for number in range(200)]
    for word in words:
        turn.say(word)
        await asyncio.sleep(0)
    turn.finish()
    await server.until_ended(2)
    deltas = [seen.data["data"]["delta"] for seen in server.events("response.output_text.delta")]
    assert "".join(deltas) == "".join(words)
    assert proxy.connections == 1


async def test_stopping_with_a_dead_server_ends_within_the_time_to_flush(
    server: DeviceServer, proxy: LossyProxy, make_device: MakeDevice
) -> None:
    device = await make_device(proxy.url, timing=LinkTiming())
    await device.until(LinkState.ONLINE)
    await server.send("task:execute", execute())
    turn = await device.agent.next_turn()
    proxy.stall()
    turn.finish(final_text="kept")
    await server.until(lambda: device.executor.table.undelivered)
    clients = len(engineio.base_client.connected_clients)
    began = time.monotonic()
    await device.link.stop(0.2)
    assert time.monotonic() - began < 0.2 + GOODBYE_LIMIT_S * 2 + 0.3
    assert device.executor.table.undelivered
    assert len(engineio.base_client.connected_clients) == clients - 1
    proxy.cut()
    proxy.flow()


async def test_a_server_that_is_away_for_long_is_found_again(
    server: DeviceServer, proxy: LossyProxy, device: Device
) -> None:
    await server.stop()
    await until_attempts(device, 4)
    assert device.link.status.state in (LinkState.OFFLINE, LinkState.CONNECTING)
    await server.start()
    await device.until(LinkState.ONLINE)


async def test_a_computer_that_wakes_up_does_not_wait_for_the_back_off(
    server: DeviceServer, proxy: LossyProxy, make_device: MakeDevice
) -> None:
    device = await make_device(proxy.url, timing=LinkTiming(reconnect_delay_s=1_000.0))
    await device.until(LinkState.ONLINE)
    proxy.cut()
    await device.until(LinkState.OFFLINE)
    wait = device.link.status.next_attempt_in_s
    assert wait is not None
    assert wait > 20
    device.link.try_now()
    await device.until(LinkState.ONLINE)


async def test_connections_cut_at_any_moment_leave_nothing_behind(proxy: LossyProxy) -> None:
    """Also while the handshake is on its way; the fixtures look for what is left."""
    proxy.delay_s = 0.004
    clients = len(engineio.base_client.connected_clients)
    for moment in range(0, 40, 3):
        connection = ServerSocket(lambda _event, _data: None)
        loop = asyncio.get_running_loop()
        cut = loop.call_later(moment / 1_000, proxy.cut)
        with contextlib.suppress(ConnectFailedError, LinkLostError, TimeoutError):
            await connection.open(proxy.url, TOKEN)
            await connection.call("device:register", {"device_id": "hw-1", "name": "x"}, 0.1)
        cut.cancel()
        await connection.close()
        assert connection.lost.is_set()
    assert len(engineio.base_client.connected_clients) == clients
