"""An error as one paragraph, for people and for the log."""

from __future__ import annotations

import pytest

from executor_core.control.remote import RemoteError
from executor_core.model import ErrorInfo


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("Not found", "404: Not Found", "Send it."), "Not found. 404: Not Found. Send it."),
        (("Not found", "", "Send it."), "Not found. Send it."),
        (("Wrong", "It is `$.input`", "Correct it"), "Wrong. It is `$.input`. Correct it"),
        (("Wrong", "It said “No.”", "Ask again."), "Wrong. It said “No.” Ask again."),
        (("Wrong", "Why?", ""), "Wrong. Why?"),
        (("没有", "没有名为 x 的选项", "请更正。"), "没有。没有名为 x 的选项。请更正。"),
        (("Wrong", "", ""), "Wrong"),
    ],
)
def test_what_another_sentence_follows_ends_like_one(
    parts: tuple[str, str, str], said: str
) -> None:
    title, detail, hint = parts
    assert ErrorInfo(code="x", title=title, detail=detail, hint=hint).sentence == said


def test_in_the_log_a_hint_follows_a_full_stop() -> None:
    words = {"title": "Wrong", "detail": "404: Not Found", "hint": "Send it."}
    assert str(RemoteError("x", words)) == "Wrong: 404: Not Found. Send it. [x]"
