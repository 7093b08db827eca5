"""The one table of what agents and their models fail with, and of what helps then.

A failure is known by its code. Whoever speaks with an agent finds the code by structure (an HTTP
status, a field, the agent's own name of the error); `code_in` reads words, and is the last resort.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from executor_core.errors import ExecutorError
from executor_core.model import ErrorInfo
from executor_core.texts import text


class Remedy(StrEnum):
    """What helps: the same again, the same at a later time, a new conversation, or a person."""

    AGAIN = "again"
    LATER = "later"
    NEW_SESSION = "new_session"
    PERSON = "person"


REMEDIES = {
    # The conversation: the service or the agent cannot go on with it.
    "session_not_found": Remedy.NEW_SESSION,
    "session_unusable": Remedy.NEW_SESSION,
    "model_context_full": Remedy.NEW_SESSION,
    # Limits: `retry_at` says when, where it is known.
    "model_usage_limit": Remedy.LATER,
    "model_rate_limited": Remedy.LATER,
    # The service, now.
    "model_overloaded": Remedy.AGAIN,
    "model_failing": Remedy.AGAIN,
    "model_unreachable": Remedy.AGAIN,
    "model_broke_off": Remedy.AGAIN,
    "model_stalled": Remedy.AGAIN,
    "model_says_nothing": Remedy.AGAIN,
    # The agent, this time.
    "agent_ended_early": Remedy.AGAIN,
    "agent_failed": Remedy.AGAIN,
    "agent_silent": Remedy.AGAIN,
    "agent_said_nothing": Remedy.AGAIN,
    "agent_stopped_early": Remedy.AGAIN,
    "agent_word_lost": Remedy.AGAIN,
    # What only a person can change.
    "model_credit_used_up": Remedy.PERSON,
    "model_key_refused": Remedy.PERSON,
    "model_access_denied": Remedy.PERSON,
    "model_unknown": Remedy.PERSON,
    "model_refused": Remedy.PERSON,
    "model_policy": Remedy.PERSON,
    "agent_refused": Remedy.PERSON,
    "agent_forbidden": Remedy.PERSON,
    "agent_outdated": Remedy.PERSON,
    "agent_not_set_up": Remedy.PERSON,
    "agent_not_signed_in": Remedy.PERSON,
    "claude_code_not_signed_in": Remedy.PERSON,
}
"""Codes that are not here are nobody's to try again."""

_STATUSES = {
    401: "model_key_refused",
    402: "model_credit_used_up",
    403: "model_access_denied",
    404: "model_unknown",
    429: "model_rate_limited",
    503: "model_overloaded",
    529: "model_overloaded",
}
_USUAL = {code: status for status, code in _STATUSES.items()}
_USUAL |= {"model_refused": 400, "model_failing": 500, "model_overloaded": 503}

