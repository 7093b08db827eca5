"""Connecting, registering, being refused, coming back: the life of the link."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from executor_core.errors import ExecutorError
from executor_core.hub import wire
from executor_core.jobs import Jobs
from executor_core.links.device import LinkTiming, server_socket
from executor_core.links.device.link import KEYCHAIN_AGAIN_S
from executor_core.links.device.server_socket import ConnectFailedError, LinkLostError, ServerSocket
from executor_core.links.login import Credential
from executor_core.links.supervision import REJECTED_PROBE_S, Failure
from executor_core.model import KEYCHAIN, TWIN, LinkState
from tests.links.conftest import QUICK, TOKEN, Device, MakeDevice, MakeServer, execute
from tests.support.clock import JumpingClock
from tests.support.device_server import BARE_REFUSAL, EMPTY, NEWER_BARE_REFUSAL, SILENCE


async def advance_until(clock: JumpingClock, condition: Any, step_s: float = 1.0) -> float:
    """Let time pass until `condition` holds; the seconds it took. What is real gets its turns."""
    began = clock.monotonic()
    async with asyncio.timeout(10):
        while not condition():
            await clock.advance(step_s)
            await asyncio.sleep(0.002)
    return clock.monotonic() - began


# --- registering -------------------------------------------------------------------------------


async def test_a_device_introduces_itself_as_every_server_allows(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    await server.until_seen("device:heartbeat")
    order = [seen.event for seen in server.seen[:5]]
    probes = {"task:progress", "response.created", "terminal:output"}
    assert order[0] == "device:register"
    assert set(order[1:]) == {"device:heartbeat", *probes}
    registration = server.events("device:register")[0].data
    assert wire.parsed(wire.Registration, registration).name == "Linux - test"
    assert registration["device_type"] == "local"
    assert "runtime_instance_id" not in registration
    beat = wire.parse_heartbeat(server.events("device:heartbeat")[0].data, "responses")
    assert beat.running_task_ids == []
    assert beat.runtime_capacity == wire.Slots(limit=2, active=0, queued=0)
    assert server.tokens == [TOKEN]


async def test_a_heartbeat_leaves_at_once_when_the_running_set_changes(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    seldom = LinkTiming(heartbeat_interval_s=1_000.0)
    server = await make_server("R")
    device = await make_device(server.url, timing=seldom)
    await device.until(LinkState.ONLINE)

    async def until_running(*task_ids: int) -> Any:
        def latest() -> Any:
            beat = server.events("device:heartbeat")[-1].data
            return beat if beat["running_task_ids"] == list(task_ids) else None

        await server.until_seen("device:heartbeat")
        return (await server.until(latest))["runtime_capacity"]

    await until_running()
    await server.send("task:execute", execute(7, 1))
    first = await device.agent.next_turn()
    assert (await until_running(7))["active_task_ids"] == ["7"]
    for task_id in (8, 9):
        await server.send("task:execute", execute(task_id, task_id))
    await until_running(7, 8)
    first.finish()
    await until_running(8, 9)


async def test_a_registration_that_fails_is_tried_again(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    server.answers["device:register"] = deque([{"error": "Registration failed: x"}, EMPTY])
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    assert len(server.events("device:register")) == 3


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "Device ID mismatch"},
        {"error": "Stale device connection"},
        {"error": "Not authenticated"},
    ],
)
async def test_a_heartbeat_that_is_refused_registers_anew(
    make_server: MakeServer, make_device: MakeDevice, answer: Any
) -> None:
    server = await make_server("R")
    server.answers["device:heartbeat"] = deque([answer])
    await make_device(server.url)
    await server.until_seen("device:register", count=2)
    sockets = [seen.socket for seen in server.events("device:register")]
    assert sockets[0] != sockets[1]


async def test_a_p_server_is_registered_with_again_after_a_minute_because_of_ghosts(
    make_server: MakeServer, make_device: MakeDevice, clock: JumpingClock
) -> None:
    """It may show a device as offline whose heartbeats it acknowledges."""
    timing = LinkTiming(heartbeat_interval_s=10.0)
    server = await make_server("P")
    device = await make_device(server.url, timing=timing, clock=clock)
    await device.until(LinkState.ONLINE)

    def registrations() -> int:
        return len(server.events("device:register"))

    waited = await advance_until(clock, lambda: registrations() == 2)
    assert 60 <= waited <= 90
    waited = await advance_until(clock, lambda: registrations() == 3)
    assert 290 <= waited <= 330
    assert len({seen.socket for seen in server.events("device:register")}) == 1


# --- coming back -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["namespace", "transport", "restart"])
async def test_the_link_comes_back_and_a_result_of_the_meantime_arrives_once(
    make_server: MakeServer, make_device: MakeDevice, way: str
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    await server.send("task:execute", execute())
    turn = await device.agent.next_turn()
    turn.say("before ")
    await server.until_seen("response.output_text.delta")
    match way:
        case "namespace":
            await server.kick_namespace()
        case "transport":
            await server.kick_transport()
        case _:
            await server.stop()
            turn.say("meanwhile ")
            turn.finish()
            await server.until(lambda: device.executor.table.undelivered)
            await server.start()
    await server.until_seen("device:register", count=2)
    if way != "restart":
        await device.until(LinkState.ONLINE)
        turn.say("after ")
        turn.finish()
    end = await server.until_ended(2)
    words = "before meanwhile " if way == "restart" else "before after "
    assert words in str(end.data)
    await server.until(lambda: not device.executor.table.undelivered)
    assert len(server.terminals(2)) == 1
    deltas = [seen.data["data"] for seen in server.events("response.output_text.delta")]
    assert "".join(delta["delta"] for delta in deltas) == words
    assert [delta["offset"] for delta in deltas] == [0, 7]


@pytest.mark.parametrize("way", ["namespace", "transport"])
async def test_a_kick_is_noticed_at_once_and_not_by_the_next_heartbeat(
    make_server: MakeServer, make_device: MakeDevice, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = await make_server("R")
    seldom = LinkTiming(heartbeat_interval_s=1_000.0, reconnect_delay_s=0.02)
    device = await make_device(server.url, timing=seldom)
    await device.until(LinkState.ONLINE)
    await server.until_seen("device:heartbeat")
    await (server.kick_namespace() if way == "namespace" else server.kick_transport())
    await server.until_seen("device:register", count=2)
    # A connection that was there and is lost has not failed to be made.
    assert "The connection was lost" in caplog.text
    assert "Failed to connect" not in caplog.text


async def test_in_p_a_new_connection_hears_the_whole_state_again(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    """The server took the loss of the link for the end of the run."""
    server = await make_server("P")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    await server.send("task:execute", execute())
    turn = await device.agent.next_turn()
    turn.say("all of it")
    await server.until(lambda: any("all of it" in str(s.data) for s in server.of_subtask(2)))
    await server.kick_transport()
    await server.until_seen("device:register", count=2)
    last = server.events("device:register")[1].socket
    told = await server.until(lambda: [s for s in server.of_subtask(2) if s.socket == last])
    assert told[0].data["result"]["value"] == "all of it"
    assert told[0].data["status"] == "RUNNING"


async def test_a_result_from_before_a_restart_of_the_device_is_delivered_after_it(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    first = await make_device(server.url)
    await first.until(LinkState.ONLINE)
    await server.send("task:execute", execute())
    turn = await first.agent.next_turn()
    port = server.port
    await server.stop()
    turn.finish(final_text="kept on disk")
    await first.stop(flush_s=0)
    folder = first.journal._path.parent
    second = Device(folder, f"http://127.0.0.1:{port}", QUICK, first.link._clock)
    await second.start()
    await server.start()
    assert "kept on disk" in str((await server.until_ended(2)).data)
    await second.stop()


# --- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [BARE_REFUSAL, NEWER_BARE_REFUSAL, "Invalid or expired token"])
async def test_three_refusals_are_a_rejection_that_a_new_token_ends_at_once(
    make_server: MakeServer, make_device: MakeDevice, text: str
) -> None:
    server = await make_server("R")
    server.refusal = text
    device = await make_device(server.url)
    await device.until(LinkState.REJECTED)
    assert len(server.tokens) == 3
    status = device.link.status
    assert text in str(status.reason)
    assert "wegent-executor login" in str(status.reason)
    assert status.next_attempt_in_s is not None
    assert status.next_attempt_in_s > 500
    server.refusal = None
    device.tokens.values.insert(0, Credential("new", "17"))
    device.link.credential_changed()
    await device.until(LinkState.ONLINE)
    assert server.tokens[-1] == "new"


async def test_a_rejected_link_looks_again_after_ten_minutes(
    make_server: MakeServer, make_device: MakeDevice, clock: JumpingClock
) -> None:
    server = await make_server("R")
    server.refusal = "Invalid or expired API key"
    device = await make_device(server.url, clock=clock)
    await advance_until(clock, lambda: device.link.status.state is LinkState.REJECTED)
    await clock.advance(REJECTED_PROBE_S - 5)
    assert len(server.tokens) == 3
    server.refusal = None
    await advance_until(clock, lambda: device.link.status.state is LinkState.ONLINE)


async def test_a_second_home_with_the_same_id_ends_the_pushing_and_is_named(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    stale = {"error": "Stale device connection"}
    server.answers["device:heartbeat"] = deque([stale, stale])
    device = await make_device(server.url)
    await device.until(LinkState.REJECTED)
    status = device.link.status
    assert status.code == TWIN
    assert "hw-1" in str(status.reason)
    assert (len(server.tokens), device.tokens.refusals) == (2, [])
    assert status.next_attempt_in_s is None or status.next_attempt_in_s > 500
    device.link.try_now()
    await device.until(LinkState.ONLINE)


@pytest.mark.parametrize("code", ["keychain_asking", "keychain_locked"])
async def test_a_locked_keychain_is_waited_for(
    make_server: MakeServer, make_device: MakeDevice, clock: JumpingClock, code: str
) -> None:
    server = await make_server("R")
    device = await make_device(server.url, clock=clock, with_link=False)
    device.tokens.unavailable = ExecutorError(code, reason="x")
    await device.link.start()
    for _ in range(3):
        await advance_until(clock, lambda: device.link.status.code == KEYCHAIN)
        assert device.link.status.state is LinkState.OFFLINE
        assert "Unlock" in str(device.link.status.reason)
        await clock.advance(KEYCHAIN_AGAIN_S)
    device.tokens.unavailable = None
    await advance_until(clock, lambda: device.link.status.state is LinkState.ONLINE)
    assert device.link.status.code is None


async def test_a_rejected_link_keeps_its_words_while_the_server_is_away(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    server.refusal = "Invalid or expired token"
    device = await make_device(server.url)
    await device.until(LinkState.REJECTED)
    reason = device.link.status.reason
    await server.stop()
    device.link.try_now()
    async with asyncio.timeout(5):
        while device.link._past.attempts < 4:
            await asyncio.sleep(0.002)
    await asyncio.sleep(0)
    assert (device.link.status.state, device.link.status.reason) == (LinkState.REJECTED, reason)
    await server.start()


async def test_a_server_that_does_not_answer_at_all_never_rejects(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    """Behind a proxy whose server is down, every connect may look like a refusal."""
    server = await make_server("R")
    server.refusal = BARE_REFUSAL
    server.root_status = 502
    device = await make_device(server.url)
    await server.until(lambda: len(server.tokens) >= 6)
    assert device.link.status.state is not LinkState.REJECTED
    server.refusal = None
    await device.until(LinkState.ONLINE)


async def test_another_token_takes_the_place_of_a_refused_one(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    server.refusal = "Invalid or expired token"
    device = await make_device(server.url, with_link=False)
    device.tokens.values.append(Credential("second", "17"))
    await device.link.start()
    await server.until(lambda: "second" in server.tokens)
    server.refusal = None
    await device.until(LinkState.ONLINE)
    assert [token.value for token in device.tokens.refusals] == [TOKEN]


async def test_without_a_token_the_person_is_told_what_to_do(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url, with_link=False)
    device.tokens.values = []
    await device.link.start()
    await device.until(LinkState.REJECTED)
    assert "wegent-executor login" in str(device.link.status.reason)
    assert server.tokens == []


async def test_a_token_entered_while_online_is_used_at_once(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    device.link.credential_changed()
    device.tokens.values.insert(0, Credential("new", "18"))
    device.link.credential_changed()
    await server.until(lambda: server.tokens == [TOKEN, "new"])
    await device.until(LinkState.ONLINE)


async def test_credentials_that_fail_do_not_end_the_link(
    make_server: MakeServer, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await make_server("R")
    device = await make_device(server.url, with_link=False)
    works = device.tokens.current
    failures = [1, 2]

    async def current() -> Credential | None:
        if failures:
            failures.pop()
            raise RuntimeError("the keychain fell over")
        return await works()

    monkeypatch.setattr(device.tokens, "current", current)
    await device.link.start()
    await device.until(LinkState.ONLINE)


# --- peers that are no servers -----------------------------------------------------------------


@asynccontextmanager
async def raw_server(answer: bytes, *, keeps_open: bool = False) -> AsyncIterator[str]:
    """The URL of something that listens and answers every connection with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(
            (line.split()[1] for line in head.splitlines() if b"websocket-key" in line.lower()), b""
        )
        writer.write(answer.replace(b"ACCEPT", _accept(key)))
        if keeps_open:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def unopened() -> AsyncIterator[ServerSocket]:
    connection = ServerSocket(lambda _event, _data: None)
    try:
        yield connection
    finally:
        await connection.close()
        await connection.close()


