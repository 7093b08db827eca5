"""What Codex says when its model service fails, in our words."""

from __future__ import annotations

import re

import msgspec

from executor_core.agents.codex_config import TITLE, task_key
from executor_core.agents.loose_json import Json, as_dict, as_str
from executor_core.errors import ExecutorError
from executor_core.model import ErrorInfo, ModelConfig, Notice
from executor_core.texts import text

LOST_SESSIONS = ("no rollout found", "invalid session id")
_BROKEN_OFF = "stream disconnected before completion: "
# What Codex says around the sentence of the model service.
_FRAMES = re.compile(
    rf"(?:unexpected status \d+ [^:]*: |{_BROKEN_OFF})(?P<sentence>.+?)(?:, url: \S+)?", re.DOTALL
)
_FAILURES = {
    "unauthorized": ("model_key_refused", 401),
    "modelNotFound": ("model_unknown", 404),
    "badRequest": ("model_refused", 400),
    "contextWindowExceeded": ("model_context_full", 400),
    "usageLimitExceeded": ("model_usage_limit", 429),
    "sessionBudgetExceeded": ("model_usage_limit", 429),
    "rateLimitExceeded": ("model_rate_limited", 429),
    "internalServerError": ("model_failing", 500),
    "serverOverloaded": ("model_overloaded", 503),
}
"""Codex's own names of failures: our code, and the status that the model service gave."""
_STATUSES = {401: "model_key_refused", 403: "model_access_denied", 404: "model_unknown"}
_STATUSES |= {429: "model_rate_limited", 503: "model_overloaded"}


def clean(words: str, model: ModelConfig) -> str:
    """The sentence in `words`, without the task's secrets.

    A model service may repeat a key that it refuses.
    """
    for secret in filter(None, (task_key(model), *model.headers.values())):
        words = words.replace(secret, "…")
    framed = _FRAMES.fullmatch(words)
    return framed["sentence"] if framed else words


def failure(error: Json, model: ModelConfig, otherwise: str = "") -> ErrorInfo:
    """Why a turn failed; `otherwise` where Codex does not say. `codex exec` names no kind."""
    said = as_str(error.get("message"))
    words = clean(said or otherwise, model)
    kind = error.get("codexErrorInfo")
    if isinstance(kind, str) and kind in _FAILURES:
        code, known = _FAILURES[kind]
        return error_info(code, status=known, reason=words)
    if (status := status_in(kind) or _status_said(said)) is not None:
        return _api_error(status, words)
    if (sentence := _api_sentence(words)) is not None:
        return _api_error(400, sentence)  # the only status whose answer is passed on as it is
    if _is_unreachable(words):
        return error_info("model_unreachable", reason=words)
    if said.startswith(_BROKEN_OFF):
        return error_info("model_broke_off", reason=words)
    return error_info("agent_failed", agent=TITLE, reason=words)


def retry(error: Json, model: ModelConfig) -> Notice:
    """Codex tries once more; its words are `Reconnecting... 1/5`, maybe with a reason."""
    words = as_str(error.get("message"))
    attempt, attempts = [*re.findall(r"\d+", words), "?", "?"][:2]
    inside = re.search(r"\((.+)\)\s*$", words, re.DOTALL)
    reason = as_str(error.get("additionalDetails")) or (inside[1] if inside else words)
    status = status_in(error.get("codexErrorInfo")) or _status_said(reason)
    reason = clean(reason, model)
    if status is not None:
        key = "notice.model_retry"
    elif _is_unreachable(reason):
        key = "notice.model_unreachable"
    else:
        key = "notice.model_broken_off"
    words = text(key, status=status, reason=reason, attempt=attempt, attempts=attempts)
    return Notice(code="model_retry", text=words)


def _api_error(status: int, words: str) -> ErrorInfo:
    code = _STATUSES.get(status, "model_failing" if status >= 500 else "model_refused")
    return error_info(code, status=status, reason=words)


def _api_sentence(words: str) -> str | None:
    """The sentence in `words`, if these are an error body of the API."""
    try:
        body = as_dict(msgspec.json.decode(words))
    except msgspec.DecodeError:
        return None
    sentence = as_dict(body.get("error")).get("message") or body.get("detail")
    return sentence if isinstance(sentence, str) else None


def status_in(kind: object) -> int | None:
    """The HTTP status inside `{"httpConnectionFailed": {"httpStatusCode": 401}}`."""
    for details in as_dict(kind).values():
        if isinstance(status := as_dict(details).get("httpStatusCode"), int):
            return status
    return None


def _status_said(words: str) -> int | None:
    """The HTTP status in `unexpected status 401 Unauthorized: …`, or behind `last status: `."""
    if "currently experiencing high demand" in words:
        return 500  # Codex's own words, in place of what the service said
    found = re.match(r"(?:unexpected status|exceeded retry limit, last status:) (\d{3})\b", words)
    return int(found[1]) if found else None


def _is_unreachable(words: str) -> bool:
    return words.startswith("Connection failed")


def error_info(code: str, /, **values: object) -> ErrorInfo:
    return ExecutorError(code, retryable=False, **values).info
