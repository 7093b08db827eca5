"""What is worth a notification: a run that a person waited for ended, or a person is needed.

Pure; whether anybody looks at a window of ours anyway is known to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from desktop.parts.phrases import run_title, shortened
from desktop.tray.glance import Glance, TrayState
from executor_core.control import RunDetail, RunSummary, Status
from executor_core.model import RunState, Source
from executor_core.texts import text

WAITED_FOR = timedelta(seconds=15)
"""Whoever asked for something shorter is still looking at it."""
_MOST_NAMED = 3
_MAX_TEXT = 180


class NoticeKind(StrEnum):
    """Each has a switch: `notifications.<kind>`."""

    RUN_COMPLETED = "run_completed"
    RUN_FAILED = "run_failed"
    ATTENTION = "attention"


class Notice(Struct, kw_only=True, frozen=True):
    """A notification. `run_id` is what a click opens; None: what needs attention."""

    kind: NoticeKind
    title: str
    text: str
    run_id: str | None = None


def notice_of_run(detail: RunDetail) -> Notice | None:
    """What to say about a run that ended; None where nobody waited, or the person ended it."""
    run, outcome = detail.run, detail.outcome
    if run.source is Source.RUNNER or outcome is None:
        return None
    if run.state is RunState.FAILED:
        error = outcome.error
        return Notice(
            kind=NoticeKind.RUN_FAILED,
            title=text("notify.failed", title=run_title(run)),
            text=shortened(error.title if error else "", _MAX_TEXT),
            run_id=run.run_id,
        )
    took = outcome.timings.finished_at - outcome.timings.accepted_at
    if run.state is not RunState.COMPLETED or took < WAITED_FOR:
        return None
    return Notice(
        kind=NoticeKind.RUN_COMPLETED,
        title=text("notify.completed", title=run_title(run)),
        text=shortened(outcome.text, _MAX_TEXT),
        run_id=run.run_id,
    )


def newly_ended(
    before: Status | None, now: Status, recent: Sequence[RunSummary], last_end: datetime
) -> set[str]:
    """The runs that ended between two looks, also those too short for either to see them.

    `last_end` is when the last one ended that was known before.
    """
    if before is None:
        return set()
    gone = {run.run_id for run in before.runs} - {run.run_id for run in now.runs}
    return gone | {run.run_id for run in recent if (run.finished_at or last_end) > last_end}


def notice_of_change(before: Glance | None, now: Glance) -> Notice | None:
    """What to say when a person became needed; not again while it stays so."""
    was_said = before is not None and before.state is TrayState.ATTENTION
    if now.state is not TrayState.ATTENTION or was_said:
        return None
    title = text("notify.attention")
    return Notice(kind=NoticeKind.ATTENTION, title=title, text=shortened(now.headline, _MAX_TEXT))


def collapsed(notices: Sequence[Notice]) -> Notice:
    """Several at once as one. The most urgent decides what a click opens."""
    urgency = tuple(NoticeKind)
    first = max(notices, key=lambda notice: urgency.index(notice.kind))
    if len(notices) == 1:
        return first
    named = [notice.title for notice in notices[:_MOST_NAMED]]
    if len(notices) > _MOST_NAMED:
        named.append("…")
    return Notice(
        kind=first.kind,
        title=text("notify.several", count=len(notices)),
        text="\n".join(named),
        run_id=first.run_id,
    )
