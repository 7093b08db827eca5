"""Users: who may sign in with a name and a password, and the tokens that stand for them.

One small file holds them. It is read again whenever it is another one, so that a command line may
change it beside a running executor. There are no default passwords.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import secrets
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.jwt import claims_of
from executor_core.web import tokens
from executor_core.web.listener import OWNER

_log = logging.getLogger("executor.web")

TOKEN_LIFE = timedelta(days=7)
MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_LENGTH = 1000
MAX_USERS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_FREE_FAILURES = 5
_MAX_WAIT_S = 60.0
_MAX_DOUBLINGS = 6
_MAX_REMEMBERED = 1000
_MAX_LOGINS = 20
_MAX_NAME = 100


def check_user_name(name: str) -> None:
    """Raise ExecutorError `bad_user_name` for what nobody can be called."""
    if not _NAME.fullmatch(name):
        raise ExecutorError("bad_user_name", name=name[:100])


class User(Struct, kw_only=True, frozen=True):
    """One user as the file has them. `key` signs their tokens, and changes with the password."""

    salt: str
    password: str
    key: str

    def __repr__(self) -> str:
        return "User()"


class UsersFile(Protocol):
    """Where the users are kept. `read` is called for every request; both may raise OSError."""

    @property
    def path(self) -> Path:
        """What to call it."""

    def read(self) -> dict[str, User] | None:
        """All users, as they are now; None where there are none yet."""

    def write(self, users: dict[str, User], /) -> None:
        """Replace them, whole or not at all."""


class Users:
    """The users in `file`.

    Inside `alone()` no other process changes it.

    Methods that hash or write may take a tenth of a second and leave the loop; so does the caller
    of `put` and `remove`, which block.
    """

    def __init__(
        self,
        file: UsersFile,
        alone: Callable[[], AbstractContextManager[None]],
        clock: Clock,
    ) -> None:
        self._file = file
        self._alone = alone
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._hashing, self._known_hashing = asyncio.Lock(), asyncio.Lock()
        self._logins: Counter[str] = Counter()
        self.on_login: list[Callable[[str], Awaitable[object]]] = []
        """Told the name of everyone who signs in, before they get their token."""

    def make_owner(self, tell: Callable[[str], None]) -> bool:
        """Where there is no owner yet, make one, whose password `tell` keeps first. Blocks.

        Raises ExecutorError `users_unreadable` or `users_not_written`.
        """
        if OWNER in self._all():
            return False
        password = secrets.token_urlsafe(15)
        tell(password)
        self.put(OWNER, password)
        return True

    # --- the file ------------------------------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        """All users, in the order in which they were added. Raises `users_unreadable`."""
        return tuple(self._all())

    def put(self, name: str, password: str) -> None:
        """Add a user, or give one another password, which ends all their tokens. Blocks.

        Raises ExecutorError `bad_user_name`, `weak_password`, `too_many_users`,
        `users_unreadable`, `users_not_written`.
        """
        check_user_name(name)
        if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
            raise ExecutorError(
                "weak_password", least=MIN_PASSWORD_LENGTH, most=MAX_PASSWORD_LENGTH
            )
        salt = secrets.token_hex(16)
        user = User(salt=salt, password=_hash(password, salt), key=secrets.token_hex(32))
        with self._changing() as users:
            if name not in users and len(users) >= MAX_USERS:
                raise ExecutorError("too_many_users", limit=MAX_USERS)
            users[name] = user

    def remove(self, name: str) -> None:
        """Take a user away, and with them their tokens. Blocks.

        Raises ExecutorError `unknown_user`, `owner_stays`, `users_unreadable`,
        `users_not_written`.
        """
        with self._changing() as users:
            if name not in users:
                raise ExecutorError("unknown_user", name=name)
            if name == OWNER:
                raise ExecutorError("owner_stays", name=name)
            del users[name]

    def _all(self) -> dict[str, User]:
        try:
            return self._file.read() or {}
        except OSError as error:
            path, reason = self._file.path, error.strerror
            raise ExecutorError("users_unreadable", path=path, reason=reason) from error

    @contextmanager
    def _changing(self) -> Iterator[dict[str, User]]:
        """The users as they are, to be changed; written when the block ends without an error."""
        try:
            with self._alone():
                users = dict(self._all())
                yield users
                self._file.write(users)
        except OSError as error:
            raise ExecutorError(
                "users_not_written", path=self._file.path, reason=error.strerror
            ) from error

    # --- signing in ----------------------------------------------------------------------------

    async def login(
        self, name: str, password: str, *, address: str = "", is_known: bool = False
    ) -> str:
        """A token for a name and its password, asked for from `address`.

        Who `is_known` came with a good token of that user or of the owner: others who guess do not
        make them wait.

        Raises ExecutorError `login_failed`, `users_unreadable`, and `login_slowed` after several
        failures in a row for the name from there, or where many sign in from there at once.
        """
        who = (name[:_MAX_NAME], address)
        if not is_known:
            self._refuse_haste(who)
            if self._logins[address] >= _MAX_LOGINS:
                raise ExecutorError("login_slowed", seconds=1)
        self._logins[address] += 1
        try:
            # One after the other: each hash takes 16 MB.
            async with self._known_hashing if is_known else self._hashing:
                user = await self._checked(who, name, password, is_known=is_known)
        finally:
            self._logins -= Counter([address])
        for tell in self.on_login:
            await tell(name)
        return tokens.sign({"sub": name}, user.key, now=self._clock.now(), life=TOKEN_LIFE)

    async def _checked(
        self, who: tuple[str, str], name: str, password: str, *, is_known: bool
    ) -> User:
        if not is_known:
            self._refuse_haste(who)
        user = self._all().get(name)
        # An unknown name costs the same time as a wrong password.
        salt = user.salt if user else "-"
        hashed = await asyncio.to_thread(_hash, password[:MAX_PASSWORD_LENGTH], salt)
        if user is None or not hmac.compare_digest(hashed, user.password):
            self._note_failure(who)
            raise ExecutorError("login_failed")
        self._failures.pop(who, None)
        return user

    def verify(self, token: str) -> str | None:
        """The user of a good token."""
        name = claims_of(token).get("sub")
        try:
            user = self._all().get(name) if isinstance(name, str) else None
        except ExecutorError as error:
            _log.error("%s", error)
            return None
        if user is None or tokens.verified(token, user.key, now=self._clock.now()) is None:
            return None
        return name

    def _refuse_haste(self, who: tuple[str, str]) -> None:
        _count, not_before = self._failures.get(who, (0, 0.0))
        wait_s = not_before - self._clock.monotonic()
        if wait_s > 0:
            raise ExecutorError("login_slowed", seconds=max(1, round(wait_s)))

    def _note_failure(self, who: tuple[str, str]) -> None:
        count = self._failures.pop(who, (0, 0.0))[0] + 1
        wait_s = _wait_after(count)
        self._failures[who] = (count, self._clock.monotonic() + wait_s)
        while len(self._failures) > _MAX_REMEMBERED:
            self._failures.popitem(last=False)


def _wait_after(failures: int) -> float:
    """How long to wait for the next try: 1 s after some failures, then twice as long each time."""
    if failures < _FREE_FAILURES:
        return 0
    # The exponent is bounded as well: no float holds 2 ** 1024.
    return min(_MAX_WAIT_S, 2.0 ** min(failures - _FREE_FAILURES, _MAX_DOUBLINGS))


def _hash(password: str, salt: str) -> str:
    secret = password.encode("utf-8", "replace")
    derived = hashlib.scrypt(secret, salt=salt.encode(), n=2**14, r=8, p=1)
    return base64.b64encode(derived).decode()
