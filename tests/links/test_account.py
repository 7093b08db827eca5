"""Whose tasks these are, and what happens when the token ends."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.links.login import Credential, ExpiryWatch, next_look_s, warning_h
from executor_core.model import LinkState, RunState
from tests.links.conftest import TOKEN, Device, MakeDevice, MakeServer, Turn, execute
from tests.support.clock import JumpingClock
from tests.support.device_server import DeviceServer

HOUR_S = 3600.0
PAST = datetime(2020, 1, 1, tzinfo=UTC)
DIFFERS = ExecutorError("account_differs", server="s", account="ada")


def key_of(account: str | None = None) -> Credential:
    """An API key; nobody knows yet whose it is."""
    return Credential("wg-key", account)


async def begin(server: DeviceServer, device: Device, task_id: int, **more: Any) -> Turn:
    await server.send("task:execute", execute(task_id, task_id, **more))
    return await device.agent.next_turn()


async def until_online_again(server: DeviceServer, device: Device) -> None:
    count = len(server.events("device:register"))
    device.link.credential_changed()
    await server.until_seen("device:register", count=count + 1)
    await device.until(LinkState.ONLINE)


def ends_at(server: DeviceServer) -> list[int]:
    """The subtasks whose last word came."""
    names = ("response.completed", "error", "response.incomplete")
    return [seen.data["subtask_id"] for name in names for seen in server.events(name)]


async def until_kept(device: Device, count: int) -> None:
    async with asyncio.timeout(5):
        while len(device.executor.table.undelivered) != count or device.executor.active:
            await asyncio.sleep(0.005)


# --- the end of a token ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_s", "warning", "look_s"),
    [
        (None, None, None),
        (72 * HOUR_S, None, 600),
        (48 * HOUR_S + 5, None, 5),
        (48 * HOUR_S, 48, 600),
        (24 * HOUR_S + 1, 48, 1),
        (24 * HOUR_S, 24, 600),
        (HOUR_S, 1, 600),
        (7, 1, 7),
        (0, 0, None),
        (-5, 0, None),
    ],
)
def test_a_token_warns_two_days_one_day_and_an_hour_before_its_end(
    left_s: float | None, warning: int | None, look_s: float | None
) -> None:
    assert warning_h(left_s) == warning
    assert next_look_s(left_s) == look_s


async def test_each_warning_is_logged_once_and_a_new_token_starts_anew(
    clock: JumpingClock, caplog: pytest.LogCaptureFixture
) -> None:
    changes: list[int | None] = []
    watch = ExpiryWatch("http://s", clock, lambda: changes.append(watch.warning_h))
    jobs = Jobs("test")
    jobs.spawn(watch.run(), "watch")
    caplog.set_level(logging.WARNING)
    try:
        watch.use(clock.now() + timedelta(hours=60))
        for _ in range(70):
            await clock.advance(HOUR_S)
        assert changes == [48, 24, 1, 0]
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == 4
        assert all("http://s" in line and "wegent-executor login" in line for line in told)
        watch.use(clock.now() + timedelta(hours=3))
        await clock.advance(1)
        assert changes == [48, 24, 1, 0, 24]
        watch.use(None)
        await clock.advance(100 * HOUR_S)
        assert (len(changes), watch.warning_h) == (5, None)
    finally:
        await jobs.close()


async def test_a_refused_token_that_has_ended_needs_no_second_refusal_and_costs_no_run(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url, with_link=False)
    device.tokens.values = [Credential(TOKEN, "17", PAST)]
    await device.link.start()
    turn = await begin_when_online(server, device)
    assert device.link.status.token_expires_at == PAST
    assert device.link.status.token_warning_h == 0
    server.refusal = "Invalid or expired token"
    tries = len(server.tokens)
    await server.kick_namespace()
    await device.until(LinkState.REJECTED)
    assert len(server.tokens) == tries + 1
    assert "has ended" in (device.link.status.reason or "")
    assert device.states() == [RunState.RUNNING]
    turn.say("done meanwhile")
    turn.finish()
    await until_kept(device, 1)
    server.refusal = None
    device.tokens.values.insert(0, Credential("fresh", "17"))
    await until_online_again(server, device)
    await server.until_ended(1)
    assert device.link.status.token_warning_h is None


async def begin_when_online(server: DeviceServer, device: Device) -> Turn:
    await device.until(LinkState.ONLINE)
    return await begin(server, device, 1)


async def test_a_token_that_must_not_be_used_connects_nowhere_and_says_why(
    make_server: MakeServer, make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await make_server("R")
    device = await make_device(server.url, with_link=False)

    async def current() -> Credential | None:
        raise DIFFERS

    monkeypatch.setattr(device.tokens, "current", current)
    await device.link.start()
    await device.until(LinkState.REJECTED)
    assert "logout" in (device.link.status.reason or "")
    assert server.tokens == []


# --- whose ---------------------------------------------------------------------------------------


async def test_the_account_of_a_jwt_is_settled_once_the_server_took_it(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    server.refusal = "Invalid or expired token"
    device = await make_device(server.url)
    await device.until(LinkState.REJECTED)
    assert device.tokens.settlements == []
    server.refusal = None
    await until_online_again(server, device)
    assert device.tokens.settlements == ["17"]


async def test_the_account_of_a_key_is_that_of_the_first_task_and_kept_results_wait_for_it(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    turn = await begin(server, device, 1)
    await server.stop()
    turn.finish()
    await until_kept(device, 1)
    device.tokens.values = [key_of()]
    await server.start()
    await device.until(LinkState.ONLINE)
    await server.until_seen("device:heartbeat")
    assert ends_at(server) == []
    second = await begin(server, device, 2)
    await server.until_ended(1)
    second.finish()
    await server.until_ended(2)
    assert device.tokens.settlements == ["17", "17"]


async def test_nothing_of_one_account_is_sent_under_another(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url)
    await device.until(LinkState.ONLINE)
    ended, running = await begin(server, device, 1), await begin(server, device, 2)
    await server.stop()
    ended.say("of seventeen")
    ended.finish()
    await until_kept_some(device, 1)
    before = len(server.seen)
    device.tokens.values = [Credential("other", "18")]
    await server.start()
    await device.until(LinkState.ONLINE)
    running.say("still of seventeen")
    # A number of theirs may be one of ours.
    await server.send("task:cancel", {"task_id": 2, "subtask_id": 2})
    await server.until_seen("response.incomplete")
    await server.send("task:execute", execute(3, 3, user={"id": 18}))
    await server.until_seen("device:heartbeat", count=len(server.events("device:heartbeat")) + 1)
    running.finish()
    await until_kept_some(device, 2)
    later = server.seen[before:]
    assert "seventeen" not in str([seen.data for seen in later])
    assert all(1 not in beat.data["running_task_ids"] for beat in later if is_beat(beat))
    assert all(2 not in beat.data["running_task_ids"] for beat in later if is_beat(beat))
    device.tokens.values = [Credential(TOKEN, "17")]
    await until_online_again(server, device)
    await server.until_seen("response.completed", count=2)
    told = str([seen.data for seen in server.events("response.completed")])
    assert "of seventeen" in told
    assert "still of seventeen" in told


def is_beat(seen: Any) -> bool:
    return bool(seen.event == "device:heartbeat")


async def until_kept_some(device: Device, count: int) -> None:
    async with asyncio.timeout(5):
        while len(device.executor.table.undelivered) != count:
            await asyncio.sleep(0.005)


async def test_a_key_of_another_account_gets_its_tasks_refused_in_words(
    make_server: MakeServer, make_device: MakeDevice
) -> None:
    server = await make_server("R")
    device = await make_device(server.url, with_link=False)
    device.tokens.values = [key_of()]
    device.tokens.problem = DIFFERS
    await device.link.start()
    await device.until(LinkState.ONLINE)
    for subtask_id in (1, 2):
        await server.send("task:execute", execute(subtask_id, subtask_id, user={"id": 18}))
        await server.until_ended(subtask_id)
    told = [seen.data["data"]["message"] for seen in server.events("error")]
    assert all("wegent-executor logout" in words for words in told)
    assert device.agent.begun == []
