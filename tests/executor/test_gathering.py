"""Many small deltas become one event; order, words and everything else stay."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from executor_core.executor.stream import FEW, Gathering
from executor_core.model import AgentEvent, Notice, ReasoningDelta, TextDelta

MANY = FEW + 1


def said(events: list[AgentEvent]) -> str:
    """What a reader sees, thoughts in brackets."""
    shown = ""
    for event in events:
        match event:
            case TextDelta(text=words):
                shown += words
            case ReasoningDelta(text=words):
                shown += "".join(f"[{letter}]" for letter in words)
            case Notice(text=words):
                shown += f"<{words}>"
    return shown


async def gathered(*turns: list[AgentEvent]) -> list[AgentEvent]:
    passed: list[AgentEvent] = []
    gathering = Gathering(passed.append)
    for events in turns:
        for event in events:
            gathering.take(event)
        await asyncio.sleep(0)
    return passed


async def test_many_deltas_of_one_turn_of_the_loop_become_one() -> None:
    assert await gathered([TextDelta(text="a")] * MANY) == [TextDelta(text="a" * MANY)]


async def test_few_deltas_stay_as_they_came() -> None:
    few: list[AgentEvent] = [TextDelta(text=str(number)) for number in range(FEW)]
    assert await gathered(few) == few


async def test_deltas_of_different_turns_stay_apart() -> None:
    many: list[AgentEvent] = [TextDelta(text="a")] * MANY
    assert len(await gathered(many, many)) == 2


async def test_thoughts_and_words_are_not_mixed() -> None:
    thoughts: list[AgentEvent] = [ReasoningDelta(text="t")] * MANY
    words: list[AgentEvent] = [TextDelta(text="w")] * MANY
    assert await gathered(thoughts + words) == [
        ReasoningDelta(text="t" * MANY),
        TextDelta(text="w" * MANY),
    ]


async def test_another_event_comes_behind_what_was_said_before_it_and_at_once() -> None:
    passed: list[AgentEvent] = []
    gathering = Gathering(passed.append)
    for _ in range(MANY):
        gathering.take(TextDelta(text="a"))
    assert passed == []

    gathering.take(Notice(code="silent", text="n"))

    assert said(passed) == "a" * MANY + "<n>"


async def test_what_was_sent_along_keeps_a_delta_apart() -> None:
    own: list[AgentEvent] = [TextDelta(text="a", raw={"id": n}) for n in range(MANY)]
    assert await gathered(own) == own


async def test_what_is_held_is_bounded() -> None:
    passed: list[AgentEvent] = []
    gathering = Gathering(passed.append)
    for _ in range(MANY):
        gathering.take(TextDelta(text="x" * 10_000))
    assert passed
    gathering.flush()
    assert sum(len(said([event])) for event in passed) == MANY * 10_000


_events = st.one_of(
    st.builds(TextDelta, text=st.text("ab", max_size=3)),
    st.builds(ReasoningDelta, text=st.text("ab", max_size=3)),
    st.builds(Notice, code=st.just("n"), text=st.text("ab", max_size=3)),
)


@given(st.lists(st.lists(_events, max_size=40), max_size=5))
def test_order_and_words_are_always_the_same(turns: list[list[AgentEvent]]) -> None:
    passed = asyncio.run(gathered(*turns))
    assert said(passed) == said([event for events in turns for event in events])
