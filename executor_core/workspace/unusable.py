"""What a room says to itself when something that a task brought cannot be used."""

from __future__ import annotations


class Unusable(Exception):
    """The text is the reason, for a person. The task goes on without the thing."""
