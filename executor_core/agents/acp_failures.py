"""What agents of the Agent Client Protocol say when a turn goes wrong, in our words.

The protocol passes an error on with a code of its own, a sentence, and `data` of any shape; in that
stands what the agent or its model service call the failure, if they tell at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from executor_core.agents.failures import code_in, code_of_name, code_of_status, failure, moment
from executor_core.agents.json_access import Json, as_str
from executor_core.texts import Message, text

AUTH_REQUIRED = -32000
_DEPTH = 3
_SENTENCES = ("message", "details", "detail", "reason", "description", "error")
"""Where in `data` a sentence may stand, the surest first."""
_STATUSES = ("httpstatuscode", "httpstatus", "statuscode", "status", "code")
_RESETS = ("resetsat", "resetat", "retryat")
_EARLY_STOPS = {
    "max_tokens": "acp.prompt_cut",
    "max_turn_requests": "acp.too_many_turns",
    "cancelled": "acp.stopped_itself",
}


def early_stop(reason: str, agent: str) -> Message | None:
    """Why a turn ended before it was done; None if it was. `reason` may be any word, or none."""
    match reason:
        case "end_turn":
            return None
        case "refusal":
            return failure("agent_refused", agent=agent)
        case "":
            words = text("acp.no_stop_reason")
        case _ if reason in _EARLY_STOPS:
            words = text(_EARLY_STOPS[reason])
        case _:
            words = text("acp.other_stop_reason", reason=reason)
    return failure("agent_stopped_early", agent=agent, reason=words)


def refusal(error: Json, agent: str) -> Message:
    """A request that was answered with an error."""
    facts = list(_facts(error.get("data"), _DEPTH))
    words = _sentence(as_str(error.get("message")), facts)
    if error.get("code") == AUTH_REQUIRED:
        return failure("agent_not_signed_in", agent=agent, reason=words or "-")
    status = _status(facts)
    code = (
        next(filter(None, (code_of_name(word) for fact in facts for word in fact)), None)
        or (code_of_status(status, words) if status else None)
        or code_in(words)
        or "agent_failed"
    )
    return failure(
        code,
        agent=agent,
        status=status or text("acp.answered_with_error"),
        reason=words,
        retry_at=_resets_at(facts),
    )


def _facts(value: object, depth: int) -> Iterator[tuple[str, object]]:
    """The names in it with their values, the outer ones first; a bare text has no name."""
    if isinstance(value, str):
        yield "", value
    elif isinstance(value, dict) and depth:
        yield from value.items()
        for inner in value.values():
            if isinstance(inner, dict):
                yield from _facts(inner, depth - 1)


def _sentence(message: str, facts: list[tuple[str, object]]) -> str:
    """The message if it says anything; what the data say if that says more."""
    message = message.removeprefix("Internal error").lstrip(": ")
    named = {name: value for name, value in reversed(facts) if isinstance(value, str)}
    said = next((named[name] for name in _SENTENCES if named.get(name)), named.get("", ""))
    if not message or message in said:
        return said or message
    return message if not said or said in message else f"{message}: {said}"


def _status(facts: list[tuple[str, object]]) -> int | None:
    numbers = {_plain(name): value for name, value in reversed(facts)}
    for name in _STATUSES:
        if type(value := numbers.get(name)) is int and 400 <= value < 600:
            return value
    return None


def _resets_at(facts: list[tuple[str, object]]) -> datetime | None:
    return next((moment(value) for name, value in facts if _plain(name) in _RESETS), None)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
