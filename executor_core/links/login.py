"""The login that a link uses: its token, whose it is, and when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from executor_core.clock import Clock, wait_or

_log = logging.getLogger("executor.links")

WARN_BEFORE_H = (48, 24, 1, 0)
"""So many hours before a token ends, and when it has ended, it is said."""
LOOK_AGAIN_S = 600.0
"""A computer that slept may have missed the moment."""
_HOUR_S = 3600.0


class Credential(Struct, frozen=True):
    """A token to connect with, and what is known of it: an API key says nothing about itself."""

    value: str
    account: str | None = None
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Credential(account={self.account!r})"


class Credentials(Protocol):
    """Where tokens come from."""

    async def current(self) -> Credential | None:
        """The strongest token that the server has not refused; of refused ones the strongest.

        Raises ExecutorError where it must not be used: `account_differs`; and where it cannot be
        had now: `keychain_asking`, `keychain_locked`, `keychain_blocked`.
        """

    def refused(self, credential: Credential) -> None:
        """The server does not take this one."""

    async def settled(self, credential: Credential, account: str) -> None:
        """The server takes it, and it is this account's.

        Raises ExecutorError `account_differs`, where another account was settled before.
        """


class ExpiryWatch:
    """Logs each warning once; `on_change` is called when `warning_h` is another one."""

    def __init__(self, server: str, clock: Clock, on_change: Callable[[], None]) -> None:
        self._server = server
        self._clock = clock
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._told: dict[datetime, int] = {}
        self.expires_at: datetime | None = None

    @property
    def warning_h(self) -> int | None:
        """The smallest of `WARN_BEFORE_H` that has come; 0 once the token ended, None before."""
        return warning_h(self._left_s())

    def use(self, expires_at: datetime | None) -> None:
        """Another token is used now."""
        if expires_at != self.expires_at:
            self.expires_at = expires_at
            self._changed.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._changed.clear()
            self._tell()
            delay = next_look_s(self._left_s())
            if delay is None:
                await self._changed.wait()
            else:
                await wait_or(self._changed, self._clock, delay)

    def _left_s(self) -> float | None:
        if self.expires_at is None:
            return None
        return (self.expires_at - self._clock.now()).total_seconds()

    def _tell(self) -> None:
        warning, expires_at = self.warning_h, self.expires_at
        if expires_at is None or warning is None or self._told.get(expires_at) == warning:
            return
        self._told = {expires_at: warning}
        self._on_change()
        if warning:
            what = f"ends in less than {warning} h"
        else:
            what = "has ended; the connection lasts until it is lost, results are kept"
        advice = "sign in again: wegent-executor login"
        _log.warning("The token of %s %s (%s); %s", self._server, what, expires_at, advice)


def warning_h(left_s: float | None) -> int | None:
    """The warning that is due with so much time left (None: it never ends)."""
    if left_s is None:
        return None
    return min((hours for hours in WARN_BEFORE_H if left_s <= hours * _HOUR_S), default=None)


def next_look_s(left_s: float | None) -> float | None:
    """Seconds until the next warning may be due; None where none will come."""
    if left_s is None or left_s <= 0:
        return None
    to_come = (left_s - hours * _HOUR_S for hours in WARN_BEFORE_H)
    return min(LOOK_AGAIN_S, *(wait_s for wait_s in to_come if wait_s > 0))
