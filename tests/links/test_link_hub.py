"""The link against our own hub, which decodes the wire by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import jwt  # noqa: F401 - the hub imports it late, which would count as a blocked loop here
import pytest

from executor_core.hub import Dialect
from executor_core.links.login import Credential
from executor_core.model import LinkState, ToolFinished, ToolStarted
from executor_core.texts import Message
from tests.links.conftest import Device, MakeDevice
from tests.support.hub_server import HubServer

MakeWorld = Callable[[Dialect], Awaitable[tuple[HubServer, Device]]]
DIALECTS = pytest.mark.parametrize("dialect", ["responses", "progress"])


@pytest.fixture
async def hubs(tmp_path: Path) -> AsyncIterator[Callable[[Dialect], Awaitable[HubServer]]]:
    made: list[HubServer] = []

    async def make(dialect: Dialect) -> HubServer:
        hub = HubServer(tmp_path, dialect)
        await hub.start()
        made.append(hub)
        return hub

    yield make
    for hub in made:
        await hub.stop()


@pytest.fixture
async def world(
    hubs: Callable[[Dialect], Awaitable[HubServer]], make_device: MakeDevice
) -> MakeWorld:
    """A hub of a dialect and a device that is online with it."""

    async def make(dialect: Dialect) -> tuple[HubServer, Device]:
        hub = await hubs(dialect)
        device = await make_device(hub.url, with_link=False)
        device.tokens.values = [Credential(hub.hub.device_token(), None)]
        await device.link.start()
        await device.until(LinkState.ONLINE)
        return hub, device

    return make


@DIALECTS
async def test_the_hub_shows_the_device_and_hears_the_whole_run(
    world: MakeWorld, dialect: Dialect
) -> None:
    hub, device = await world(dialect)
    assert device.link.status.dialect == ("R" if dialect == "responses" else "P")
    shown = await hub.until_online()
    assert (shown["name"], shown["executor_version"]) == ("Linux - test", "9.9-desktop")
    asked = await hub.dispatch("Do it")
    turn = await device.agent.next_turn()
    turn.say("I look.")
    await hub.until_text(asked, "I look.")
    turn.emit(ToolStarted(call_id="t1", name="Bash", input={"command": "ls"}))
    turn.emit(ToolFinished(call_id="t1", output="a.txt", is_error=True))
    turn.say(" 完成 😀")
    turn.finish()
    answer = await hub.until_status(asked, "COMPLETED")
    assert answer["text"] == "I look. 完成 😀"
    [tool] = answer["tools"]
    assert (tool["name"], tool["output"]) == ("Bash", "a.txt")
    assert len(hub.terminals_of(asked)) == 1


@DIALECTS
async def test_the_hub_learns_of_failures_and_cancels(world: MakeWorld, dialect: Dialect) -> None:
    hub, device = await world(dialect)
    failing, cancelled = await hub.dispatch("fail"), await hub.dispatch("cancel me")
    first, second = await device.agent.next_turn(), await device.agent.next_turn()
    first.finish(error=Message(code="x", given_title="No model.", given_hint="Choose one."))
    assert (await hub.until_status(failing, "FAILED"))["error"] == "No model. Choose one."
    second.say("some words")
    await hub.until_text(cancelled, "some words")
    await hub.cancel(cancelled)
    answer = await hub.until_status(cancelled, "CANCELLED")
    assert answer["text"] == "some words"
    await hub.until_ended(cancelled)
    assert (await hub.answer(cancelled))["status"] == "CANCELLED"


@DIALECTS
async def test_a_restart_of_the_hub_costs_neither_the_run_nor_its_result(
    world: MakeWorld, dialect: Dialect
) -> None:
    hub, device = await world(dialect)
    asked = await hub.dispatch("survive")
    turn = await device.agent.next_turn()
    # An ending that begins no secret: "e" waits for what follows, as the token of a task may.
    turn.say("before ")
    await hub.until_text(asked, "before ")
    await hub.restart()
    await hub.until_online()
    turn.say("and after")
    turn.finish()
    assert (await hub.until_status(asked, "COMPLETED"))["text"] == "before and after"
    await hub.kick()
    await hub.until_online()
    assert len(hub.terminals_of(asked)) == 1
