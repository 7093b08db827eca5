"""The one way in which commands print: nothing in the words of others is obeyed by a terminal.

Titles, answers, names of files and refusals come from elsewhere. A terminal would take what is in
them for a command to clear itself, to write the clipboard, or to turn the direction of text.
"""

from __future__ import annotations

import sys
from typing import IO, Any

import click
import msgspec

from executor_core.texts import in_words
from executor_core.unicode import plain_json, visible


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


def say_json(value: object, *, is_indented: bool = True) -> None:
    """Print `value` as JSON, of which no character is lost whatever the output can hold."""
    encoded = msgspec.json.encode(in_words(value))
    line = (msgspec.json.format(encoded, indent=2) if is_indented else encoded).decode()
    click.echo(plain_json(line, getattr(sys.stdout, "encoding", None) or "utf-8"))  # noqa: TID251


def agrees(question: str) -> bool:
    """Ask a person, for whom silence is a no."""
    return click.confirm(visible(question), default=False)  # noqa: TID251
