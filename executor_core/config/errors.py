"""What is wrong with the configuration, in words that name the place to correct it."""

from __future__ import annotations

from executor_core.errors import ExecutorError


class ConfigError(ExecutorError):
    """The program cannot start as it is configured (exit code 6)."""


def reason_of(error: OSError) -> str:
    """What the operating system said, without its number and without the path."""
    return error.strerror or type(error).__name__
