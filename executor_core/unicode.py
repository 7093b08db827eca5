"""Text that every wire and disk takes.

JavaScript cuts texts between the two halves of a character, and a file name may hold bytes that are
no text. Python keeps both inside a str; UTF-8, and so JSON and SQLite, refuse them.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, TypeVar

import msgspec

UNKNOWN = "\N{REPLACEMENT CHARACTER}"

_COMPOUND = (b"{", b"[")
_S = TypeVar("_S", bound=msgspec.Struct | dict[str, Any])


def is_encodable(text: str) -> bool:
    """Whether there is no half character in it."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def mended(text: str) -> str:
    """`text` with a question mark for every half character."""
    return text if is_encodable(text) else text.encode(errors="replace").decode()


def encodable(value: _S) -> _S:
    """`value` itself, or a copy of it with a question mark for every half character."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
        mended: _S = msgspec.json.decode(text.encode(errors="replace"), type=type(value))
        return mended
    return value


def shown(path: str) -> str:
    """A path as text, with `UNKNOWN` for every byte that is none."""
    return os.fsencode(path).decode(errors="replace")


def decode_json(line: bytes) -> object:
    """The JSON value of `line`, mended where its text is not UTF-8 or holds half characters or NaN.

    Raises ValueError if it is no JSON.
    """
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if not line.lstrip().startswith(_COMPOUND):
            raise ValueError("neither an object nor a list") from None  # programs also chat
        return _decode_patiently(line)


def _decode_patiently(line: bytes) -> object:
    try:
        # Python and others write NaN, which is no JSON.
        value = json.loads(line.decode(errors="replace"), parse_constant=lambda _: None)
        text = json.dumps(value, ensure_ascii=False)
        return msgspec.json.decode(text.encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


_COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]"
)

_BEYOND_ASCII = re.compile("[\x7f-\U0010ffff]")


def visible(words: str) -> str:
    """`words` without what a terminal or a page would obey: escapes, clears, turns of direction.

    Each such character is spelled out, such as `\\x1b`. Tabs and ends of lines stay.
    """
    return _COMMANDS.sub(_spelled, words.replace("\r\n", "\n"))


def one_line(words: str) -> str:
    """The same where a line must stay one."""
    return visible(words).replace("\n", "\\n").replace("\t", " ")


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def plain_json(encoded: str, encoding: str) -> str:
    """The same JSON in characters that a stream with `encoding` takes and no terminal obeys."""
    is_whole = encoding.lower().replace("-", "").replace("_", "") == "utf8"
    return (_COMMANDS if is_whole else _BEYOND_ASCII).sub(
        lambda found: json.dumps(found[0])[1:-1], encoded
    )
