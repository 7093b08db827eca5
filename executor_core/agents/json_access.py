"""JSON lines, and reading JSON whose shape nobody promised: what is not as expected is empty."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import msgspec

from executor_core.model import AgentEvent
from executor_core.unicode import decode_json

_log = logging.getLogger("executor.agents")

Json: TypeAlias = dict[str, Any]
_S = TypeVar("_S", bound=msgspec.Struct)

_TOO_MUCH = 2**63


def as_dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def as_dicts(value: object) -> list[Json]:
    """The objects of a list."""
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def as_str(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_int(value: object) -> int:
    """A whole number. To Python `true` is one too; what is written as `true` is not read as one."""
    return value if type(value) is int and abs(value) < _TOO_MUCH else 0


def as_float(value: object) -> float | None:
    """Any number that can be written down again, or None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if abs(value) < _TOO_MUCH else None


def read(kind: type[_S], value: object) -> _S:
    """`value` as a `kind`, of which every field has a default: that of what is not as declared."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        given, found = as_dict(value), {}
        for field in msgspec.structs.fields(kind):
            with suppress(msgspec.ValidationError, KeyError):
                found[field.name] = msgspec.convert(given[field.encode_name], field.type)
        return kind(**found)


def read_all(kind: type[_S], values: object) -> list[_S]:
    """The objects of a list, each as a `kind`."""
    return [read(kind, part) for part in as_dicts(values)]


class JsonLines:
    """What a dialogue does that speaks in JSON objects, one to a line."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._pending = b""

    def outgoing(self) -> bytes:
        """What was said since the last time."""
        pending, self._pending = self._pending, b""
        return pending

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        """The events in one line; greetings and warnings may stand between the messages."""
        try:
            message = decode_json(line)
        except ValueError:
            _log.debug("%s printed a line that is no message (%d bytes)", self._title, len(line))
            return
        if isinstance(message, dict):
            yield from self._heard(message)

    def _heard(self, message: Json) -> Iterator[AgentEvent]:
        raise NotImplementedError

    def _send(self, message: Json) -> None:
        self._pending += msgspec.json.encode(message) + b"\n"
