"""An error as one paragraph, for people and for the log."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from msgspec.structs import replace

from executor_core.control.remote import RemoteError
from executor_core.errors import ExecutorError
from executor_core.model import AgentResult
from executor_core.texts import Message, in_words


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
    told = Message("x", given_title=title, given_detail=detail, given_hint=hint)
    assert told.sentence == said


def test_in_the_log_a_hint_follows_a_full_stop() -> None:
    sent = Message("x", given_title="Wrong", given_detail="404: Not Found", given_hint="Send it.")
    assert str(RemoteError(sent)) == "Wrong: 404: Not Found. Send it. [x]"


@pytest.mark.parametrize(
    ("count", "language", "said"),
    [
        (1, "en", "1 hour"),
        ("1", "en", "1 hour"),
        (2, "en", "2 hours"),
        ("1.5", "en", "1.5 hours"),
        (1, "zh_CN", "1 小时"),
        (2, "zh_CN", "2 小时"),
    ],
)
def test_one_is_counted_as_one(count: int | str, language: str, said: str) -> None:
    assert Message("duration.hours", {"count": count}).text(language) == said


def test_a_list_is_joined_as_the_language_does() -> None:
    names = {"names": ["a", "b"]}
    assert Message("allowed.choice", names).text("en").count("a, b") == 1
    assert Message("allowed.choice", names).text("zh_CN").count("a、b") == 1


def test_an_error_is_said_in_the_language_of_whoever_reads_it() -> None:
    time = Message("duration.hours", {"count": 3})
    sent = msgspec.json.encode(ExecutorError("time_limit", time=time, other="secret").message)
    error = msgspec.json.decode(sent, type=Message)
    assert error.values == {"time": time}
    result = AgentResult(error=error)
    for language, hours in (("en", "3 hours"), ("zh_CN", "3 小时")):
        said = in_words(result, language).error
        assert said is not None
        assert (said.given_title, said.given_detail, said.given_hint) == error.words(language)
        assert hours in " ".join(error.words(language))
    again = in_words(in_words(result, "zh_CN"), "en").error
    assert again is not None
    assert again.given_title == error.words("en")[0]


def test_when_a_limit_is_reset_is_said_in_the_same_language() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    error = replace(
        ExecutorError("model_usage_limit", reason="", status=429).message, retry_at=moment
    )
    assert error.words("en")[2].startswith("The limit resets at 2026-01-0")
    assert error.words("zh_CN")[2].startswith("额度将于 2026-01-0")


def test_what_has_no_words_here_keeps_those_that_came_with_it() -> None:
    assert Message("of_tomorrow").sentence == "of_tomorrow"
    assert Message("of_tomorrow", given_title="Wait").sentence == "Wait"
    assert Message("time_limit", given_title="Too long").title == "Too long"
