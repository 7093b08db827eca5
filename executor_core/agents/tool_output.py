"""How much of what a tool printed is kept in an event; the agent itself saw all of it."""

from __future__ import annotations

MAX_CHARS = 64 * 1024


def cut_output(words: str, limit: int = MAX_CHARS) -> str:
    """About `limit` characters of `words`: four fifths from its head, the rest from its tail."""
    if len(words) <= limit:
        return words
    tail = limit // 5
    left_out = len(words) - limit
    return f"{words[: limit - tail]}\n[… {left_out} …]\n{words[-tail:]}"
