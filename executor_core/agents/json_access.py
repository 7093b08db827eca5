"""Reading JSON whose shape nobody promised: what is not as expected counts as empty."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

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
