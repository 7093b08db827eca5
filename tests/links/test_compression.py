"""What really passes over the socket, with a server that takes the compression we offer."""

from __future__ import annotations

import random
import string

import pytest

from executor_core.links.device.server_socket import ServerSocket
from executor_core.links.device.story import Dialect
from executor_core.model import TextDelta
from tests.links.conftest import TOKEN
from tests.links.story import outcome, tell, wire_bytes
from tests.support.device_server import DeviceServer
from tests.support.lossy_proxy import lossy_proxy

R = Dialect.RESPONSES
_SIGNS = string.ascii_letters + string.digits + "+/"


@pytest.mark.parametrize("seconds", [5.0, 60.0, 300.0])
@pytest.mark.parametrize("characters", [10_000, 100_000])
async def test_r_carries_little_more_than_the_text_twice_however_slowly_it_is_written(
    characters: int, seconds: float
) -> None:
    """Signs drawn by lot: no text that an agent writes is harder to compress.

    People watch it being written, so a frame that carries ten signs costs what it costs.
    """
    text = "".join(random.Random(7).choices(_SIGNS, k=characters))
    step = characters // 1_000
    pieces = [text[start : start + step] for start in range(0, characters, step)]
    events = [(seconds / 1_000, TextDelta(text=piece)) for piece in pieces]
    sent = tell(R, events, outcome(text))
    server = DeviceServer()
    await server.start()
    connection = ServerSocket(lambda _event, _data: None)
    try:
        async with lossy_proxy(("127.0.0.1", server.port)) as proxy:
            await connection.open(proxy.url, TOKEN)
            before = proxy.bytes_to_target
            for _, frame in sent:
                await connection.call(frame.event, frame.data)
            carried = proxy.bytes_to_target - before
            assert carried <= 2.5 * characters + 30 * len(sent)
            assert carried < wire_bytes(sent)
    finally:
        await connection.close()
        await server.stop()
    deltas = server.events("response.output_text.delta")
    assert "".join(seen.data["data"]["delta"] for seen in deltas) == text
