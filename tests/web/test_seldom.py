"""Lines that anybody can cause: few within a minute, and counted."""

from __future__ import annotations

import logging

from executor_core.web.seldom import MAX_LINE, MOST, SPAN_S, Seldom


def record(at: float, words: str = "x") -> logging.LogRecord:
    made = logging.LogRecord("r", logging.ERROR, "p", 1, "%s", (words,), None)
    made.created = at
    return made


def test_beyond_so_many_within_a_minute_they_are_counted_only() -> None:
    seldom = Seldom()
    passed = [seldom.filter(record(1000.0 + number / 10)) for number in range(MOST + 7)]
    assert passed == [True] * MOST + [False] * 7
    later = record(1000.0 + SPAN_S + 1)
    assert seldom.filter(later)
    assert "7 such lines" in later.getMessage()


def test_a_clock_that_was_set_back_silences_nothing() -> None:
    seldom = Seldom()
    assert all([seldom.filter(record(at)) for at in (5000.0, 10.0)])


def test_a_line_is_short_and_names_the_error_alone() -> None:
    made = record(1.0, "y" * 9000)
    error = ValueError("secret words")
    made.exc_info = (ValueError, error, None)
    assert Seldom(with_traceback=False).filter(made)
    assert made.getMessage() == "y" * MAX_LINE + ": ValueError"
    assert made.exc_info is None
