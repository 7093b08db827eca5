"""The life of runs in the shell: what the journal, the door and the followers see."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from executor_core.errors import ExecutorError
from executor_core.executor import Accepted, CancelAnswer, Duplicate, Refused
from executor_core.model import (
    AgentResult,
    Folder,
    Limits,
    ModelConfig,
    Notice,
    Outcome,
    RunEnded,
    RunStarted,
    RunState,
    Source,
    TaskFolder,
    TextDelta,
)
from executor_core.workspace import Workspaces
from tests.executor.room import Room, opened, request
from tests.support.clock import JumpingClock
from tests.support.scripted_agent import ScriptedAgent


async def recorded(room: Room, run_id: str = "run_1") -> Outcome:
    outcome = (await room.executor.recorded(run_id)).outcome
    assert outcome is not None
    return outcome


def notices(room: Room, run_id: str = "run_1") -> list[str]:
    return [e.code for e in room.door.events(run_id) if isinstance(e, Notice)]


# --- one run -------------------------------------------------------------------------------------


async def test_a_run_is_told_in_order_and_ends_in_one_outcome(room: Room) -> None:
    await room.submit()
    performance = await room.agent.started()
    performance.say("Hello", ", world")
    performance.finish("not needed")
    outcome = await room.door.outcome()
    assert (outcome.state, outcome.text, outcome.error) == (
        RunState.COMPLETED,
        "Hello, world",
        None,
    )
    assert room.door.kinds() == [
        "accepted", "RunStarted", "TextDelta", "TextDelta", "AgentResult", "RunRow",
    ]  # fmt: skip
    assert [event.seq for event in room.door.events()] == [1, 2, 3, 4]
    assert await recorded(room) == outcome
    assert performance.assignment.folder == room.root / "1"


async def test_an_answer_of_which_a_half_was_abandoned_is_that_of_the_last_word(
    room: Room,
) -> None:
    await room.submit()
    performance = await room.agent.started()
    performance.say("Half of ", "\n\nWhole.")
    whole = AgentResult(final_text="Whole.", replaces_text=True)
    performance.emit(whole)
    performance.leave(whole)
    assert (await room.door.outcome()).text == "Whole."


async def test_the_agents_own_summary_stands_in_where_nothing_was_streamed(room: Room) -> None:
    assert (await room.complete()).text == "Done."


async def test_an_accepted_run_is_on_disk_when_submit_returns(room: Room) -> None:
    room.executor.pause()
    await room.submit()
    assert [row.run_id for row in await room.journal.unfinished()] == ["run_1"]


async def test_a_sixth_run_waits_and_then_runs(room: Room) -> None:
    for number in range(1, 7):
        await room.submit(request(number))
    first = [await room.agent.started() for _ in range(5)]
    assert room.executor.table.queued == ("run_6",)
    first[2].finish()
    assert (await room.agent.started()).assignment.run_id == "run_6"


async def test_what_follows_the_last_word_is_not_told(room: Room) -> None:
    await room.submit()
    performance = await room.agent.started()
    result = performance.conclude("Done.")
    performance.say("too late")
    performance.conclude("another")
    performance.leave(result)
    assert (await room.door.outcome()).text == "Done."
    assert room.door.kinds()[-2:] == ["AgentResult", "RunRow"]


async def test_an_agent_that_breaks_ends_its_run_and_frees_its_slot(room: Room) -> None:
    await room.submit()
    performance = await room.agent.started()
    performance.say("So far")
    performance.fail(RuntimeError("scripted"))
    outcome = await room.door.outcome()
    assert outcome.error is not None
    assert (outcome.state, outcome.text) == (RunState.FAILED, "So far")
    assert outcome.error.code == "internal"
    assert room.executor.table.slots_used == 0


async def test_a_result_survives_an_agent_that_breaks_after_it(room: Room) -> None:
    await room.submit()
    performance = await room.agent.started()
    performance.conclude("Done.")
    performance.fail(RuntimeError("scripted"))
    assert (await room.door.outcome()).state is RunState.COMPLETED


async def test_a_title_is_recorded_without_the_secrets_of_its_task(room: Room) -> None:
    key = "a-key-of-the-task-0123456789"
    await room.submit(request(title=f"Use {key}", model=ModelConfig(api_key=key)))
    performance = await room.agent.started()
    performance.finish()
    await room.door.outcome()
    row = await room.journal.run("run_1")
    assert row is not None
    assert row.title == "Use ***"


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_an_agent_is_told_whether_its_folder_is_trusted(
    room: Room, tmp_path: Path, is_trusted: bool
) -> None:
    asked: list[Path] = []

    def trust(folder: Path) -> bool:
        asked.append(folder)
        return is_trusted

    room.executor._workspaces = Workspaces(room.root, (), is_trusted=trust)
    await room.submit()
    performance = await room.agent.started()
    assert performance.assignment.is_trusted is is_trusted
    assert asked == [performance.assignment.folder]
    performance.finish()
    await room.door.outcome()


async def test_half_characters_of_a_task_neither_stop_it_nor_its_outcome(room: Room) -> None:
    wanted = request(title="cut \ud83d", prompt="\ud83d!", reply_to={"shell_type": "\udc00"})
    await room.submit(wanted)
    performance = await room.agent.started()
    assert performance.assignment.prompt == "?!"
    performance.say("half \ud83d")
    performance.finish(error=ExecutorError("agent_failed", agent="x", reason="\udcff").message)
    outcome = await room.door.outcome()
    assert outcome.text == "half ?"
    assert await recorded(room) == outcome


async def test_an_unusable_folder_is_the_outcome(room: Room) -> None:
    await room.submit(request(workspace=Folder(path="/a\0b")))
    outcome = await room.door.outcome()
    assert outcome.error is not None
    assert outcome.error.code == "folder_missing"
    assert room.door.kinds() == ["accepted", "AgentResult", "RunRow"]


async def test_an_unknown_agent_is_the_outcome(room: Room) -> None:
    await room.submit(request(agent="nobody"))
    outcome = await room.door.outcome()
    assert outcome.error is not None
    assert outcome.error.code == "agent_unknown"


# --- the same request again ----------------------------------------------------------------------


async def test_a_request_is_a_duplicate_until_its_outcome_is_delivered(room: Room) -> None:
    again = request(run_id="run_again")
    await room.submit()
    performance = await room.agent.started()
    assert await room.executor.submit(again) == Duplicate("run_1")
    performance.finish()
    await room.door.outcome()
    assert await room.executor.submit(again) == Duplicate("run_1")
    await room.deliver()
    assert await room.executor.submit(again) == Accepted("run_again")
    (await room.agent.started()).finish("Second.")
    assert (await room.door.outcome("run_again")).text == "Second."
    past = await room.executor.past(again.request_key)
    assert past is not None
    assert past.run_id == "run_again"


async def test_the_same_request_twice_at_once_is_accepted_once(room: Room) -> None:
    twice = request(), request(run_id="run_again")
    answers = await asyncio.gather(*map(room.executor.submit, twice))
    assert answers == [Accepted("run_1"), Duplicate("run_1")]


async def test_a_refusal_is_as_durable_as_an_outcome_and_not_doubled(room: Room) -> None:
    error = ExecutorError("prompt_empty").message
    await room.executor.refuse(request(), error)
    await room.executor.refuse(request(run_id="run_again"), error)
    [delivery] = await room.executor.undelivered(Source.DEVICE)
    assert (delivery.run_id, delivery.end.error) == ("run_1", error)
    assert room.door.kinds() == ["RunRow"]
    assert await recorded(room) == delivery.outcome
    assert await room.executor.submit(request(run_id="run_again")) == Duplicate("run_1")
    await room.executor.delivered(delivery)
    assert await room.executor.undelivered(Source.DEVICE) == []


# --- cancel --------------------------------------------------------------------------------------


async def test_cancel_in_the_queue_ends_it_without_a_start(room: Room) -> None:
    room.executor.pause()
    await room.submit()
    assert room.executor.cancel("run_1") is CancelAnswer.CANCELLING
    assert (await room.door.outcome()).state is RunState.CANCELLED
    assert room.door.kinds() == ["accepted", "RunRow"]
    room.executor.resume()
    assert room.executor.table.slots_used == 0
    assert not room.agent.is_waiting


async def test_cancel_while_preparing_starts_no_agent(tmp_path: Path, clock: JumpingClock) -> None:
    agent, other = ScriptedAgent(), ScriptedAgent("other")
    agent.looking = asyncio.Event()
    async with opened(tmp_path, clock, agent, other, stand_in="other") as room:
        await room.submit()
        assert room.executor.cancel("run_1") is CancelAnswer.CANCELLING
        agent.looking.set()
        assert (await room.door.outcome()).state is RunState.CANCELLED
        assert room.door.kinds() == ["accepted", "RunRow"]
        assert not agent.is_waiting


async def test_cancel_while_running_keeps_the_text_and_silences_the_agent(room: Room) -> None:
    await room.submit()
    performance = await room.agent.started()
    performance.say("So far")
    assert room.executor.cancel("run_1") is CancelAnswer.CANCELLING
    assert room.executor.cancel("run_1") is CancelAnswer.TOO_LATE
    performance.say(" and more")
    performance.conclude("Done after all.")
    outcome = await room.door.outcome()
    assert (outcome.state, outcome.text, outcome.error) == (RunState.CANCELLED, "So far", None)
    assert room.door.kinds() == ["accepted", "RunStarted", "TextDelta", "RunRow"]


async def test_a_result_that_came_first_wins_over_the_cancel(room: Room) -> None:
    await room.submit()
    performance = await room.agent.started()
    result = performance.conclude("Done.")
    assert room.executor.cancel("run_1") is CancelAnswer.TOO_LATE
    performance.leave(result)
    assert (await room.door.outcome()).state is RunState.COMPLETED


async def test_cancel_after_the_end_finds_nothing(room: Room) -> None:
    await room.complete()
    assert room.executor.cancel("run_1") is CancelAnswer.UNKNOWN


async def test_cancel_of_a_run_that_failed_before_its_agent_comes_too_late(room: Room) -> None:
    answers = []

    class Cancelling(type(room.door)):  # type: ignore[misc]
        def on_event(self, request: object, event: object) -> None:
            if isinstance(event, AgentResult):
                answers.append(room.executor.cancel("run_1"))

    room.executor.attach(Source.API, Cancelling())
    await room.submit(request(agent="nobody", source=Source.API, address=None))
    async for _ in room.executor.follow("run_1"):
        pass
    assert answers == [CancelAnswer.TOO_LATE]
    assert (await recorded(room)).state is RunState.FAILED


# --- pause, drain, stop --------------------------------------------------------------------------


async def test_a_drain_finishes_what_was_accepted_and_refuses_the_rest(room: Room) -> None:
    await room.submit()
    performance = await room.agent.started()
    room.executor.pause()
    await room.submit(request(2))
    room.executor.drain()
    refused = await room.executor.submit(request(3))
    assert isinstance(refused, Refused)
    assert refused.error.code == "draining"
    performance.finish()
    (await room.agent.started()).finish()
    async with asyncio.timeout(10):
        await room.executor.left.wait()
    assert (await recorded(room, "run_2")).state is RunState.COMPLETED


async def test_a_stop_ends_running_and_queued_runs_with_a_reason(room: Room) -> None:
    for number in range(1, 7):
        await room.submit(request(number))
    for _ in range(5):
        await room.agent.started()
    await room.executor.stop(10)
    for number in range(1, 7):
        outcome = await recorded(room, f"run_{number}")
        assert outcome.error is not None
        assert (outcome.state, outcome.error.code) == (RunState.FAILED, "device_stopped")
    assert await room.journal.unfinished() == []


async def test_a_stop_hurries_an_agent_that_stays_after_its_result_and_keeps_the_result(
    room: Room,
) -> None:
    await room.submit()
    performance = await room.agent.started()
    performance.conclude("Done.")
    await room.executor.stop(10)
    assert performance.stop.is_set()
    assert (await recorded(room)).state is RunState.COMPLETED


# --- time ----------------------------------------------------------------------------------------


async def test_a_run_that_takes_too_long_is_ended_in_words(room: Room, clock: JumpingClock) -> None:
    await room.submit(request(limits=Limits(total_s=90 * 60)))
    (await room.agent.started()).say("So far")
    await clock.advance(90 * 60)
    outcome = await room.door.outcome()
    assert outcome.error is not None
    assert (outcome.state, outcome.text) == (RunState.FAILED, "So far")
    assert outcome.error.detail == "The run was ended after 90 minutes."


async def test_silence_is_said_with_its_true_length_and_ends_nothing(
    room: Room, clock: JumpingClock
) -> None:
    await room.submit()
    performance = await room.agent.started()
    await clock.advance(20 * 60)
    performance.say("still here")
    await clock.advance(29 * 60)
    assert notices(room) == []
    await clock.advance(31 * 60)
    words = [e.text for e in room.door.events() if isinstance(e, Notice)]
    assert [("30 minutes" in text, "60 minutes" in text) for text in words] == [
        (True, False),
        (False, True),
    ]
    performance.finish("Done.")
    assert (await room.door.outcome()).state is RunState.COMPLETED


async def test_the_time_in_the_queue_is_no_silence(room: Room, clock: JumpingClock) -> None:
    room.executor.pause()
    await room.submit()
    await clock.advance(40 * 60)
    room.executor.resume()
    (await room.agent.started()).finish()
    await room.door.outcome()
    assert notices(room) == []


# --- sessions ------------------------------------------------------------------------------------


async def test_a_session_is_saved_as_soon_as_it_is_seen_and_resumed_by_the_next_run(
    room: Room,
) -> None:
    talk = {"conversation_key": "talk"}
    await room.submit(request(1, **talk))
    performance = await room.agent.started()
    performance.name_session("s-1")
    room.executor.cancel("run_1")
    assert (await room.door.outcome()).session_id == "s-1"
    await room.submit(request(2, **talk))
    performance = await room.agent.started()
    assert performance.assignment.session_id == "s-1"
    performance.finish()
    await room.door.outcome("run_2")
    await room.submit(request(3, new_session=True, **talk))
    assert (await room.agent.started()).assignment.session_id is None
    assert await room.journal.session("talk", "scripted") is None


# --- what a task may set -------------------------------------------------------------------------


async def test_an_agent_gets_of_a_tasks_variables_what_it_knows_and_the_rest_is_named(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedAgent, "task_variables", frozenset({"API_TIMEOUT_MS"}))
    env = {"API_TIMEOUT_MS": "1", "HTTPS_PROXY": "http://evil", "BUN_OPTIONS": "--preload=x"}
    await room.submit(request(model=ModelConfig(model="m", env=env)))
    performance = await room.agent.started()
    assert performance.assignment.model == ModelConfig(model="m", env={"API_TIMEOUT_MS": "1"})
    performance.finish()
    await room.door.outcome()
    [notice] = [event for event in room.door.events() if isinstance(event, Notice)]
    assert (notice.code, "BUN_OPTIONS, HTTPS_PROXY" in notice.text) == ("variables_refused", True)
    assert "evil" not in notice.text


async def test_a_refused_address_still_keeps_the_users_login_out(room: Room) -> None:
    env = {"anthropic_vertex_base_url": "http://evil"}
    await room.submit(request(model=ModelConfig(model="m", env=env)))
    performance = await room.agent.started()
    assert performance.assignment.model.env == {}
    assert performance.assignment.brings_access
    performance.finish()
    await room.door.outcome()
    assert notices(room) == ["variables_refused"]


# --- which agent ---------------------------------------------------------------------------------


async def test_another_agent_stands_in_with_a_notice_where_one_cannot_work(
    tmp_path: Path, clock: JumpingClock
) -> None:
    agent, other = ScriptedAgent(), ScriptedAgent("other")
    agent.missing = ExecutorError("claude_code_missing")
    async with opened(tmp_path, clock, agent, other, stand_in="other") as room:
        await room.submit()
        (await other.started()).finish("Done.")
        await room.door.outcome()
        assert notices(room) == ["stand_in"]
        [started] = [e for e in room.door.events() if isinstance(e, RunStarted)]
        assert started.agent == "other"


async def test_a_task_that_brings_its_own_access_is_never_given_to_a_stand_in(
    tmp_path: Path, clock: JumpingClock
) -> None:
    agent, other = ScriptedAgent(), ScriptedAgent("other")
    agent.missing = ExecutorError("claude_code_missing")
    async with opened(tmp_path, clock, agent, other, stand_in="other") as room:
        await room.submit(request(model=ModelConfig(api_key="k")))
        performance = await agent.started()
        assert performance.assignment.private_home == room.root / "1" / ".wegent" / "scripted"
        performance.finish()
        await room.door.outcome()


# --- followers -----------------------------------------------------------------------------------


async def story(room: Room, run_id: str = "run_1", after: int = 0) -> list[str]:
    async with asyncio.timeout(10):
        return [type(event).__name__ async for event in room.executor.follow(run_id, after)]


WHOLE = ["RunStarted", "TextDelta", "TextDelta", "AgentResult", "RunEnded"]


async def test_followers_of_every_moment_see_the_same_events(room: Room) -> None:
    await room.submit()
    performance = await room.agent.started()
    performance.say("one")
    early = [asyncio.Task(story(room)) for _ in range(20)]
    middle = asyncio.Task(story(room, after=2))
    await asyncio.sleep(0)
    performance.say("two")
    performance.finish()
    assert await asyncio.gather(*early) == [WHOLE] * 20
    assert await middle == WHOLE[2:]
    assert await story(room) == WHOLE
    assert await story(room, after=4) == WHOLE[4:]
    assert await story(room, after=5) == ["RunEnded"]


async def test_who_follows_a_queued_run_sees_it_from_its_start(room: Room) -> None:
    room.executor.pause()
    await room.submit()
    follower = asyncio.Task(story(room))
    await asyncio.sleep(0)
    room.executor.resume()
    performance = await room.agent.started()
    performance.say("one", "two")
    performance.finish()
    assert await follower == WHOLE


async def test_who_follows_a_run_that_is_cancelled_in_the_queue_sees_its_end(room: Room) -> None:
    room.executor.pause()
    await room.submit()
    follower = asyncio.Task(story(room))
    await asyncio.sleep(0)
    room.executor.cancel("run_1")
    assert await follower == ["RunEnded"]


async def test_a_slow_follower_holds_up_nobody_and_misses_nothing(room: Room) -> None:
    await room.submit()
    performance = await room.agent.started()
    follower = room.executor.follow("run_1")
    first = await anext(follower)
    for n in range(1000):
        performance.say(f"{n} ")
        performance.emit(Notice(code="between", text="so that no two are one"))
    performance.finish()
    await room.door.outcome()
    rest = [event async for event in follower]
    assert [event.seq for event in (first, *rest)] == list(range(1, 2004))
    assert isinstance(rest[-1], RunEnded)
    assert rest[-1].outcome.text == "".join(e.text for e in rest if isinstance(e, TextDelta))


async def test_following_an_unknown_run_says_so(room: Room) -> None:
    with pytest.raises(ExecutorError, match="run_unknown"):
        await story(room, "nothing")


# --- what is bounded -----------------------------------------------------------------------------


async def test_a_text_beyond_its_bound_is_cut_with_a_notice(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor_core.executor.run.MAX_TEXT", 10)
    await room.submit()
    performance = await room.agent.started()
    performance.say("123456789", "abc", "left out", "too")
    performance.finish()
    assert (await room.door.outcome()).text == "123456789abc" == "".join(room.texts())
    assert notices(room) == ["text_cut"]


async def test_old_runs_are_forgotten_while_the_executor_goes_on(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor_core.executor.executor.PRUNE_EVERY", 2)
    monkeypatch.setattr("executor_core.executor.run_folders.MAX_FOLDERS", 0)
    await room.complete(request(1))
    await room.deliver()
    await room.complete(request(2))
    delivered, undelivered = (room.folder / "runs" / f"run_{number}" for number in (1, 2))
    async with asyncio.timeout(10):
        while delivered.exists():
            await asyncio.sleep(0.005)
    assert undelivered.exists()
    assert await story(room) == ["RunEnded"]


async def test_each_task_folder_lies_in_the_workspace(room: Room) -> None:
    await room.submit(request(workspace=TaskFolder(name="../out")))
    outcome = await room.door.outcome()
    assert outcome.error is not None
    assert outcome.error.code == "folder_name_refused"