def _accept(key: bytes) -> bytes:
    magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1(key + magic).digest())


UPGRADE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ACCEPT\r\n\r\n"
)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", ""),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "(status 404) is no Wegent server",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhtml", "(status 200) is no Wegent server"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "with status 502."),
        (b"SSH-2.0-OpenSSH_9\r\n", ""),
        (UPGRADE + b"\x88\x00", ""),
        (UPGRADE + b"\x81\x05hello", ""),
        (UPGRADE + b"\x81\x030{}", ""),
        (UPGRADE + b"\x81\x012", ""),
    ],
)
async def test_a_peer_that_is_no_such_server_is_unreachable_and_leaves_nothing_open(
    answer: bytes, words: str
) -> None:
    async with raw_server(answer) as url, unopened() as connection:
        with pytest.raises(ConnectFailedError) as caught:
            await connection.open(url, TOKEN)
    assert caught.value.failure is Failure.UNREACHABLE
    assert caught.value.reason
    assert words in caught.value.reason
    assert TOKEN not in caught.value.reason


@pytest.mark.parametrize("answer", [b"", UPGRADE])
async def test_a_peer_that_takes_the_call_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(server_socket, "CONNECT_LIMIT_S", 0.1)
    async with raw_server(answer, keeps_open=True) as url, unopened() as connection:
        with pytest.raises(ConnectFailedError, match=r"0\.1 s"):
            await connection.open(url, TOKEN)


