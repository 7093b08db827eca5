"""A conversation always has a way on: a session that cannot be used is replaced, once."""

from __future__ import annotations

from typing import Any

import pytest

from executor_core.agents.failures import failure
from executor_core.model import Image, Notice, RunState, ToolStarted
from tests.executor.room import Room, request
from tests.support.scripted_agent import ScriptedAgent

LOST = failure("session_not_found", session_id="old")
SPOILT = failure("session_unusable", reason="image exceeds 5 MB")
FULL = failure("model_context_full", reason="prompt is too long")
TALK: dict[str, Any] = {"conversation_key": "talk"}


def notices(room: Room, run_id: str = "run_1") -> list[str]:
    return [event.code for event in room.door.events(run_id) if isinstance(event, Notice)]


@pytest.mark.parametrize(
    ("error", "notice"),
    [(LOST, "session_lost"), (SPOILT, "session_replaced"), (FULL, "session_replaced")],
    ids=lambda value: getattr(value, "code", value),
)
async def test_a_session_that_cannot_be_used_is_replaced_once_with_a_notice(
    room: Room, error: object, notice: str
) -> None:
    await room.journal.save_session("talk", "scripted", "old")
    await room.submit(request(**TALK))
    first = await room.agent.started()
    assert first.assignment.session_id == "old"
    first.finish(error=error)  # type: ignore[arg-type]
    second = await room.agent.started()
    assert second.assignment.session_id is None
    second.name_session("new")
    second.finish("Done.")
    assert (await room.door.outcome()).state is RunState.COMPLETED
    assert notices(room) == [notice]
    assert await room.journal.session("talk", "scripted") == "new"


async def test_a_session_that_is_forgotten_leaves_the_other_agents_theirs(room: Room) -> None:
    await room.journal.save_session("talk", "scripted", "old")
    await room.journal.save_session("talk", "other", "theirs")
    await room.submit(request(**TALK))
    (await room.agent.started()).finish(error=FULL)
    (await room.agent.started()).finish(error=FULL)
    await room.door.outcome()
    assert await room.journal.session("talk", "scripted") is None
    assert await room.journal.session("talk", "other") == "theirs"


async def test_a_request_that_brings_its_own_session_goes_on_with_that_one(room: Room) -> None:
    await room.journal.save_session("talk", "scripted", "old")
    await room.submit(request(**TALK, session_id="the server's"))
    performance = await room.agent.started()
    assert performance.assignment.session_id == "the server's"
    performance.finish("Done.")
    await room.door.outcome()


@pytest.mark.parametrize("can_fork", [True, False])
async def test_an_inherited_session_is_for_an_agent_that_leaves_it_as_it_is(
    room: Room, monkeypatch: pytest.MonkeyPatch, can_fork: bool
) -> None:
    monkeypatch.setattr(ScriptedAgent, "can_fork", can_fork)
    await room.submit(request(**TALK, inherited_session="theirs"))
    performance = await room.agent.started()
    told = performance.assignment.session_id, performance.assignment.is_fork
    assert told == (("theirs", True) if can_fork else (None, False))
    performance.finish("Done.")
    await room.door.outcome()


async def test_the_notice_says_why_and_what_the_new_conversation_does_not_know(room: Room) -> None:
    await room.journal.save_session("talk", "scripted", "old")
    await room.submit(request(**TALK))
    (await room.agent.started()).finish(error=SPOILT)
    (await room.agent.started()).finish("Done.")
    await room.door.outcome()
    [words] = [event.text for event in room.door.events() if isinstance(event, Notice)]
    assert "image exceeds 5 MB" in words
    assert "does not know what was said before" in words


async def test_a_session_that_cannot_be_used_twice_is_the_outcome(room: Room) -> None:
    await room.journal.save_session("talk", "scripted", "old")
    await room.submit(request(**TALK))
    (await room.agent.started()).finish(error=LOST)
    (await room.agent.started()).finish(error=LOST)
    outcome = await room.door.outcome()
    assert outcome.error == LOST
    assert room.door.kinds()[-2:] == ["AgentResult", "RunRow"]


async def test_a_first_turn_that_spoils_its_session_is_not_repeated_and_leaves_none(
    room: Room,
) -> None:
    await room.submit(request(**TALK))
    performance = await room.agent.started()
    performance.name_session("spoilt")
    performance.finish(error=SPOILT)
    assert (await room.door.outcome()).error == SPOILT
    assert await room.journal.session("talk", "scripted") is None


async def test_work_that_was_begun_is_not_done_twice(room: Room) -> None:
    await room.journal.save_session("talk", "scripted", "old")
    await room.submit(request(**TALK))
    performance = await room.agent.started()
    performance.emit(ToolStarted(call_id="1", name="Bash"))
    performance.finish(error=FULL)
    assert (await room.door.outcome()).error == FULL
    assert await room.journal.session("talk", "scripted") is None


async def test_a_run_learns_that_the_next_turn_of_its_conversation_waits(room: Room) -> None:
    await room.submit(request(1, **TALK))
    first = await room.agent.started()
    await room.submit(request(2, conversation_key="another"))
    assert not first.assignment.is_awaited.is_set()
    await room.submit(request(3, **TALK))
    assert first.assignment.is_awaited.is_set()
    first.finish("Done.")
    await room.door.outcome()


async def test_a_picture_that_no_model_takes_reaches_the_agent_as_a_file(room: Room) -> None:
    picture = Image(media_type="image/svg+xml", data="PHN2Zy8+")
    await room.submit(request(images=(picture,)))
    performance = await room.agent.started()
    path = performance.assignment.scratch / "picture-1.svg"
    assert performance.assignment.images == ()
    assert str(path) in performance.assignment.prompt
    assert path.read_bytes() == b"<svg/>"
    performance.finish("Done.")
    await room.door.outcome()
    assert notices(room) == ["image_as_file"]
