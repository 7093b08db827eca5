from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from desktop.tray.glance import Glance, TrayState
from desktop.tray.notices import (
    Notice,
    NoticeKind,
    collapsed,
    newly_ended,
    notice_of_change,
    notice_of_run,
)
from executor_core.control import RunDetail, RunSummary, Slots, Status
from executor_core.model import Outcome, RunState, Source, Timings
from executor_core.texts import Message

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ended(
    state: RunState, seconds: float = 60, source: Source = Source.DEVICE, title: str = "Fix it"
) -> RunDetail:
    run = RunSummary(
        run_id="run_1",
        source=source,
        task_id=7,
        subtask_id=8,
        agent="codex",
        state=state,
        started_at=NOW,
        accepted_at=NOW,
        title=title,
    )
    timings = Timings(accepted_at=NOW, finished_at=NOW + timedelta(seconds=seconds))
    error = Message(code="x", given_title="No login") if state is RunState.FAILED else None
    outcome = Outcome(state=state, text="It is fixed.", error=error, timings=timings)
    return RunDetail(run=run, outcome=outcome, delivered=True)


def test_a_run_that_took_a_while_is_told_with_its_title() -> None:
    assert notice_of_run(ended(RunState.COMPLETED)) == Notice(
        kind=NoticeKind.RUN_COMPLETED, title="Done: Fix it", text="It is fixed.", run_id="run_1"
    )


def test_a_failure_is_told_however_short_it_was() -> None:
    notice = notice_of_run(ended(RunState.FAILED, seconds=1))
    assert notice is not None
    assert (notice.title, notice.text) == ("Failed: Fix it", "No login")


@pytest.mark.parametrize(
    "detail",
    [
        ended(RunState.COMPLETED, seconds=5),
        ended(RunState.CANCELLED),
        ended(RunState.COMPLETED, source=Source.RUNNER),
    ],
    ids=["short", "cancelled by the person", "asked for by a machine"],
)
def test_nobody_is_told_what_nobody_waited_for(detail: RunDetail) -> None:
    assert notice_of_run(detail) is None


def status(*runs: RunSummary) -> Status:
    return Status(
        version="1",
        pid=1,
        device_id="d",
        device_name="d",
        paused=False,
        draining=False,
        links=(),
        slots=Slots(used=len(runs), max=5),
        queued=0,
        outbox_pending=0,
        api="",
        runs=runs,
    )


def test_runs_too_short_to_be_seen_are_found_and_those_of_before_are_not() -> None:
    run = ended(RunState.COMPLETED).run
    long = replace(run, run_id="long")
    short = replace(run, run_id="short", finished_at=NOW + timedelta(seconds=2))
    old = replace(run, run_id="old", finished_at=NOW)
    recent = [short, old, replace(run, run_id="queued")]
    assert newly_ended(status(long), status(), recent, last_end=NOW) == {"long", "short"}
    assert newly_ended(None, status(), recent, last_end=NOW) == set()


def test_a_person_who_is_needed_is_told_once() -> None:
    fine = Glance(state=TrayState.IDLE, headline="Online", tooltip="Online")
    bad = Glance(state=TrayState.ATTENTION, headline="Sign in again", tooltip="")
    notice = notice_of_change(fine, bad)
    assert notice is not None
    assert notice.text == "Sign in again"
    assert notice_of_change(bad, bad) is None
    assert notice_of_change(bad, fine) is None


def test_several_at_once_become_one_and_the_most_urgent_is_opened() -> None:
    done = [
        Notice(kind=NoticeKind.RUN_COMPLETED, title=f"Done: {n}", text="", run_id=f"run_{n}")
        for n in range(4)
    ]
    failed = Notice(kind=NoticeKind.RUN_FAILED, title="Failed: 9", text="", run_id="run_9")
    one = collapsed([*done, failed])
    assert (one.kind, one.run_id, one.title) == (NoticeKind.RUN_FAILED, "run_9", "5 messages")
    assert one.text.splitlines() == ["Done: 0", "Done: 1", "Done: 2", "…"]
    assert collapsed([failed]) == failed
