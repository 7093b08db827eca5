"""When to try again, and when to stop and ask the person. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

REFUSALS_UNTIL_REJECTED = 3
REJECTED_PROBE_S = 600.0
RATE_LIMIT_S = 30.0
STABLE_S = 2.0
"""A session that was registered for this long worked: what failed before it counts no more. One
that ends at once did not, so that a server which takes and drops us is asked ever less often."""

PUSHED_OUT_UNTIL_REJECTED = 2
PUSHED_OUT_WITHIN_S = 60.0

_AUTH_REFUSALS = ("authentication token", "expired token", "expired api key")
_BARE_REFUSALS = ("refused by server", "rejected by server")


class Failure(StrEnum):
    """Why a connection could not be made or ended."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    BUSY = "busy"
    LOST = "lost"
    PUSHED_OUT = "pushed_out"


class Supervision(Struct, frozen=True):
    """What the past attempts amount to."""

    attempts: int = 0
    refusals: int = 0
    pushed_out: int = 0
    """How often in a row another device with our id took our place soon after we had come."""

    @property
    def is_rejected(self) -> bool:
        return self.refusals >= REFUSALS_UNTIL_REJECTED or self.is_twin

    @property
    def is_twin(self) -> bool:
        """Another home has our id: whoever comes pushes the other out, for ever."""
        return self.pushed_out >= PUSHED_OUT_UNTIL_REJECTED


REJECTED = Supervision(attempts=1, refusals=REFUSALS_UNTIL_REJECTED)
"""There is no doubt left."""


def classify_refusal(message: str) -> Failure:
    """What the text of a refused connect means.

    Servers from v2 say why; the five-slot servers say "Connection refused by server" for every
    reason, so that text counts as a refusal too (the caller checks that the server answers at all).
    """
    words = message.lower()
    if "too many" in words:
        return Failure.BUSY
    if "shutting down" in words or "unavailable" in words:
        return Failure.UNREACHABLE
    if any(reason in words for reason in (*_AUTH_REFUSALS, *_BARE_REFUSALS)):
        return Failure.REFUSED
    return Failure.UNREACHABLE


def classify_loss(reason: str) -> Failure:
    """Why a connection was lost. Servers from v1.5 tell the older of two sockets with one id so."""
    is_stale = "stale device connection" in reason.lower()
    return Failure.PUSHED_OUT if is_stale else Failure.LOST


def after_failure(past: Supervision, failure: Failure, registered_s: float) -> Supervision:
    """The past and one more failure; `registered_s` is how long the session was registered."""
    pushed_out = 0
    if failure is Failure.PUSHED_OUT:
        pushed_out = past.pushed_out + 1 if registered_s < PUSHED_OUT_WITHIN_S else 1
    elif registered_s < PUSHED_OUT_WITHIN_S:
        pushed_out = past.pushed_out  # says nothing about it
    if registered_s >= STABLE_S:
        past = Supervision()
    refusals = past.refusals + 1 if failure is Failure.REFUSED else 0
    if failure is Failure.BUSY or (failure is Failure.UNREACHABLE and past.is_rejected):
        # Neither says anything about the token.
        refusals = past.refusals
    return replace(past, attempts=past.attempts + 1, refusals=refusals, pushed_out=pushed_out)


def next_delay(
    past: Supervision,
    failure: Failure,
    *,
    base_s: float,
    cap_s: float,
    jitter: Callable[[float, float], float],
) -> float:
    """Seconds until the next attempt: full jitter, so that devices do not return all at once."""
    if past.is_rejected:
        return REJECTED_PROBE_S
    ceiling = min(cap_s, base_s * 2.0 ** min(past.attempts - 1, 30))
    delay = jitter(0.0, ceiling)
    return RATE_LIMIT_S + delay if failure is Failure.BUSY else delay
