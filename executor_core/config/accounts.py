"""Which account this computer works for at each server: nothing of one is sent under another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec import Struct

from executor_core.config.claims import read_claims
from executor_core.config.errors import ConfigError, reason_of
from executor_core.config.kept import kept_json
from executor_core.config.server_url import origin
from executor_core.errors import ExecutorError


class Pin(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An account by its user id. `key` is the digest of the API key that is known to be its own."""

    account: str
    name: str = ""
    key: str = ""


class AccountPins:
    """The file with the account of each server. Every call reads it anew, and blocks shortly.

    What was lost with it is settled again at the next connection: results carry their account with
    them, so that none gets into wrong hands meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = kept_json(path, dict[str, Pin])

    def of(self, server: str) -> Pin | None:
        """The account at `server`; None where it is not settled."""
        return self._read().get(origin(server))

    def account_of(self, server: str, token: str) -> str | None:
        """Whose token it is; None where only the server's first task can tell.

        Raises:
            ExecutorError: `account_differs`, if it is another account's than the settled one.
        """
        pin, claimed = self.of(server), read_claims(token).user_id
        if claimed is not None:
            _check(pin, claimed, server)
            return claimed
        return pin.account if pin is not None and pin.key == _digest(token) else None

    def settle(self, server: str, token: str, account: str) -> None:
        """The server takes `token`, and it is this account's.

        Raises:
            ExecutorError: `account_differs`, or `account_not_kept`. Nothing is then changed.
        """
        pins, claims = self._read(), read_claims(token)
        before = pins.get(origin(server))
        _check(before, account, server)
        name = claims.user_name or (before.name if before is not None else "")
        pin = Pin(account=account, name=name, key="" if claims.user_id else _digest(token))
        if pin != before:
            self._write(pins | {origin(server): pin})

    def clear(self, server: str) -> None:
        """The next account may be another one. Raises ExecutorError `account_not_kept`."""
        pins = self._read()
        if pins.pop(origin(server), None) is not None:
            self._write(pins)

    def _read(self) -> dict[str, Pin]:
        try:
            return dict(self._kept.read() or {})
        except OSError as error:
            # Rather no deliveries now than those of another account.
            reason = reason_of(error)
            raise ConfigError("accounts_unreadable", file=self._path, reason=reason) from error

    def _write(self, pins: dict[str, Pin]) -> None:
        try:
            self._kept.write(pins)
        except OSError as error:
            reason = reason_of(error)
            raise ConfigError("account_not_kept", file=self._path, reason=reason) from error


def _check(pin: Pin | None, account: str, server: str) -> None:
    if pin is not None and pin.account != account:
        raise ExecutorError("account_differs", server=server, account=pin.name or pin.account)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
