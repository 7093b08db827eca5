"""Lines of the log that anybody on this computer can cause: few, short, and counted beyond that."""

from __future__ import annotations

import logging

MOST = 10
"""Lines within `SPAN_S`; how many were left out is said with the first of the next span."""
SPAN_S = 60.0
MAX_LINE = 300


class Seldom(logging.Filter):
    """Lets few records of a logger pass, each as one short line; the time is that of the records.

    Without `with_traceback` no traceback passes.
    """

    def __init__(self, *, with_traceback: bool = True) -> None:
        super().__init__()
        self._with_traceback = with_traceback
        self._since = float("-inf")
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if not 0 <= record.created - self._since < SPAN_S:
            left_out, self._since, self._count = max(self._count - MOST, 0), record.created, 0
        else:
            left_out = 0
        self._count += 1
        if self._count > MOST:
            return False
        words = record.getMessage()[:MAX_LINE]
        if not self._with_traceback:
            error = record.exc_info[1] if record.exc_info else None
            words += f": {type(error).__name__}" if error is not None else ""
            record.exc_info = record.exc_text = None
        record.msg, record.args = words, ()
        if left_out:
            record.msg += f" ({left_out} such lines were left out before)"
        return True
