"""How runs and times are called, wherever they are shown."""

from __future__ import annotations

from datetime import datetime, timedelta

from executor_core.control import RunSummary
from executor_core.texts import text
from executor_core.unicode import visible

_MAX_TITLE = 48


def run_title(run: RunSummary) -> str:
    """What a person calls the run."""
    if run.title.strip():
        return shortened(run.title, _MAX_TITLE)
    if run.task_id is not None:
        return text("tray.task", task=run.task_id)
    return shortened(run.run_id, 14)


def shortened(words: str, longest: int) -> str:
    """One line of at most so many characters."""
    line = visible(" ".join(words.split()))
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def duration(time: timedelta) -> str:
    """About how long: the largest unit that fits, without the smaller ones."""
    seconds = max(0, int(time.total_seconds()))
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return text(f"span.{unit}", count=seconds // size)
    return text("span.seconds", count=seconds)


def clock_time(moment: datetime, now: datetime) -> str:
    """A time of day here; with the date where it is not today."""
    local = moment.astimezone()
    is_today = local.date() == now.astimezone().date()
    return local.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M")
