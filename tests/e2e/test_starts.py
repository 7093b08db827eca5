"""What the first second brings: exit codes, one sentence where it cannot start, and the port."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest

from tests.support.executor_process import ExecutorProcess
from tests.support.hub_server import HubServer

NOT_RUNNING, OFFLINE, REJECTED, CONFIGURATION, ALREADY_RUNNING = 3, 4, 5, 6, 7


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of loopback at which somebody else listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def is_one_line(words: str) -> bool:
    return words.count("\n") == 1 and words.endswith("\n") and "Traceback" not in words


async def test_without_configuration_it_names_login_and_standalone(
    executor: ExecutorProcess,
) -> None:
    done = await executor.command("--no-gui")
    assert done.code == CONFIGURATION
    assert is_one_line(done.err), done.err
    assert "login" in done.err
    assert "--standalone" in done.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCAL_HEARTBEAT_INTERVAL", "often"),
        ("WEGENT_BACKEND_URL", "http://wegent.example.com"),
    ],
)
async def test_a_bad_value_is_one_line_that_names_where_it_stands(
    executor: ExecutorProcess, name: str, value: str
) -> None:
    executor.env |= {"WEGENT_AUTH_TOKEN": "t", "WEGENT_BACKEND_URL": "http://127.0.0.1:9"}
    executor.env[name] = value
    done = await executor.command("--no-gui")
    assert done.code == CONFIGURATION
    assert is_one_line(done.err), done.err
    assert name in done.err


async def test_nobody_runs_is_3_and_an_unknown_option_is_2(executor: ExecutorProcess) -> None:
    for verb in (["status", "--json"], ["stop"]):
        done = await executor.command(*verb)
        assert (done.code, done.out) == (NOT_RUNNING, ""), verb
        assert is_one_line(done.err), done.err
    assert (await executor.command("--no-such-option")).code == 2


@pytest.mark.slow
async def test_status_is_3_after_a_kill_although_the_address_is_still_on_file(
    hub: HubServer, device: ExecutorProcess
) -> None:
    device.start()
    await device.online()
    await device.kill()
    assert json.loads((device.home / "api.json").read_text())["url"]
    assert (await device.command("status")).code == NOT_RUNNING


async def test_status_is_0_online_and_its_json_is_as_promised(
    hub: HubServer, device: ExecutorProcess
) -> None:
    device.start()
    await device.online()
    done = await device.command("status", "--json")
    status = json.loads(done.out)
    assert (done.code, done.err) == (0, "")
    assert status["pid"] == device.pid
    assert status["device_id"] == (device.home / "device_id").read_text().strip()
    assert status["slots"] == {"used": 0, "max": 5}
    assert (status["queued"], status["outbox_pending"], status["runs"]) == (0, 0, [])
    [link] = status["links"]
    assert (link["kind"], link["state"], link["server"]) == ("device", "online", hub.url)
    assert (link["dialect"], link["reason"], link["next_attempt_in_s"]) == ("R", None, None)
    assert link["since"].endswith("Z")


@pytest.mark.slow
async def test_a_second_start_is_7_and_disturbs_nothing(
    hub: HubServer, device: ExecutorProcess
) -> None:
    device.start()
    await device.online()
    done = await device.command("--no-gui")
    assert done.code == ALREADY_RUNNING
    assert "Traceback" not in done.err
    status = await device.status()
    assert status is not None
    assert status.pid == device.pid


@pytest.mark.slow
async def test_without_a_server_status_is_4_and_says_when_it_tries_again(
    executor: ExecutorProcess,
) -> None:
    executor.connect_to(f"http://127.0.0.1:{_free_port()}", "t")
    executor.start()
    await executor.until_link("offline")
    done = await executor.command("status")
    assert done.code == OFFLINE
    assert "Failed to connect to Backend WebSocket" in executor.log


@pytest.mark.slow
async def test_a_refused_token_is_5_and_the_words_say_what_to_do(
    hub: HubServer, executor: ExecutorProcess
) -> None:
    executor.connect_to(hub.url, "not-a-token-of-this-server")
    executor.start()
    await executor.until_link("rejected")
    done = await executor.command("status")
    assert done.code == REJECTED
    assert "login" in done.out
    assert "not-a-token-of-this-server" not in executor.output + executor.log


@pytest.mark.slow
async def test_a_token_from_login_is_used_at_once_where_the_first_was_refused(
    hub: HubServer, executor: ExecutorProcess
) -> None:
    executor.connect_to(hub.url, "outdated")
    executor.start()
    await executor.until_link("rejected")
    done = await executor.command("login", "--file", "--token", "-", stdin=hub.hub.device_token())
    assert done.code == 0, done
    await executor.online()


async def test_a_taken_default_port_means_another_one_and_is_said(
    hub: HubServer, device: ExecutorProcess
) -> None:
    del device.env["OPENRUNNER_ADDR"]
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # then another program has taken it for us
            taken.bind(("127.0.0.1", 8090))
            taken.listen()
        device.start()
        status = await device.online()
    assert status.api != "http://127.0.0.1:8090"
    assert f"port 8090 is taken; listening on {status.api}" in device.log


@pytest.mark.slow
async def test_a_taken_port_that_was_asked_for_is_6_and_names_it(
    hub: HubServer, device: ExecutorProcess, taken_port: int
) -> None:
    device.env["OPENRUNNER_ADDR"] = f"127.0.0.1:{taken_port}"
    done = await device.command("--no-gui")
    assert done.code == CONFIGURATION
    assert str(taken_port) in done.err
    assert "Traceback" not in done.err
    assert (await device.command("status")).code == NOT_RUNNING


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
