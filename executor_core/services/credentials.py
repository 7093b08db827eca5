"""The tokens that the device link connects with, and the account that each of them is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from executor_core.config.accounts import AccountPins
from executor_core.config.claims import read_claims
from executor_core.config.token import Token, TokenSources
from executor_core.errors import ExecutorError
from executor_core.links.login import Credential, Credentials

_log = logging.getLogger("executor.services")


class HubCredentials(Credentials):
    """The embedded hub gives its own device a fresh token for every connection."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make

    async def current(self) -> Credential:
        token = self._make()
        # When it ends is of no interest: the next connection brings another one anyway.
        return Credential(token, account=read_claims(token).user_id)

    def refused(self, credential: Credential) -> None:
        """See `current`."""

    async def settled(self, credential: Credential, account: str) -> None:
        """The hub in this process has one owner for ever."""


class ServerCredentials(Credentials):
    """The configured token sources, asked in a thread and anew each time: a keychain may block."""

    def __init__(self, sources: TokenSources, server: str, pins: AccountPins) -> None:
        self._sources = sources
        self._server = server
        self._pins = pins
        self._last: Token | None = None
        self._refused: Credential | None = None

    async def current(self) -> Credential | None:
        return await asyncio.to_thread(self._current)

    def _current(self) -> Credential | None:
        token = self._sources.current(self._server)
        if token is None:
            return self._refused
        self._last = token
        account = self._pins.account_of(self._server, token.value)
        return Credential(token.value, account, read_claims(token.value).expires_at)

    def refused(self, credential: Credential) -> None:
        if self._last is not None and self._last.value == credential.value:
            self._sources.refused(self._last)
            self._refused = credential

    async def settled(self, credential: Credential, account: str) -> None:
        try:
            await asyncio.to_thread(self._pins.settle, self._server, credential.value, account)
        except ExecutorError as error:
            if error.code == "account_differs":
                raise
            # Results carry their account with them, so nothing gets into wrong hands.
            _log.warning("%s", error)

    async def reload(self) -> None:
        """A token was entered or removed by another process of this user."""
        self._refused = None
        if self._server:
            await asyncio.to_thread(self._sources.reload, self._server)
