"""What Codex says when its model service fails, in our words."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from executor_core.agents.codex_config import TITLE, task_key
from executor_core.agents.failures import code_in, code_of_name, code_of_status, failure, moment
from executor_core.agents.loose_json import Json, as_dict, as_int, as_str
from executor_core.model import ModelConfig, Notice
from executor_core.texts import Message, text

LOST_SESSIONS = ("no rollout found", "invalid session id")
_BROKEN_OFF = "stream disconnected before completion: "
# What Codex says around the sentence of the model service.
_FRAMES = re.compile(
    rf"(?:unexpected status \d+ [^:]*: |{_BROKEN_OFF})(?P<sentence>.+?)(?:, url: \S+)?", re.DOTALL
)
_KNOWN_STATUSES = {
    "unauthorized": 401,
    "modelNotFound": 404,
    "badRequest": 400,
    "rateLimitExceeded": 429,
    "internalServerError": 500,
    "serverOverloaded": 503,
}
"""What the model service answered where Codex tells its own name of the failure instead."""
_UNREACHABLE = "Connection failed"
_SAYINGS = (
    (_UNREACHABLE, "model_unreachable"),
    (_BROKEN_OFF, "model_broke_off"),
    ("Incomplete response returned, reason: max_output_tokens", "agent_stopped_early"),
    ("Incomplete response returned, reason: content_filter", "model_policy"),
)
"""How Codex begins its own sentences about failures that have no name in 0.171."""
_OF_A_LIMIT = ("model_usage_limit", "model_rate_limited")


def clean(words: str, model: ModelConfig) -> str:
    """The sentence in `words`, without the task's secrets.

    A model service may repeat a key that it refuses.
    """
    for secret in filter(None, (task_key(model), *model.headers.values())):
        words = words.replace(secret, "…")
    framed = _FRAMES.fullmatch(words)
    return framed["sentence"] if framed else words


def turn_failure(
    error: Json, model: ModelConfig, otherwise: str = "", resets_at: datetime | None = None
) -> Message:
    """Why a turn failed; `otherwise` where Codex does not say. `codex exec` names no kind.

    `resets_at` is when the limits of the account are reset, if one of them is used up.
    """
    said, kind = as_str(error.get("message")), error.get("codexErrorInfo")
    words = clean(said or otherwise, model)
    status = status_in(kind) or _status_said(said) or _KNOWN_STATUSES.get(as_str(kind))
    if (sentence := _api_sentence(words)) is not None:
        words, status = sentence, status or 400  # of no other status is the answer passed on as is
    code = (
        code_of_name(kind)
        or (code_of_status(status, words) if status else None)
        or next(
            (code for start, code in _SAYINGS if words.startswith(start) or said.startswith(start)),
            None,
        )
        or code_in(words)
        or "agent_failed"
    )
    return failure(
        code,
        agent=TITLE,
        status=status or text("acp.answered_with_error"),
        reason=words,
        retry_at=resets_at if code in _OF_A_LIMIT else None,
    )


class RateLimits:
    """The limits of the user's account with the vendor, as Codex tells them in between.

    An update is sparse: what it does not tell is as it was. Times are seconds since 1970.
    """

    def __init__(self) -> None:
        self._windows: dict[str, Json] = {}

    def told(self, limits: Json) -> None:
        for name in ("primary", "secondary"):
            if window := as_dict(limits.get(name)):
                self._windows[name] = window

    @property
    def resets_at(self) -> datetime | None:
        """When all that is used up is there again; None where nothing is, or nobody says when."""
        used_up = [w for w in self._windows.values() if as_int(w.get("usedPercent")) >= 100]
        times = [time for window in used_up if (time := moment(window.get("resetsAt")))]
        return max(times, default=None)


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
    return words.startswith(_UNREACHABLE)
