"""The one way in which commands print, and end: words, tables, JSON, errors, exit codes.

Titles, answers, names of files and refusals come from elsewhere. A terminal would take what is in
them for a command to clear itself, to write the clipboard, or to turn the direction of text; so
nothing in the words of others is obeyed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import IntEnum
from typing import IO, Any

import click
import msgspec

from executor_core.errors import ExecutorError
from executor_core.texts import in_words, text
from executor_core.unicode import one_line, plain_json, visible

_MAX_LISTED = 50


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


_CODES = {
    Exit.NOT_RUNNING: ("not_running", "executor_lost"),
    Exit.OFFLINE: (
        "executor_silent", "server_unreachable", "server_answer_strange", "link_offline",
        "device_listed_offline",
        "network", "tls", "server",  # checks of the doctor, by their names
    ),
    Exit.REJECTED: ("token_refused", "link_rejected", "link_twin"),
    Exit.CONFIGURATION: (
        "not_configured", "no_server", "port_taken", "cannot_listen", "acp_agent_invalid",
        "signed_out", "keychain_blocked",
    ),
    Exit.ALREADY_RUNNING: ("already_running", "exec_at_work"),
}  # fmt: skip
_EXIT_BY_CODE = {code: ending for ending, codes in _CODES.items() for code in codes}


def exit_code(error: ExecutorError) -> Exit:
    """The exit code that tells a script what kind of error it was."""
    from executor_core.config.errors import ConfigError

    return Exit.CONFIGURATION if isinstance(error, ConfigError) else exit_of(error.code)


def exit_of(code: str) -> Exit:
    """The same by the code of an error."""
    return _EXIT_BY_CODE.get(code, Exit.FAILED)


def say(
    words: object = "",
    *,
    err: bool = False,
    nl: bool = True,
    file: IO[Any] | None = None,
    **style: Any,
) -> None:
    """Print `words`, with a `style` of click's, such as `dim=True`."""
    line = visible(str(words))
    click.echo(click.style(line, **style) if style else line, err=err, nl=nl, file=file)  # noqa: TID251


def say_error(error: ExecutorError) -> None:
    """One line on stderr."""
    from executor_core.config.redaction import redact

    say(redact(" ".join(error.message.sentence.split())), err=True)


def say_json(value: object, *, is_indented: bool = True) -> None:
    """Print `value` as JSON, of which no character is lost whatever the output can hold."""
    encoded = msgspec.json.encode(in_words(value))
    line = (msgspec.json.format(encoded, indent=2) if is_indented else encoded).decode()
    click.echo(plain_json(line, getattr(sys.stdout, "encoding", None) or "utf-8"))  # noqa: TID251


def say_table(rows: Iterable[Iterable[object]], headings: Iterable[str]) -> None:
    """Print a table without borders. `headings` are keys of the catalogue; "" is none."""
    from tabulate import tabulate

    cells = [[one_line(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    words = [text(key) if key else "" for key in headings]
    say(tabulate(cells, words, tablefmt="plain"))


def say_list(lines: Sequence[str]) -> None:
    """Print one line each, and not too many."""
    for line in lines[:_MAX_LISTED]:
        say("  " + one_line(line))
    if len(lines) > _MAX_LISTED:
        say("  …")


def local_time(moment: datetime) -> str:
    """A time of day here; with the date where it is not today."""
    local = moment.astimezone()
    is_today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def agrees(question: str) -> bool:
    """Ask a person, for whom silence is a no."""
    return click.confirm(visible(question), default=False)  # noqa: TID251
