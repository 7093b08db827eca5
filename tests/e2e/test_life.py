"""One executor, its server and its user: signals, restarts, the verbs, and what is left behind."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest

from executor_core.hub import Dialect
from tests.e2e.conftest import BOTH_DIALECTS
from tests.support.executor_process import ExecutorProcess
from tests.support.hub_server import HubServer, Turn
from tests.support.stub_claude import StubClaude, be_stubborn, gate, say, spawn, turn

pytestmark = pytest.mark.slow

QUIT_S = 10


async def five_running(hub: HubServer, claude: StubClaude, *first: list[Any]) -> list[Turn]:
    """Five turns that stand at the gates g0 … g4, each after its first words."""
    turns = [
        await hub.dispatch(turn(*first, say(f"Begun {n}. "), gate(f"g{n}"), say("Done.")))
        for n in range(5)
    ]
    for n, sent in enumerate(turns):
        await claude.reached(f"g{n}")
        await hub.until_text(sent, f"Begun {n}. ")
    return turns


@pytest.mark.parametrize("dialect", BOTH_DIALECTS)
async def test_sigterm_ends_five_runs_and_delivers_their_outcomes(
    dialect: Dialect, hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    turns = await five_running(hub, claude, spawn("sleep", "300", escapes=True))
    began = time.monotonic()
    device.signal(signal.SIGTERM)
    assert await device.gone() == 0
    assert time.monotonic() - began < QUIT_S
    assert device.descendants() == []
    seen = [hub.terminals_of(sent) for sent in turns]
    assert [[one.status for one in mine] for mine in seen] == [["FAILED"]] * 5
    assert [(await hub.answer(sent))["text"] for sent in turns] == [
        f"Begun {n}. " for n in range(5)
    ]
    device.start()
    await device.online()
    await device.until_delivered()
    assert len(hub.terminals) == 5


@pytest.mark.slow
async def test_sigterm_ends_five_stubborn_agents_in_time(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    turns = await five_running(hub, claude, be_stubborn(), spawn("sleep", "300", escapes=True))
    began = time.monotonic()
    device.signal(signal.SIGTERM)
    assert await device.gone() == 0
    assert time.monotonic() - began < QUIT_S
    assert device.descendants() == []
    assert [len(hub.terminals_of(sent)) for sent in turns] == [1] * 5


@pytest.mark.slow
async def test_sigterm_while_the_server_is_gone_keeps_the_outcomes_for_the_next_start(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    turns = await five_running(hub, claude)
    await hub.stop()
    device.signal(signal.SIGTERM)
    assert await device.gone() == 0
    assert hub.terminals == []
    await hub.start()
    device.start()
    for sent in turns:
        await hub.until_ended(sent)
    await device.until_delivered()
    assert len(hub.terminals) == 5


async def test_ctrl_c_twice_is_one_orderly_end(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    sent = await hub.dispatch(turn(say("Begun."), gate("g")))
    await claude.reached("g")
    device.signal(signal.SIGINT)
    device.signal(signal.SIGINT)
    assert await device.gone() == 0
    assert "Traceback" not in device.output
    assert len(hub.terminals_of(sent)) == 1
    assert device.descendants() == []


@pytest.mark.parametrize("dialect", BOTH_DIALECTS)
async def test_a_server_that_restarts_gets_the_whole_answer_once(
    dialect: Dialect, hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    sent = await hub.dispatch(turn(say("Before. "), gate("a"), say("During. "), gate("b")))
    await claude.reached("a")
    await hub.until_text(sent, "Before. ")
    await hub.stop()
    claude.open("a")
    await claude.reached("b")
    await hub.start()
    await hub.until_online()
    assert device.is_alive
    claude.open("b")
    answer = await hub.until_status(sent, "COMPLETED")
    assert answer["text"] == "Before. During. "
    await device.until_delivered()
    assert len(hub.terminals_of(sent)) == 1


@pytest.mark.slow
async def test_a_result_that_came_while_the_server_was_gone_is_delivered_when_it_is_back(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    sent = await hub.dispatch(turn(say("Before. "), gate("a"), say("After.")))
    await claude.reached("a")
    await hub.stop()
    claude.open("a")
    await device.until_status(lambda status: status.outbox_pending == 1, "waiting to deliver")
    await hub.start()
    assert (await hub.until_status(sent, "COMPLETED"))["text"] == "Before. After."
    await device.until_delivered()
    assert len(hub.terminals_of(sent)) == 1


async def test_a_kicked_device_comes_back_and_its_run_goes_on(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    first = await device.online()
    sent = await hub.dispatch(turn(say("Before. "), gate("a"), say("After.")))
    await claude.reached("a")
    await hub.kick()
    await device.until_status(
        lambda status: (
            status.links[0].state == "online" and status.links[0].since > first.links[0].since
        ),
        "online again",
    )
    claude.open("a")
    assert (await hub.until_status(sent, "COMPLETED"))["text"] == "Before. After."
    assert len(hub.terminals_of(sent)) == 1


async def test_the_sixth_waits_for_a_slot_and_then_runs(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    turns = await five_running(hub, claude)
    sixth = await hub.dispatch(turn(gate("g5"), say("Sixth.")))
    status = await device.until_status(lambda status: status.queued == 1, "queueing")
    assert (status.slots.used, status.slots.max) == (5, 5)
    assert not claude.has_reached("g5")
    claude.open("g3")
    await claude.reached("g5")
    claude.open(*(f"g{n}" for n in range(6)))
    for sent in (*turns, sixth):
        assert (await hub.until_ended(sent)).status == "COMPLETED"
    await device.until_delivered()
    assert len(hub.terminals) == 6


async def test_a_waiting_run_is_cancelled_and_never_starts(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.configure("[device]\nmax_concurrent_tasks = 1\n")
    device.start()
    await device.online()
    first = await hub.dispatch(turn(gate("first"), say("Done.")))
    await claude.reached("first")
    second = await hub.dispatch(turn(gate("second")))
    await device.until_status(lambda status: status.queued == 1, "queueing")
    await hub.cancel(second)
    assert (await hub.until_ended(second)).status == "CANCELLED"
    claude.open("first")
    assert (await hub.until_ended(first)).status == "COMPLETED"
    await device.until_delivered()
    assert not claude.has_reached("second")


async def test_pause_resume_and_drain_by_the_command_line(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    assert (await device.command("pause", "--reason", "lunch")).code == 0
    sent = await hub.dispatch(turn(gate("g"), say("Done.")))
    status = await device.until_status(lambda status: status.queued == 1, "queueing")
    assert (status.paused, status.pause_reason, status.links[0].state) == (True, "lunch", "online")
    assert (await device.command("resume")).code == 0
    await claude.reached("g")

    assert (await device.command("drain")).code == 0
    refused = await hub.until_ended(await hub.dispatch("one too many"))
    assert refused.status == "FAILED"
    assert device.is_alive
    claude.open("g")
    assert (await hub.until_ended(sent)).status == "COMPLETED"
    assert await device.gone() == 0


async def test_stop_by_the_command_line_returns_when_the_executor_is_gone(
    hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    sent = await hub.dispatch(turn(say("Begun."), gate("g")))
    await claude.reached("g")
    done, code = await asyncio.gather(device.command("stop"), device.gone())
    assert (done.code, code) == (0, 0), done
    assert len(hub.terminals_of(sent)) == 1
