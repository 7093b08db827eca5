"""What is told of a change, when, and how often; retrying, resizing and trying links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from executor_core.control import Control, Status, Submission
from executor_core.control.control import (
    MAX_KEPT_BYTES,
    MOST_SLOTS,
    STATUS_GAP_S,
    STATUS_REFRESH_S,
)
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.model import Folder, RunRequest, RunState, Source, TaskFolder
from tests.support.clock import settle
from tests.support.office import Office, outcome


class Told:
    """What `changes` told, as it comes."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Status] = asyncio.Queue()

    async def listen(self, control: Control) -> None:
        async for status in control.changes():
            self.queue.put_nowait(status)

    async def next(self) -> Status:
        async with asyncio.timeout(5):
            return await self.queue.get()


@asynccontextmanager
async def listening(control: Control) -> AsyncIterator[Told]:
    """A reader of the changes, past the first status."""
    told, jobs = Told(), Jobs("test")
    jobs.spawn(told.listen(control), "listen")
    await told.next()
    yield told
    await jobs.close()


async def code_of(asked: object) -> str:
    with pytest.raises(ExecutorError) as caught:
        await asked  # type: ignore[misc]
    return caught.value.code


async def until_told(office: Office, told: Told) -> Status:
    """The next status, however often the clock must move for it."""
    while told.queue.empty():
        await office.clock.advance(STATUS_GAP_S)
        await asyncio.sleep(0.001)  # over a real socket
    return await told.next()


async def test_the_first_status_comes_at_once(office: Office, control: Control) -> None:
    async for status in control.changes():
        assert status == await control.status()
        break


async def test_every_change_a_person_sees_is_told(office: Office, control: Control) -> None:
    async with listening(control) as told:
        await office.local.pause(reason="lunch")
        status = await until_told(office, told)
        assert (status.paused, status.pause_reason) == (True, "lunch")
        run_id = await office.local.submit(Submission(prompt="wait"))
        assert (await until_told(office, told)).queued == 1
        await office.local.resume()
        while (status := await until_told(office, told)).runs[0].state is not RunState.RUNNING:
            pass
        assert status.slots.used == 1
        (await office.agent.started()).finish()
        await outcome(office.local, run_id)
        while (status := await until_told(office, told)).runs:
            pass
        assert status.slots.used == 0


async def test_changes_of_one_moment_are_told_together_and_the_last_is_not_lost(
    office: Office,
) -> None:
    async with listening(office.local) as told:
        for _ in range(100):
            await office.local.pause()
            await settle()
            await office.local.resume()
            await settle()
        await office.local.pause(reason="last")
        await office.clock.advance(STATUS_GAP_S * 0.9)
        assert told.queue.empty()
        await office.clock.advance(STATUS_GAP_S * 0.1)
        assert (await told.next()).pause_reason == "last"
        await office.clock.advance(10 * STATUS_GAP_S)
        assert told.queue.empty()


async def test_nothing_is_told_while_nothing_happens(office: Office) -> None:
    async with listening(office.local) as told:
        await office.clock.advance(3600)
        office.executor.changes.tell()
        await office.clock.advance(3600)
        assert told.queue.empty()


async def test_what_runs_use_is_told_while_they_live(office: Office) -> None:
    looks = 0

    def measure() -> dict[str, object]:
        nonlocal looks
        looks += 1
        return {}

    office.local._measure = measure  # type: ignore[assignment]
    await office.begin()
    async with listening(office.local):
        before = looks
        while looks == before:
            await office.clock.advance(STATUS_REFRESH_S)
            await asyncio.sleep(0.001)


async def test_a_reader_that_leaves_leaves_nothing(office: Office) -> None:
    async with aclosing(office.local.changes()) as told:  # type: ignore[type-var]
        await anext(told)
    await settle()
    assert office.clock.next_deadline_s is None


async def test_a_listener_that_stops_is_an_executor_lost(office: Office) -> None:
    told = office.remote.changes()
    await anext(told)
    await office.listener.stop()
    assert await code_of(anext(told)) == "executor_lost"