_WORDS = (
    (r"credit balance|insufficient.{0,10}(balance|credit|fund|quota)", "model_credit_used_up"),
    (r"(usage|session|weekly|hourly|\d-hour|spend\w*) limit|quota|out of extra usage",
     "model_usage_limit"),
    (r"prompt (is )?too long|context.{0,10}(length|window)|maximum context|too many tokens",
     "model_context_full"),
    (r"messages?[.[]\d+|image.{0,40}(exceed|too large|dimension|process|invalid|unsupported)"
     r"|could not process image|tool_use.{0,60}tool_result|tool_call_id", "session_unusable"),
    (r"api.?key|unauthori[sz]ed|invalid.{0,20}(token|credential)|authenticat",
     "model_key_refused"),
    (r"rate.?limit|too many requests", "model_rate_limited"),
    (r"overloaded", "model_overloaded"),
    (r"(cannot|unable to|failed to) connect|connection (failed|refused|error)"
     r"|econnrefused|enotfound", "model_unreachable"),
    (r"model.{0,80}(not found|not exist|unknown)|(unknown|no such) model", "model_unknown"),
)  # fmt: skip
"""The last resort: what services say in English, the surest first."""
_NAMES = {
    "authenticationerror": "model_key_refused",
    "authenticationfailed": "model_key_refused",
    "invalidapikey": "model_key_refused",
    "providerautherror": "model_key_refused",
    "unauthorized": "model_key_refused",
    "billingerror": "model_credit_used_up",
    "insufficientquota": "model_credit_used_up",
    "biopolicy": "model_policy",
    "contentfiltererror": "model_policy",
    "cyberpolicy": "model_policy",
    "misalignmentpolicyviolation": "model_policy",
    "contextlengthexceeded": "model_context_full",
    "contextoverflowerror": "model_context_full",
    "contextwindowexceeded": "model_context_full",
    "flexunavailable": "model_overloaded",
    "overloadederror": "model_overloaded",
    "policycapacityunavailable": "model_overloaded",
    "serverisoverloaded": "model_overloaded",
    "serveroverloaded": "model_overloaded",
    "inferencehookdenied": "agent_forbidden",
    "toomanydenials": "agent_forbidden",
    "internalservererror": "model_failing",
    "messageoutputlengtherror": "agent_stopped_early",
    "modelnotfound": "model_unknown",
    "permissionerror": "model_access_denied",
    "ratelimiterror": "model_rate_limited",
    "ratelimitexceeded": "model_rate_limited",
    "sandboxerror": "agent_not_set_up",
    "sessionbudgetexceeded": "model_usage_limit",
    "usagelimitexceeded": "model_usage_limit",
    "usagelimitreached": "model_usage_limit",
}
"""What agents and services call a failure, in small letters without anything between them."""
_OF_THE_REQUEST = frozenset({"model_credit_used_up", "model_context_full", "session_unusable"})
_OF_A_LIMIT = frozenset({"model_credit_used_up", "model_usage_limit"})


def failure(code: str, /, *, retry_at: datetime | None = None, **values: object) -> ErrorInfo:
    """The error in words; where it is known when it passes, that is said in them as well.

    `status`, where the words tell it and no value is given, is the one that means the same.
    """
    values["status"] = values.get("status") or _USUAL.get(code)
    info = ExecutorError(code, **values).info
    if retry_at is None:
        return info
    time = retry_at.astimezone().strftime("%Y-%m-%d %H:%M (UTC%z)")
    hint = f"{text('agents.resets_at', time=time)} {info.hint}".strip()
    return msgspec.structs.replace(info, hint=hint, retry_at=retry_at)


def remedy(error: ErrorInfo | None) -> Remedy | None:
    """What helps against it; None where there is no error, or nothing is known to help."""
    return REMEDIES.get(error.code) if error is not None else None


def code_of_status(status: int, words: str = "") -> str:
    """The code for an HTTP status of the model service.

    Some stand for several things: there its words decide which (of 400, 413 and 422 whether it is
    the conversation that is refused, of 429 whether the limit passes by itself).
    """
    said = code_in(words)
    if status in (400, 413, 422) and said in _OF_THE_REQUEST:
        return str(said)
    if status == 429 and said in _OF_A_LIMIT:
        return str(said)
    return _STATUSES.get(status, "model_failing" if status >= 500 else "model_refused")


def code_of_name(name: object) -> str | None:
    """The code for what an agent or a service calls the failure, in any way to write it."""
    if not isinstance(name, str) or len(name) > 64:
        return None
    return _NAMES.get(re.sub(r"[^a-z]", "", name.lower()))


def moment(seconds: object) -> datetime | None:
    """The time that an agent tells in seconds since 1970; None for what is none."""
    if not isinstance(seconds, int | float) or not 0 < seconds < 2**35:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def code_in(words: str) -> str | None:
    """The code that an English sentence of a model service stands for, if it names one."""
    return next((code for said, code in _WORDS if re.search(said, words, re.IGNORECASE)), None)
