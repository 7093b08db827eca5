"""The kinds of values that options have: how one is read from text or JSON, and what is allowed.

Parsers raise ValueError and nothing else; the caller knows the option and the source.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from executor_core.loopback import is_loopback
from executor_core.texts import Message

T = TypeVar("T")
MIB = 1024 * 1024
_UNITS = {"": 1, "K": 1024, "M": MIB, "G": 1024 * MIB}
_SWITCH = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


@dataclass(frozen=True)
class Where:
    """What a path in a layer is relative to: `base`, and `user_home` for a leading `~`."""

    base: Path
    user_home: Path


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind: `parse` raises ValueError for what is not `allowed`."""

    parse: Callable[[object, Where], T]
    allowed: Message


class Address(NamedTuple):
    """A place to listen on. Port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True if nobody but this computer can reach it."""
        return is_loopback(self.host)


def line_of_text(shortest: int = 1, longest: int = 4096) -> Kind[str]:
    """Text on one line, without control characters; lengths in code points."""

    def parse(raw: object, _: Where) -> str:
        value = _text(raw)
        if not shortest <= len(value) <= longest or not value.isprintable():
            raise ValueError(raw)
        return value

    return Kind(parse, Message("allowed.text", {"shortest": shortest, "longest": longest}))


def texts() -> Kind[tuple[str, ...]]:
    """A list of texts; in the environment, separated by commas."""

    def parse(raw: object, where: Where) -> tuple[str, ...]:
        one = line_of_text(longest=100)
        return tuple(one.parse(item, where) for item in _items(raw, ","))

    return Kind(parse, Message("allowed.texts"))


def secret() -> Kind[str]:
    """A token or key: visible ASCII without spaces; a leading `Bearer ` is dropped."""

    def parse(raw: object, _: Where) -> str:
        return clean_token(_text(raw))

    return Kind(parse, Message("allowed.secret"))


def clean_token(raw: str) -> str:
    """The bare token in what a person pasted. ValueError if it cannot be one."""
    value = re.sub(r"(?i)^\s*bearer\s+", "", raw).strip()
    if not re.fullmatch(r"[!-~]{1,16384}", value):
        raise ValueError("not a token")
    return value


def word(pattern: str, allowed: str) -> Kind[str]:
    """Text that matches `pattern` whole; `allowed` is the catalogue key that describes it."""

    def parse(raw: object, _: Where) -> str:
        value = _text(raw)
        if not re.fullmatch(pattern, value):
            raise ValueError(raw)
        return value

    return Kind(parse, Message(allowed))


def choice(*names: str) -> Kind[str]:
    """One of `names`, in any case."""
    by_lower = {name.lower(): name for name in names}

    def parse(raw: object, _: Where) -> str:
        value = by_lower.get(_text(raw).lower())
        if value is None:
            raise ValueError(raw)
        return value

    return Kind(parse, Message("allowed.choice", {"names": ", ".join(names)}))


def switch() -> Kind[bool]:
    """True or false, also as 1/0, yes/no, on/off."""

    def parse(raw: object, _: Where) -> bool:
        value = raw if isinstance(raw, bool) else _SWITCH.get(str(raw).strip().lower())
        if value is None:
            raise ValueError(raw)
        return value

    return Kind(parse, Message("allowed.switch"))


def integer(lowest: int, highest: int) -> Kind[int]:
    """A whole number."""

    def parse(raw: object, _: Where) -> int:
        value = _number(raw)
        if value != int(value) or not lowest <= value <= highest:
            raise ValueError(raw)
        return int(value)

    return Kind(parse, Message("allowed.integer", {"lowest": lowest, "highest": highest}))


def seconds(lowest: float, highest: float) -> Kind[float]:
    """A duration in seconds."""

    def parse(raw: object, _: Where) -> float:
        value = _number(raw)
        if not lowest <= value <= highest:
            raise ValueError(raw)
        return value

    bounds = {"lowest": f"{lowest:g}", "highest": f"{highest:g}"}
    return Kind(parse, Message("allowed.seconds", bounds))


def size(lowest: int, highest: int) -> Kind[int]:
    """A number of bytes, plain or as `10MB` (1 MB = 1,048,576 bytes).

    A plain number up to 4096 counts megabytes: that is how existing configurations write it, and
    nobody means that few bytes.
    """

    def parse(raw: object, _: Where) -> int:
        match = re.fullmatch(r"([0-9.]+)\s*(?:([KMG])I?)?B?", str(raw).strip().upper())
        if isinstance(raw, bool) or match is None:
            raise ValueError(raw)
        number, has_unit = _number(match[1]), not str(raw).strip()[-1].isdigit()
        unit = _UNITS[match[2] or ""] if has_unit or number > 4096 else MIB
        value = round(number * unit)
        if not lowest <= value <= highest:
            raise ValueError(raw)
        return value

    bounds = {"lowest": f"{lowest // 1024}KB", "highest": f"{highest // MIB}MB"}
    return Kind(parse, Message("allowed.size", bounds))


def path() -> Kind[Path]:
    """A path, made absolute; `~` is the user's home."""
    return Kind(_path, Message("allowed.path"))


def paths() -> Kind[tuple[Path, ...]]:
    """A list of paths."""

    def parse(raw: object, where: Where) -> tuple[Path, ...]:
        return tuple(_path(item, where) for item in _items(raw, ","))

    return Kind(parse, Message("allowed.paths"))


def tables() -> Kind[tuple[Any, ...]]:  # Any: tables as they stand in the file
    """A table, or a list of them; what stands in them is the business of their reader."""

    def parse(raw: object, _: Where) -> tuple[Any, ...]:
        found = [raw] if isinstance(raw, dict) else raw
        if not isinstance(found, list | tuple) or not all(isinstance(one, dict) for one in found):
            raise ValueError(raw)
        return tuple(found)

    return Kind(parse, Message("allowed.tables"))


def address() -> Kind[Address]:
    """`host:port`. Without a host it is loopback: an open port is never the result of brevity."""

    def parse(raw: object, _: Where) -> Address:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]*):([0-9]{1,5})", _text(raw))
        if match is None or int(match[2]) > 65535:
            raise ValueError(raw)
        return Address(match[1].strip("[]") or "127.0.0.1", int(match[2]))

    return Kind(parse, Message("allowed.address"))


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(raw)
    return raw.strip()


def _number(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise ValueError(raw)
    try:
        value = float(raw)
    except OverflowError:
        raise ValueError(raw) from None
    if not math.isfinite(value):
        raise ValueError(raw)
    return value


def _items(raw: object, separator: str) -> list[object]:
    if isinstance(raw, str):
        return [part for part in raw.split(separator) if part.strip()]
    if not isinstance(raw, list | tuple):
        raise ValueError(raw)
    return list(raw)


def _path(raw: object, where: Where) -> Path:
    value = str(raw) if isinstance(raw, Path) else _text(raw)
    if not value or "\0" in value:
        raise ValueError(raw)
    if value == "~" or value.startswith(("~/", "~\\")):
        return where.user_home / value[2:]
    return where.base / value
