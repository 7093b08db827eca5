"""The table of failures: each kind has words and a remedy, and is found by structure first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from executor_core import texts
from executor_core.agents.failures import (
    REMEDIES,
    Remedy,
    code_in,
    code_of_status,
    failure,
    remedy,
)

NAMES = ("agent", "reason", "session_id", "stderr", "status", "minutes", "count", "exit_code")
VALUES: dict[str, Any] = dict.fromkeys(NAMES, "x")


@pytest.mark.parametrize("language", texts.LANGUAGES)
@pytest.mark.parametrize("code", REMEDIES)
def test_each_kind_says_what_happened_and_what_to_do(
    code: str, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "_current", language)
    error = failure(code, **VALUES)
    assert error.title
    assert error.hint
    assert "{" not in error.sentence


def test_a_limit_says_when_it_is_reset() -> None:
    error = failure(
        "model_usage_limit", reason="used up", retry_at=datetime(2026, 3, 1, 15, 50, tzinfo=UTC)
    )
    assert error.retry_at == datetime(2026, 3, 1, 15, 50, tzinfo=UTC)
    assert error.retry_at.astimezone().strftime("%Y-%m-%d %H:%M") in error.sentence
    assert remedy(error) is Remedy.LATER


def test_without_an_error_nothing_is_to_be_mended() -> None:
    assert remedy(None) is None


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (400, "prompt is too long: 250000 tokens > 200000 maximum", "model_context_full"),
        (413, "Request too large", "model_refused"),
        (400, "This model's maximum context length is 8192 tokens", "model_context_full"),
        (400, "messages.3.content.1.image.source.base64: image exceeds 5 MB", "session_unusable"),
        (400, "`tool_use` ids were found without `tool_result` blocks", "session_unusable"),
        (400, "Your credit balance is too low", "model_credit_used_up"),
        (400, "temperature: must be at most 1", "model_refused"),
        (400, "invalid api key format", "model_refused"),
        (402, "", "model_credit_used_up"),
        (401, "prompt is too long", "model_key_refused"),
        (429, "Number of requests has exceeded your rate limit", "model_rate_limited"),
        (429, "You exceeded your current quota", "model_usage_limit"),
        (503, "", "model_overloaded"),
        (529, "", "model_overloaded"),
        (500, "", "model_failing"),
        (418, "", "model_refused"),
    ],
)
def test_a_status_decides_and_words_only_where_it_stands_for_several(
    status: int, words: str, code: str
) -> None:
    assert code_of_status(status, words) == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("You've hit your session limit · resets 3:50pm", "model_usage_limit"),
        ("Prompt is too long", "model_context_full"),
        ("Credit balance is too low", "model_credit_used_up"),
        ("Invalid API key", "model_key_refused"),
        ("Unable to connect to API (ECONNREFUSED)", "model_unreachable"),
        ("The model `x` does not exist", "model_unknown"),
        ("Something else", None),
    ],
)
def test_words_are_read_where_nothing_else_is_told(words: str, code: str | None) -> None:
    assert code_in(words) == code
