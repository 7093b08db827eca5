"""The proxy of the environment stands between the link and servers elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from executor_core.links.device.connection import ConnectFailedError, Connection
from executor_core.outbound import proxy_for


def test_a_proxy_is_used_for_others_and_never_for_this_computer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("no_proxy", "intern.example.com")
    assert proxy_for("https://wegent.example.com") == "http://proxy.example.com:3128"
    assert proxy_for("https://intern.example.com") is None
    assert proxy_for("https://127.0.0.1:8443") is None
    assert proxy_for("https://localhost") is None


async def test_the_link_to_an_https_server_goes_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        connection = Connection(lambda _name, _argument: None)
        with pytest.raises(ConnectFailedError):
            await connection.open("https://wegent.invalid", "a-token-of-mine")
        await connection.close()
    assert asked
    assert set(asked) == {b"CONNECT wegent.invalid:443 HTTP/1.1\r\n"}
