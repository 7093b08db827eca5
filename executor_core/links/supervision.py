"""Keeps a link to a server up: one loop that attempts, waits and never ends by itself.

When to try again, and when to stop and ask the person, is decided by pure functions.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from asyncio import Event
from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from executor_core.changes import Changes
from executor_core.clock import Clock, wait_or
from executor_core.jobs import Jobs
from executor_core.links.login import ExpiryWatch
from executor_core.model import KEYCHAIN, LinkState, LinkStatus
from executor_core.texts import text

_log = logging.getLogger("executor.links")

REFUSALS_UNTIL_REJECTED = 3
REJECTED_PROBE_S = 600.0
RATE_LIMIT_S = 30.0
STABLE_S = 2.0
"""A session that was registered for this long worked: what failed before it counts no more. One
that ends at once did not, so that a server which takes and drops us is asked ever less often."""

PUSHED_OUT_UNTIL_REJECTED = 2
PUSHED_OUT_WITHIN_S = 60.0


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


class SupervisedLink(ABC):
    """What every door does to stay in touch with its server; `_attempt` is what they differ in."""

    kind: str
    failure_words: str
    """How the log says that there is no connection."""

    def __init__(self, *, server: str, clock: Clock, changes: Changes, max_delay_s: float) -> None:
        self._server = server
        self._clock = clock
        self._changes = changes
        self._max_delay_s = max_delay_s
        self._jobs = Jobs(f"{self.kind} link")
        self._past = Supervision()
        self._try_now = Event()
        self._expiry = ExpiryWatch(server, clock, changes.tell)
        self._logged: tuple[str | None, int] = (None, 0)
        self._state = LinkState.STOPPED
        self._since = clock.now()
        self._reason: str | None = None
        self._code: str | None = None
        self._next_attempt_at: float | None = None

    @abstractmethod
    async def _attempt(self) -> float:
        """One session from its making to its end; returns the seconds until the next."""

    @property
    def _dialect_letter(self) -> str | None:
        """Which dialect the server speaks, where it is known and there are several."""
        return None

    def _begin(self) -> None:
        self._jobs.spawn(self._supervise(), "supervise")
        self._jobs.spawn(self._expiry.run(), "watch the token")

    def try_now(self) -> None:
        """The network came back, or the computer woke up: do not wait for the back-off."""
        self._try_now.set()

    @property
    def status(self) -> LinkStatus:
        """Where the link stands, in words."""
        wait = self._next_attempt_at
        left = None if wait is None else max(0.0, wait - self._clock.monotonic())
        return LinkStatus(
            kind=self.kind,
            state=self._state,
            server=self._server,
            dialect=self._dialect_letter,
            since=self._since,
            reason=self._reason,
            code=self._code,
            next_attempt_in_s=None if left is None else round(left, 1),
            token_expires_at=self._expiry.expires_at,
            token_warning_h=self._expiry.warning_h,
        )

    async def _supervise(self) -> None:
        while True:
            self._try_now.clear()
            if not self._past.is_rejected and self._code != KEYCHAIN:
                self._become(LinkState.CONNECTING)
            try:
                delay = await self._attempt()
            except Exception as error:
                # Nothing may end the link for good but `stop`.
                _log.exception("an attempt to connect failed in an unexpected way")
                self._become(LinkState.OFFLINE, text("link.unreachable", reason=error))
                delay = self._max_delay_s
            self._next_attempt_at = self._clock.monotonic() + delay
            self._changes.tell()
            await wait_or(self._try_now, self._clock, delay)
            self._next_attempt_at = None

    def _become(self, state: LinkState, reason: str | None = None, code: str | None = None) -> None:
        if (state, reason) == (self._state, self._reason):
            return
        self._code = code
        was_online = self._state is LinkState.ONLINE
        self._state, self._reason = state, reason
        _log.debug("the link is %s", state)
        self._since = self._clock.now()
        self._changes.tell()
        if was_online and state is LinkState.OFFLINE:
            _log.warning("%s (%s)", reason, self._server)
        elif state in (LinkState.OFFLINE, LinkState.REJECTED):
            self._log_failure(reason)
        elif state is not LinkState.CONNECTING:
            self._logged = (None, 0)
            _log.info("%s: %s", state, self._server)

    def _log_failure(self, reason: str | None) -> None:
        """A reason that repeats is logged the 1st, 2nd, 4th, 8th … time."""
        logged, times = self._logged
        times = times + 1 if reason == logged else 1
        self._logged = (reason, times)
        if times.bit_count() == 1:
            _log.error("%s: %s (%s)", self.failure_words, reason, self._server)
