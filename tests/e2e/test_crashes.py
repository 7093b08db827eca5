"""kill -9 at every point of a run: after the next start there is exactly one result, none lost.

The crash is the process's own, at one exact statement (`support/crashing.py`), so that each point
is hit every time.
"""

from __future__ import annotations

import signal

import pytest

from executor_core.hub import Dialect
from tests.e2e.conftest import BOTH_DIALECTS
from tests.support.crashing import POINTS, STREAMED
from tests.support.executor_process import ExecutorProcess
from tests.support.hub_server import HubServer
from tests.support.stub_claude import StubClaude, be_stubborn, gate, say, spawn, turn

pytestmark = pytest.mark.slow

WORDS = ("One ", "two ", "three ", "four.")
WHOLE = "".join(WORDS)
HEAD = "".join(WORDS[:STREAMED])

CUT_OFF = {"accepted": "", "before_spawn": "", "spawned": "", "streaming": HEAD}
"""Killed here, the run has failed, and this much of its text is kept."""

MAY_REPEAT = {"acknowledged"}
"""Killed between the server's ack and our note of it, the same last word goes out once more."""


QUICK = ("streaming", "result_on_file", "acknowledged")
"""One of each kind for every day; all of them run with the slow tests."""


@pytest.mark.parametrize(
    "point",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in POINTS],
)
async def test_a_crash_ends_in_one_result(
    point: str, hub: HubServer, device: ExecutorProcess
) -> None:
    device.start_crashing(point)
    await hub.until_online()
    sent = await hub.dispatch(turn(spawn("sleep", "300", escapes=True), say(*WORDS)))
    assert await device.gone() == -signal.SIGKILL, device.output

    device.start()
    terminal = await hub.until_ended(sent)
    await device.until_delivered()
    await device.until_alone()

    [run] = await device.runs()
    assert run.outcome is not None
    answer = await hub.answer(sent)
    if point in CUT_OFF:
        assert (terminal.status, answer["status"]) == ("FAILED", "FAILED")
        assert run.outcome.error is not None
        assert run.outcome.error.code == "interrupted"
        assert run.outcome.error.title in answer["error"]
        assert run.outcome.text == CUT_OFF[point]
    else:
        assert (terminal.status, answer["status"]) == ("COMPLETED", "COMPLETED")
        assert run.outcome.text == answer["text"] == WHOLE
    seen = hub.terminals_of(sent)
    assert len(set(seen)) == 1
    assert len(seen) == 1 or point in MAY_REPEAT


@pytest.mark.slow
@pytest.mark.parametrize("point", ["streaming", "acknowledged", "delivered"])
async def test_a_later_start_has_nothing_more_to_say(
    point: str, hub: HubServer, device: ExecutorProcess
) -> None:
    device.start_crashing(point)
    await hub.until_online()
    sent = await hub.dispatch(turn(say(*WORDS)))
    await device.gone()
    device.start()
    await device.online()
    await hub.until_ended(sent)
    await device.until_delivered()
    device.signal(signal.SIGTERM)
    assert await device.gone() == 0
    seen = hub.terminals_of(sent)
    device.start()
    await device.online()
    await device.until_delivered()
    assert hub.terminals_of(sent) == seen
    assert len(await device.runs()) == 1


@pytest.mark.parametrize("dialect", BOTH_DIALECTS)
async def test_five_running_and_one_waiting_survive_kill_9_as_six_results(
    dialect: Dialect, hub: HubServer, device: ExecutorProcess, claude: StubClaude
) -> None:
    device.start()
    await device.online()
    six = [
        await hub.dispatch(turn(say(f"Begun {n}. "), be_stubborn(), gate(f"g{n}"), say("Never.")))
        for n in range(6)
    ]
    for n in range(5):
        await claude.reached(f"g{n}")
        await hub.until_text(six[n], f"Begun {n}. ")
    await device.kill()
    assert not claude.has_reached("g5")

    device.start()
    for sent in six:
        terminal = await hub.until_ended(sent)
        assert terminal.status == "FAILED"
        assert terminal.error
    await device.until_delivered()
    await device.until_alone()
    assert len(hub.terminals) == 6
    texts = sorted(run.outcome.text for run in await device.runs() if run.outcome is not None)
    assert texts == ["", *(f"Begun {n}. " for n in range(5))]


@pytest.mark.slow
async def test_a_retry_after_a_crash_is_a_new_run(hub: HubServer, device: ExecutorProcess) -> None:
    device.start_crashing("streaming")
    await hub.until_online()
    sent = await hub.dispatch(turn(say(*WORDS)))
    await device.gone()
    device.start()
    await hub.until_status(sent, "FAILED")
    await device.until_delivered()
    await hub.call("POST", f"/api/tasks/{sent.task_id}/retry", {})
    assert (await hub.until_status(sent, "COMPLETED"))["text"] == WHOLE
    assert len(await device.runs()) == 2
