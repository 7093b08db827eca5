"""What of a message is not as declared counts as missing, and nothing else of it is lost."""

from __future__ import annotations

from msgspec import Struct

from executor_core.agents.json_access import read, read_all


class Part(Struct, rename="camel"):
    call_id: str = ""
    exit_code: int = 0


def test_a_message_is_read_as_declared_and_unknown_fields_do_not_matter() -> None:
    assert read(Part, {"callId": "a", "exitCode": 2, "new": {}}) == Part("a", 2)


def test_a_field_that_is_not_as_declared_has_its_default() -> None:
    assert read(Part, {"callId": "a", "exitCode": "two"}) == Part("a")
    assert read(Part, {"callId": None, "exitCode": 2}) == Part(exit_code=2)


def test_what_is_no_object_is_empty() -> None:
    values: list[object] = [None, 7, "a", []]
    assert [read(Part, value) for value in values] == [Part()] * 4
    assert read_all(Part, [1, {"callId": "a"}, None]) == [Part("a")]
    assert read_all(Part, {"callId": "a"}) == []