# --- retry -------------------------------------------------------------------------------------


async def test_a_retry_asks_for_the_same_again(office: Office, control: Control) -> None:
    folder = office.folder / "mine"
    folder.mkdir()
    asked = Submission(prompt="do it\nwell", folder=str(folder), model="m-1", time_limit_s=77)
    first = await control.submit(asked)
    (await office.agent.started()).finish("no")
    await outcome(control, first)
    second = await control.retry(first)
    assert second != first
    playing = await office.agent.started()
    assert playing.assignment.prompt == "do it\nwell"
    assert playing.assignment.folder == folder
    assert playing.assignment.model.model == "m-1"
    assert next(iter(office.executor._runs.values())).request.limits.total_s == 77
    playing.finish()
    await outcome(control, second)


async def test_a_run_that_has_not_ended_is_not_retried(office: Office, control: Control) -> None:
    run_id = await office.begin()
    assert await code_of(control.retry(run_id)) == "retry_too_early"


async def test_a_run_of_a_server_is_retried_there(office: Office, control: Control) -> None:
    request = RunRequest(
        source=Source.DEVICE,
        request_key="k",
        agent="claude_code",
        prompt="x",
        workspace=TaskFolder(name="1"),
        conversation_key="c",
        address="https://wegent.example.com#7",
    )
    await office.executor.submit(request)
    (await office.agent.started()).finish()
    await outcome(office.local, request.run_id)
    with pytest.raises(ExecutorError) as caught:
        await control.retry(request.run_id)
    assert caught.value.code == "retry_elsewhere"
    assert "https://wegent.example.com." in caught.value.message.detail


async def test_a_request_too_long_to_keep_says_so(office: Office, control: Control) -> None:
    run_id = await control.submit(Submission(prompt="x" * MAX_KEPT_BYTES))
    (await office.agent.started()).finish()
    await outcome(control, run_id)
    assert await code_of(control.retry(run_id)) == "retry_not_kept"
    assert await code_of(control.retry("run_gone")) == "run_unknown"


# --- small things ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("\n  Fix the login \nand more", "Fix the login"),
        ("x" * 80, "x" * 80),
        ("word " * 40, ("word " * 16).strip() + "…"),
        ("修复登录", "修复登录"),
    ],
)
async def test_a_run_is_called_by_the_first_line_of_its_prompt(
    office: Office, prompt: str, title: str
) -> None:
    run_id = await office.begin(prompt=prompt)
    assert (await office.local.run(run_id)).run.title == title


async def test_a_prompt_with_half_a_character_is_run(office: Office) -> None:
    await office.begin(prompt="half \ud83d")
    assert office.playing.assignment.prompt == "half ?"


async def test_a_run_tells_where_it_works_once_it_does(office: Office, control: Control) -> None:
    await office.local.pause()
    run_id = await control.submit(Submission(prompt="x"))
    assert (await control.run(run_id)).folder is None
    await office.local.resume()
    playing = await office.agent.started()
    assert (await control.run(run_id)).folder == str(playing.assignment.folder)
    playing.finish()
    await outcome(control, run_id)
    assert (await control.run(run_id)).folder == str(playing.assignment.folder)


async def test_slots_are_set_while_runs_run(office: Office, control: Control) -> None:
    await office.begin()
    await office.begin()
    assert (await control.resize(1)).slots.max == 1
    assert (await control.status()).slots.used == 2
    for wrong in (0, -1, MOST_SLOTS + 1):
        assert await code_of(control.resize(wrong)) == "bad_value"
    assert (await control.status()).slots.max == 1


async def test_links_try_at_once_when_asked(office: Office, control: Control) -> None:
    await control.try_links()
    assert office.link.tries == 1


async def test_the_owners_folder_is_kept_as_named(office: Office) -> None:
    folder = office.folder / "named"
    folder.mkdir()
    await office.local.submit(Submission(prompt="x", folder=str(folder)))
    await office.agent.started()
    assert next(iter(office.executor._runs.values())).request.workspace == Folder(
        path=str(folder), is_owners_choice=True
    )
