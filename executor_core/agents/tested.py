"""The one table of the versions of the agent CLIs that our tests last found good.

`make drift` tries the newest release of each and says when a line here may move up. The tests
with the real programs take their versions from here too.
"""

from __future__ import annotations

from msgspec import Struct


class Tested(Struct, frozen=True):
    """The oldest and the newest version of an agent that all our tests run with."""

    oldest: str
    newest: str


TESTED = {
    "claude_code": Tested("2.1.197", "2.1.332"),
    "codex": Tested("0.169.0", "0.171.0"),
    "opencode": Tested("1.18.33", "1.18.33"),
}


def is_newer_than_tested(name: str, version: str) -> bool:
    """Whether we have not seen this version of the agent; one that is in no table never is."""
    tested = TESTED.get(name)
    return tested is not None and parts_of(version) > parts_of(tested.newest)


def parts_of(version: str) -> tuple[int, ...]:
    """`2.1.197` as numbers, to be compared."""
    return tuple(map(int, version.split(".")))
