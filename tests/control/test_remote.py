"""Finding the executor of a home, and losing it."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from executor_core.control import Address, RemoteControl
from executor_core.errors import ExecutorError
from executor_core.model import TextDelta
from tests.support.office import TOKEN, Office, write_address


@pytest.fixture
def api_json(tmp_path: Path) -> Path:
    return tmp_path / "api.json"


def url_of(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def refused(api_json: Path) -> str:
    with pytest.raises(ExecutorError) as caught:
        RemoteControl.of_home(api_json)
    return caught.value.code


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"url": 1}', '{"url":"x","token":"t"}', "\xff", '{"url":"\xff"}']
)
def test_no_file_or_no_address_in_it_means_not_running(api_json: Path, content: str) -> None:
    assert refused(api_json) == "not_running"
    api_json.write_bytes(content.encode("latin-1"))
    assert refused(api_json) == "not_running"


@pytest.mark.parametrize("url", ["", "http://", "http://127.0.0.1:x", "nonsense"])
def test_an_executor_that_ended_in_good_order_is_not_running(api_json: Path, url: str) -> None:
    write_address(api_json, url)
    assert refused(api_json) == "not_running"


def test_a_process_that_is_gone_is_not_running(api_json: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        write_address(api_json, url_of(other), 2**22 + 1)
        assert refused(api_json) == "not_running"


def test_another_program_on_the_port_does_not_get_the_token(api_json: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        write_address(api_json, url_of(other), os.getppid())
        assert refused(api_json) == "not_running"
        with pytest.raises(BlockingIOError):
            other.accept()


def test_a_process_with_that_id_which_does_not_listen_is_not_running(api_json: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        url = url_of(other)
    write_address(api_json, url)
    assert refused(api_json) == "not_running"


async def test_an_executor_that_goes_away_between_two_questions_is_not_running(
    office: Office,
) -> None:
    await office.remote.status()
    await office.listener.stop()
    with pytest.raises(ExecutorError) as caught:
        await office.remote.status()
    assert caught.value.code == "not_running"


async def test_an_executor_that_comes_back_elsewhere_is_found_again(office: Office) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    here = office.api_json.read_bytes()
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    write_address(office.api_json, url_of(server.sockets[0]))
    async with RemoteControl.of_home(office.api_json) as control:
        with pytest.raises(ExecutorError):
            await control.status()
        office.api_json.write_bytes(here)
        assert (await control.status()).api == (await office.remote.status()).api
    server.close()
    await server.wait_closed()


async def test_whoever_has_taken_the_port_since_does_not_get_the_token(office: Office) -> None:
    async with RemoteControl.of_home(office.api_json) as control:
        await office.listener.stop()
        with pytest.raises(ExecutorError):
            await control.status()
        port = urlsplit(office.listener.base_url).port
        write_address(office.api_json, office.listener.base_url, os.getppid())
        with socket.create_server(("127.0.0.1", port or 0)) as other:
            other.setblocking(False)
            with pytest.raises(ExecutorError) as caught:
                await control.status()
            with pytest.raises(BlockingIOError):
                other.accept()
    assert caught.value.code == "not_running"


async def test_events_that_break_off_are_an_error_and_not_an_end(office: Office) -> None:
    run_id = await office.begin()
    office.playing.say("first")
    heard = []

    async def listen() -> None:
        async for event in office.remote.events(run_id):
            heard.append(event)
            if isinstance(event, TextDelta):
                await office.listener.stop()

    with pytest.raises(ExecutorError) as caught:
        await listen()
    assert caught.value.code == "executor_lost"
    assert len(heard) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, "<html>"), (200, "{}"), (500, "<html>"), (404, '{"error": 1}'), (401, "[]")],
)
async def test_an_answer_of_another_version_is_a_sentence(
    office: Office, status: int, body: str
) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        await web.SockSite(runner, listening).start()
        write_address(office.api_json, url_of(listening))
        async with RemoteControl.of_home(office.api_json) as control:
            with pytest.raises(ExecutorError) as caught:
                await control.status()
        await runner.cleanup()
    assert caught.value.code == "executor_differs"


async def test_an_executor_that_hangs_up_without_an_answer_is_lost(office: Office) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    write_address(office.api_json, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with RemoteControl.of_home(office.api_json) as control:
        with pytest.raises(ExecutorError) as caught:
            await control.drain()
    assert caught.value.code == "executor_lost"
    server.close()
    await server.wait_closed()


async def test_words_of_an_error_are_those_that_the_executor_chose(office: Office) -> None:
    with pytest.raises(ExecutorError) as caught:
        await office.remote.run("run_x")
    assert "“run_x”" in caught.value.message.detail
    assert "“run_x”" in str(caught.value)


def test_an_address_never_shows_its_token() -> None:
    assert TOKEN not in repr(Address(url="http://x", token=TOKEN, pid=1))


async def test_half_characters_are_asked_for_as_question_marks(office: Office) -> None:
    """An argument of a command line may hold bytes that are no text."""
    status = await office.remote.pause(reason="a\udcffb")
    assert status.pause_reason == "a?b"
