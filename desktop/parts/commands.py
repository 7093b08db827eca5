"""Sentences name commands between backticks, as people write them where there are no fonts.

Windows show these in a fixed font. All else in a sentence stays what it is: much of it comes from
outside, and none of it is markup.
"""

from __future__ import annotations

import re
from html import escape

_COMMAND = re.compile(r"`([^`\n]+)`")


def has_command(words: str) -> bool:
    """Whether `words` name one."""
    return _COMMAND.search(words) is not None


def plain(words: str) -> str:
    """`words` for a place that knows no fonts and is no terminal."""
    return _COMMAND.sub(r"\1", words)


def rich(words: str) -> str:
    """`words` as rich text of Qt, also where Qt decides by itself whether something is that."""
    marked = _COMMAND.sub(r"<code>\1</code>", escape(words))
    return f'<p style="margin: 0; white-space: pre-wrap">{marked}</p>'
