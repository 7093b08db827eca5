"""What was accepted, finished and delivered: it survives us, whatever ends us."""

from executor_core.journal.events import EventLog, follow, read_events, started_in
from executor_core.journal.journal import Journal, RunRow, row_of

__all__ = ["EventLog", "Journal", "RunRow", "follow", "read_events", "row_of", "started_in"]
