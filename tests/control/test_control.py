"""What every caller may rely on, asked of both control surfaces."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import msgspec
import pytest

from executor_core.control import Control, Status, Submission
from executor_core.control.control import (
    LONGEST_PAUSE_S,
    LONGEST_RUN_S,
    MAX_PROMPT_BYTES,
    STATUS_GAP_S,
)
from executor_core.control.local import LOOK_EVERY_S
from executor_core.errors import ExecutorError
from executor_core.executor import CancelAnswer
from executor_core.model import Notice, RunEnded, RunState, Source, TextDelta
from tests.support.clock import START, JumpingClock, settle
from tests.support.office import RICH, Office, outcome, story

UNKNOWN = ("run_" + "0" * 32, "", ".", "../status", "a/b", "a?b=1", "%2e%2e", "é", "x" * 5000)


async def test_a_prompt_of_the_whole_length_is_taken_however_it_is_spelled(
    office: Office, control: Control
) -> None:
    run_id = await control.submit(Submission(prompt="\x01" * MAX_PROMPT_BYTES))
    assert (await control.run(run_id)).run.run_id == run_id


async def test_status_is_the_json_that_scripts_rely_on(office: Office, control: Control) -> None:
    run_id = await office.begin()
    found = json.loads(msgspec.json.encode(await control.status()))
    assert found == {
        "version": "1.2.3",
        "pid": found["pid"],
        "device_id": "hw-1",
        "device_name": "A",
        "paused": False,
        "draining": False,
        "links": [
            {
                "kind": "device",
                "state": "online",
                "server": "https://wegent.example.com",
                "dialect": "R",
                "since": "2026-01-29T00:00:00Z",
                "reason": None,
                "code": None,
                "next_attempt_in_s": None,
                "token_expires_at": None,
                "token_warning_h": None,
            }
        ],
        "slots": {"used": 1, "max": 2},
        "queued": 0,
        "outbox_pending": 0,
        "api": office.listener.base_url,
        "runs": [
            {
                "run_id": run_id,
                "source": "api",
                "task_id": None,
                "subtask_id": None,
                "agent": "claude_code",
                "state": "running",
                "started_at": "2026-01-29T13:08:22Z",
                "accepted_at": "2026-01-29T13:08:22Z",
                "title": "do it",
                "finished_at": None,
                "error": None,
                "waits_for_disk": False,
                "resources": None,
            }
        ],
        "paused_until": None,
        "pause_reason": None,
        "program_path": "",
        "ended": 0,
    }


async def test_both_surfaces_give_equal_answers(office: Office) -> None:
    ended = await office.complete(*RICH)
    await office.begin()
    here, there = office.local, office.remote
    assert await here.status() == await there.status()
    assert await here.runs() == await there.runs()
    assert await here.run(ended) == await there.run(ended)
    assert await here.agents() == await there.agents()
    assert await here.console() == await there.console()
    assert await story(office.local, ended) == await story(office.remote, ended)


async def test_a_submission_reaches_the_agent_whole(office: Office, control: Control) -> None:
    folder = office.folder / "földer"
    folder.mkdir()
    run_id = await control.submit(
        Submission(prompt="say “é”", folder=str(folder), model="opus[1m]", time_limit_s=60)
    )
    playing = await office.agent.started()
    assert playing.assignment.prompt == "say “é”"
    assert playing.assignment.folder == folder
    assert playing.assignment.model.model == "opus[1m]"
    playing.say("é")
    playing.finish()
    assert (await outcome(control, run_id)).text == "é"
    detail = await control.run(run_id)
    assert (detail.run.source, detail.run.state) == (Source.API, RunState.COMPLETED)
    assert detail.delivered is None


async def test_its_time_limit_ends_a_run(
    office: Office, control: Control, clock: JumpingClock
) -> None:
    run_id = await control.submit(Submission(prompt="take long", time_limit_s=60))
    await office.agent.started()
    await clock.advance(61)
    found = await outcome(control, run_id)
    assert found.error is not None
    assert found.error.code == "time_limit"


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (Submission(prompt=" \n"), "prompt_empty"),
        (Submission(prompt="é" * (MAX_PROMPT_BYTES // 2 + 1)), "prompt_too_long"),
        (Submission(prompt="x", agent="nobody"), "agent_unknown"),
        (Submission(prompt="x", model="--dangerously-skip-permissions"), "bad_value"),
        (Submission(prompt="x", model=""), "bad_value"),
        (Submission(prompt="x", time_limit_s=0), "bad_value"),
        (Submission(prompt="x", time_limit_s=-1), "bad_value"),
        (Submission(prompt="x", time_limit_s=LONGEST_RUN_S + 1), "bad_value"),
        (Submission(prompt="x", folder="a\0b"), "folder_missing"),
        (Submission(prompt="x", folder=""), "folder_missing"),
        (Submission(prompt="x", folder="~nobody-of-that-name/x"), "folder_missing"),
    ],
)
async def test_what_cannot_run_is_refused_before_it_is_accepted(
    control: Control, wanted: Submission, code: str
) -> None:
    with pytest.raises(ExecutorError) as caught:
        await control.submit(wanted)
    assert caught.value.code == code
    assert caught.value.message.detail
    assert await control.runs() == ()


async def test_runs_are_newest_first_and_an_old_one_that_is_active_is_among_them(
    office: Office, control: Control, clock: JumpingClock
) -> None:
    old = await office.begin()
    ended = []
    for _ in range(3):
        await clock.advance(1)
        ended.append(await office.complete())
    assert [run.run_id for run in await control.runs(2)] == [ended[2], ended[1], old]
    assert [run.run_id for run in await control.runs(50)] == [*reversed(ended), old]


async def test_older_runs_come_page_by_page_without_those_that_are_active(
    office: Office, control: Control
) -> None:
    # All at one moment of the clock, so that nothing but the run itself can say where a page ends.
    ended = [await office.complete() for _ in range(5)][::-1]
    active = await office.begin()
    first = [run.run_id for run in await control.runs(3)]
    assert sorted(first) == sorted([active, *ended[:2]])
    assert {run.run_id for run in await control.runs(2, ended[1])} == set(ended[2:4])
    assert [run.run_id for run in await control.runs(2, ended[3])] == [ended[4]]
    assert await control.runs(2, ended[4]) == ()


async def test_a_run_that_ends_at_once_is_told_as_a_change(office: Office) -> None:
    changes = office.local.changes()
    before = await anext(changes)
    next_one: asyncio.Future[Status] = asyncio.ensure_future(anext(changes))  # noqa: TID251
    await office.complete()
    async with asyncio.timeout(10):
        while not next_one.done():
            await office.clock.advance(STATUS_GAP_S)
    told = next_one.result()
    assert (told.runs, told.ended) == (before.runs, before.ended + 1)


@pytest.mark.parametrize("run_id", UNKNOWN)
async def test_an_unknown_run_is_said_to_be_unknown(control: Control, run_id: str) -> None:
    for ask in (control.run, control.cancel):
        with pytest.raises(ExecutorError) as caught:
            await ask(run_id)
        assert caught.value.code == "run_unknown"
    with pytest.raises(ExecutorError) as caught:
        await story(control, run_id)
    assert caught.value.code == "run_unknown"


async def test_events_go_on_from_any_of_them_also_after_the_end(
    office: Office, control: Control
) -> None:
    run_id = await office.complete(*RICH)
    whole = await story(control, run_id)
    assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
    for after in range(len(whole)):
        assert await story(control, run_id, after) == whole[after:]
    assert isinstance((await story(control, run_id, after=10_000))[-1], RunEnded)


async def test_events_come_while_the_run_works(office: Office, control: Control) -> None:
    run_id = await office.begin()
    events = control.events(run_id)
    assert (await anext(events)).seq == 1
    office.playing.say("first")
    async with asyncio.timeout(5):
        heard = await anext(events)
    assert isinstance(heard, TextDelta)
    assert heard.text == "first"
    office.playing.finish()
    async with asyncio.timeout(5):
        assert isinstance([event async for event in events][-1], RunEnded)


async def test_a_run_ends_when_the_process_is_gone_that_asked_for_it(
    office: Office, control: Control
) -> None:
    asker = await asyncio.create_subprocess_exec("/bin/cat", stdin=asyncio.subprocess.PIPE)
    submission = Submission(prompt="do it", for_process=asker.pid)
    wanted, other = await control.submit(submission), await control.submit(Submission(prompt="b"))
    for _ in range(3):
        await office.clock.advance(LOOK_EVERY_S)
    assert (await control.run(wanted)).outcome is None

    asker.kill()
    await asker.wait()
    async with asyncio.timeout(20):
        while (await control.run(wanted)).outcome is None:
            await office.clock.advance(LOOK_EVERY_S)
            await asyncio.sleep(0.01)  # a thread looks whether it lives

    assert (await outcome(control, wanted)).state is RunState.CANCELLED
    notices = [event for event in await story(control, wanted) if isinstance(event, Notice)]
    assert [notice.code for notice in notices] == ["asker_gone"]
    assert (await control.run(other)).outcome is None


async def test_cancel_ends_a_run_once(office: Office, control: Control) -> None:
    run_id = await office.begin()
    assert await control.cancel(run_id) is CancelAnswer.CANCELLING
    assert (await outcome(control, run_id)).state is RunState.CANCELLED
    assert await control.cancel(run_id) is CancelAnswer.TOO_LATE


async def test_a_pause_lets_runs_wait_until_it_is_taken_back(
    office: Office, control: Control
) -> None:
    status = await control.pause(reason="video call")
    assert (status.paused, status.pause_reason, status.paused_until) == (True, "video call", None)
    await control.submit(Submission(prompt="wait"))
    await settle()
    assert (await control.status()).queued == 1
    assert not office.agent.is_waiting
    status = await control.resume()
    assert (status.paused, status.pause_reason) == (False, None)
    await office.agent.started()


async def test_a_pause_with_a_time_ends_by_itself(control: Control, clock: JumpingClock) -> None:
    status = await control.pause(1800, "lunch")
    assert status.paused_until == START + timedelta(seconds=1800)
    await clock.advance(1799)
    assert (await control.status()).paused
    await clock.advance(2)
    status = await control.status()
    assert (status.paused, status.paused_until, status.pause_reason) == (False, None, None)


@pytest.mark.parametrize("second", [None, 3600.0])
async def test_of_two_pauses_the_last_counts(
    control: Control, clock: JumpingClock, second: float | None
) -> None:
    await control.pause(60)
    await asyncio.gather(control.pause(60), control.pause(second))
    await clock.advance(120)
    assert (await control.status()).paused


async def test_a_pause_after_a_resume_is_not_ended_by_the_first_ones_time(
    control: Control, clock: JumpingClock
) -> None:
    await control.pause(60)
    await control.resume()
    await control.pause()
    await clock.advance(120)
    assert (await control.status()).paused


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_PAUSE_S + 1])
async def test_a_pause_without_sense_is_refused(control: Control, seconds: float) -> None:
    with pytest.raises(ExecutorError) as caught:
        await control.pause(seconds)
    assert caught.value.code == "bad_value"
    assert not (await control.status()).paused


async def test_drain_finishes_what_runs_and_refuses_the_rest(
    office: Office, control: Control
) -> None:
    await office.begin()
    assert (await control.drain()).draining
    with pytest.raises(ExecutorError) as caught:
        await control.submit(Submission(prompt="one more"))
    assert caught.value.code == "draining"
    assert not office.executor.left.is_set()
    office.playing.finish()
    async with asyncio.timeout(5):
        await office.executor.left.wait()


async def test_a_full_queue_is_said_with_its_length(control: Control) -> None:
    await control.pause()

    async def fill() -> None:
        for _ in range(1000):
            await control.submit(Submission(prompt="x"))

    with pytest.raises(ExecutorError) as caught:
        await fill()
    assert caught.value.code == "queue_full"
    assert str((await control.status()).queued) in caught.value.message.detail


async def test_stop_and_a_changed_credential_reach_the_program(
    office: Office, control: Control
) -> None:
    await control.credential_changed()
    assert (office.reloads, office.link.changes) == (1, 1)
    await control.stop()
    assert office.leaving.is_set()
