"""Further arguments for an agent's own command line: only those that its table lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from executor_core.errors import ExecutorError


class Extra(NamedTuple):
    """An option with a value: what the value must match, and how it is written for people."""

    pattern: str
    shown: str


ExtraArgs: TypeAlias = Mapping[str, Extra]
"""By the long name of the option. None of them may change what the agent is allowed to do."""


def checked_extra_args(agent: str, table: ExtraArgs, given: Sequence[str]) -> list[str]:
    """`given` with each option as `--name=value`; `--name value` is understood as well.

    Raises ExecutorError("extra_arg_refused") naming the first that `agent` does not take.
    """
    left = list(given)
    checked: list[str] = []
    while left:
        name, is_joined, value = left.pop(0).partition("=")
        extra = table.get(name)
        if extra is None:
            raise _refused(agent, table, name)
        if not is_joined:
            value = left.pop(0) if left else ""
        if not re.fullmatch(extra.pattern, value):
            raise _refused(agent, table, f"{name} {value}".strip())
        checked.append(f"{name}={value}")
    return checked


def _refused(agent: str, table: ExtraArgs, argument: str) -> ExecutorError:
    allowed = ", ".join(f"{name} {extra.shown}" for name, extra in table.items()) or "–"
    return ExecutorError("extra_arg_refused", agent=agent, argument=argument[:80], allowed=allowed)