async def test_the_reason_for_not_reaching_a_server_names_the_address() -> None:
    async with unopened() as connection:
        with pytest.raises(ConnectFailedError, match=r"127\.0\.0\.1.*1"):
            await connection.open("http://127.0.0.1:1", TOKEN)


async def test_calls_that_wait_end_at_once_when_the_connection_goes(
    make_server: MakeServer,
) -> None:
    server = await make_server("R")
    server.answers["device:status"] = SILENCE
    async with unopened() as connection:
        await connection.open(server.url, TOKEN)
        jobs = Jobs("test")
        call = jobs.spawn(connection.call("device:status", {"a": 1}), "call")
        await server.until_seen("device:status")
        await server.kick_transport()
        async with asyncio.timeout(2):
            await asyncio.wait({call})
        assert isinstance(call.exception(), LinkLostError)


# --- what it leaves ----------------------------------------------------------------------------


async def test_no_token_is_in_the_log_or_in_any_repr(
    make_server: MakeServer, make_device: MakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = await make_server("R")
    server.refusal = "Invalid or expired token"
    device = await make_device(server.url)
    await device.until(LinkState.REJECTED)
    server.refusal = None
    device.link.credential_changed()
    await device.until(LinkState.ONLINE)
    secret: dict[str, Any] = {
        "auth_token": "task-secret",
        "model_config": {"model": "m", "api_key": "key-secret"},
    }
    await server.send("task:execute", execute(**secret))
    (await device.agent.next_turn()).finish()
    await server.until_ended(2)
    ours = "\n".join(
        record.getMessage()
        for record in caplog.records
        if record.name.split(".")[0] not in ("asyncio", "aiosqlite")
    )
    for word in (TOKEN, "task-secret", "key-secret"):
        assert word not in ours
        assert word not in repr(device.link.status)
        assert word not in repr(device.link._credential)


async def test_a_failure_that_repeats_is_not_logged_every_time(
    make_device: MakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    quickest = LinkTiming(reconnect_delay_s=0.001, reconnect_max_delay_s=0.001)
    device = await make_device("http://127.0.0.1:1", timing=quickest)
    async with asyncio.timeout(10):
        while device.link._past.attempts < 20:
            await asyncio.sleep(0.002)
    errors = [r for r in caplog.records if "Failed to connect to Backend" in r.getMessage()]
    assert 1 <= len(errors) <= 6


async def test_a_link_can_be_stopped_in_every_state(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    never_started = await make_device(server.url, with_link=False)
    await never_started.link.stop()
    connecting = await make_device(server.url)
    await connecting.link.stop()
    online = await make_device(server.url)
    await online.until(LinkState.ONLINE)
    await online.link.stop()
    await online.link.stop()
    assert online.link.status.state is LinkState.STOPPED
    await server.until(lambda: server.online == 0)
    server.refusal = "Invalid or expired token"
    rejected = await make_device(server.url)
    await rejected.until(LinkState.REJECTED)
    await rejected.link.stop()


async def test_a_stop_in_the_middle_of_a_farewell_leaves_no_socket_open(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    """Kicked and stopped within a few turns of the loop; the fixtures look for what is left."""
    server = await make_server("R")
    for turns in range(0, 40, 2):
        device = await make_device(server.url)
        await device.until(LinkState.ONLINE)
        connection = device.link._connection
        assert connection is not None
        connection.give_up("kicked")
        for _ in range(turns):
            await asyncio.sleep(0)
        await device.link.stop(0)
        assert connection._http is not None
        assert connection._http.closed
