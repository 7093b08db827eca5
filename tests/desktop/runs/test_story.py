"""What of a run is told, and in which parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from desktop.runs.story import MAX_TOOL_CHARS, Head, Kind, Part, Teller, broken
from executor_core.model import (
    AgentEvent,
    Artifact,
    FileChanged,
    Outcome,
    ReasoningDelta,
    RunEnded,
    RunStarted,
    RunState,
    TextDelta,
    Timings,
    ToolFinished,
    ToolStarted,
)
from tests.support.clock import START


def told(*events: AgentEvent) -> list[Part | Head]:
    teller = Teller()
    return [part for event in events for part in teller.tell(event)]


def ended(text: str = "", artifacts: tuple[Artifact, ...] = ()) -> RunEnded:
    timings = Timings(accepted_at=START, finished_at=START)
    outcome = Outcome(state=RunState.COMPLETED, text=text, artifacts=artifacts, timings=timings)
    return RunEnded(outcome=outcome)


@given(st.text(alphabet="ab\n", max_size=200), st.integers(0, 9))
def test_no_line_gets_too_long_and_nothing_is_lost(words: str, column: int) -> None:
    parts = broken(words, column, 7).split("\n")
    assert column + len(parts[0]) <= max(7, column)
    assert all(len(part) <= 7 for part in parts[1:])
    assert "".join(parts) == words.replace("\n", "")
    if all(len(line) + column <= 7 for line in words.split("\n")):
        assert "\n".join(parts) == words


def test_an_answer_that_was_not_streamed_is_shown_at_the_end() -> None:
    [part] = told(ended("All of it."))
    assert part == Part(kind=Kind.ANSWER, text="All of it.")
    assert told(TextDelta(text="x"), ended("x")) == told(TextDelta(text="x"))


def test_reasoning_that_something_interrupts_is_two_thoughts() -> None:
    parts = told(
        ReasoningDelta(text="a"), ReasoningDelta(text="b"), TextDelta(text="x"),
        ReasoningDelta(text="c"),
    )  # fmt: skip
    folds = [part.fold for part in parts if part.kind is Kind.REASONING]
    assert folds == ["thought 1"] * 3 + ["thought 2"] * 2


def test_what_goes_into_a_tool_and_out_of_it_is_bounded() -> None:
    long = "x" * (2 * MAX_TOOL_CHARS)
    parts = told(
        ToolStarted(call_id="a", name="Write", input={"content": long}),
        ToolFinished(call_id="a", output=long),
    )
    assert all(len(part.text) < MAX_TOOL_CHARS + 100 for part in parts)
    assert str(len(long)) in parts[-1].text
    heads = [part.text for part in parts if isinstance(part, Head)]
    assert all(len(head) < 120 for head in heads)


def test_artifacts_are_listed_with_their_size() -> None:
    artifact = Artifact(name="a.patch", path="/x/a.patch", size_bytes=2500)
    parts = told(ended(artifacts=(artifact,)))
    assert [part.text for part in parts] == ["Artifacts", "a.patch — 2.5 kB"]


def test_paths_in_the_folder_of_the_run_are_told_without_it() -> None:
    parts = told(
        RunStarted(agent="a", folder="/home/me/it"),
        ToolStarted(call_id="a", name="Read", input={"path": "/home/me/it/a.txt"}),
        FileChanged(path="/home/me/it/a.txt", change="written"),
        FileChanged(path="a.txt", change="written"),
        FileChanged(path="/home/me/item/b.txt", change="written"),
        ended(),
    )
    assert parts[0].text.startswith("Read  a.txt — ")
    assert [part.text for part in parts[-2:]] == ["a.txt", "/home/me/item/b.txt"]


def test_a_tool_that_only_ended_is_told_by_its_id() -> None:
    [head, part] = told(ToolFinished(call_id="t9", output="ok"))
    assert head.text == "t9 — done"
    assert part.text == "→ ok"
