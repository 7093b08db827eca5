"""A journal with a past, written in one go."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from executor_core.model import Outcome, RunState, Timings
from tests.support.clock import START


def write_history(
    journal_db: Path, count: int, newest: datetime = START - timedelta(minutes=1)
) -> None:
    """So many runs that ended, a minute apart; the newest is `run 0`. The journal must exist."""
    rows = []
    for number in range(count):
        at = newest - timedelta(minutes=number)
        outcome = Outcome(state=RunState.COMPLETED, timings=Timings(accepted_at=at, finished_at=at))
        run_id = f"run_{number:032}"
        rows.append((run_id, f"run {number}", at.isoformat(), msgspec.json.encode(outcome)))
    with sqlite3.connect(journal_db) as db:
        db.executemany(
            "INSERT INTO runs (run_id, source, request_key, conversation_key, reply_to, agent,"
            " title, state, accepted_at, outcome, awaits_delivery) VALUES"
            " (?1, 'api', ?1, ?1, '{}', 'claude_code', ?2, 'completed', ?3, ?4, 0)",
            rows,
        )
    db.close()
