"""The proxy of the environment stands between the link and servers elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from executor_core.links.device.server_socket import ConnectFailedError, ServerSocket


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("HTTPS_PROXY", "http://{}"),
        ("https_proxy", "{}"),
        ("ALL_PROXY", "http://{}/"),
        ("all_proxy", "user:word@{}"),
    ],
)
async def test_the_link_to_an_https_server_goes_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv(name, form.format(f"127.0.0.1:{port}"))
        connection = ServerSocket(lambda _name, _argument: None)
        with pytest.raises(ConnectFailedError):
            await connection.open("https://wegent.invalid", "a-token-of-mine")
        await connection.close()
    assert asked
    assert set(asked) == {b"CONNECT wegent.invalid:443 HTTP/1.1\r\n"}


async def test_a_proxy_that_is_not_spoken_is_the_reason_and_nothing_is_left_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:word@127.0.0.1:1080")
    connection = ServerSocket(lambda _name, _argument: None)
    with pytest.raises(ConnectFailedError, match=r"ALL_PROXY.*socks5") as caught:
        await connection.open("https://wegent.invalid", "a-token-of-mine")
    await connection.close()
    assert "word" not in caught.value.reason
