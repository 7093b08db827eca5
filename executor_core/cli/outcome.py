"""How a command ends: exit codes, and errors in one sentence. No traceback reaches a person."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import ParamSpec, TypeVar

import click

from executor_core.cli.out import say
from executor_core.errors import ExecutorError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Exit(IntEnum):
    """The exit codes; scripts rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    OFFLINE = 4
    REJECTED = 5
    CONFIGURATION = 6
    ALREADY_RUNNING = 7
    INTERRUPTED = 130


_EXIT_BY_CODE = {
    "not_running": Exit.NOT_RUNNING,
    "executor_lost": Exit.NOT_RUNNING,
    "executor_silent": Exit.OFFLINE,
    "already_running": Exit.ALREADY_RUNNING,
    "exec_at_work": Exit.ALREADY_RUNNING,
    "not_configured": Exit.CONFIGURATION,
    "no_server": Exit.CONFIGURATION,
    "port_taken": Exit.CONFIGURATION,
    "cannot_listen": Exit.CONFIGURATION,
    "acp_agent_invalid": Exit.CONFIGURATION,
    "signed_out": Exit.CONFIGURATION,
    "keychain_blocked": Exit.CONFIGURATION,
    # What a look at the server found, by the names of its checks.
    **dict.fromkeys(("network", "tls", "server"), Exit.OFFLINE),
    **dict.fromkeys(("server_unreachable", "server_answer_strange"), Exit.OFFLINE),
    **dict.fromkeys(("link_offline", "device_listed_offline"), Exit.OFFLINE),
    **dict.fromkeys(("token_refused", "link_rejected", "link_twin"), Exit.REJECTED),
}


def exit_code(error: ExecutorError) -> Exit:
    """The exit code that tells a script what kind of error it was."""
    from executor_core.config.errors import ConfigError

    if isinstance(error, ConfigError):
        return Exit.CONFIGURATION
    return exit_of(error.code)


def exit_of(code: str) -> Exit:
    """The same by the code of an error."""
    return _EXIT_BY_CODE.get(code, Exit.FAILED)


def say_error(error: ExecutorError) -> None:
    """One line on stderr."""
    from executor_core.config.redaction import redact

    say(redact(" ".join(error.message.sentence.split())), err=True)


def speaks_plainly(command: Callable[_P, _T]) -> Callable[_P, _T]:
    """Turn errors of a command into a sentence and an exit code."""

    @functools.wraps(command)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return command(*args, **kwargs)
        except ExecutorError as error:
            say_error(error)
            sys.exit(exit_code(error))
        except (KeyboardInterrupt, click.Abort):
            say(err=True)
            sys.exit(Exit.INTERRUPTED)

    return wrapper
