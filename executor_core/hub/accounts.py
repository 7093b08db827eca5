"""Users of the hub: passwords that they set, and the signed tokens that stand for them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from datetime import timedelta
from typing import Any

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub.store import Store
from executor_core.hub.wire import clean
from executor_core.web import OWNER

TOKEN_LIFE = timedelta(days=7)
TASK_TOKEN_LIFE = timedelta(days=1)
MIN_PASSWORD_LENGTH = 8
_FREE_FAILURES = 5
_MAX_WAIT_S = 60.0
_MAX_REMEMBERED = 1000


class Accounts:
    """Who may sign in. `open` loads what the other methods need."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._secret = ""
        self._users: dict[str, int] = {}
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def open(self) -> None:
        """Load the signing secret and the users; the owner is made at the first start."""
        self._secret = await self._store.secret("jwt")
        await self._store.add_user(OWNER)
        self._users = await self._store.users()

    def user_id(self, name: str) -> int | None:
        """The number of a user."""
        return self._users.get(name)

    def id_of(self, name: str) -> int:
        """The number of a user who has shown a token."""
        user_id = self._users.get(name)
        if user_id is None:
            raise ExecutorError("no_token")
        return user_id

    async def add(self, name: str) -> int:
        """Add a user who cannot sign in with a password yet; the existing one's id otherwise."""
        user_id = await self._store.add_user(name)
        self._users = await self._store.users()
        return user_id

    async def set_password(self, name: str, password: str) -> None:
        """Set a user's password.

        Raises:
            ExecutorError: `unknown_user`, or `weak_password` below eight characters.
        """
        user_id = self._users.get(name)
        if user_id is None:
            raise ExecutorError("unknown_user", name=name)
        if len(password) < MIN_PASSWORD_LENGTH:
            raise ExecutorError("weak_password", length=MIN_PASSWORD_LENGTH)
        salt = secrets.token_bytes(16)
        hashed = await self._store.run(lambda _db: _hash(password, salt))
        await self._store.set_password(user_id, hashed)

    async def login(self, name: str, password: str) -> str:
        """A token for a name and its password.

        Raises:
            ExecutorError: `no_password` while none is set, `login_failed`, and `login_slowed`
                after several failures in a row.
        """
        self._refuse_haste(name)
        user_id = self._users.get(name)
        stored = None if user_id is None else await self._store.password(user_id)
        if user_id is not None and stored is None:
            raise ExecutorError("no_password", name=name)
        # An unknown name costs the same time as a wrong password.
        salt = base64.b64decode(stored.partition("$")[0]) if stored else b"-" * 16
        hashed = await self._store.run(lambda _db: _hash(password, salt))
        if stored is None or not hmac.compare_digest(hashed, stored):
            self._note_failure(name)
            raise ExecutorError("login_failed")
        self._failures.pop(name, None)
        return self.token(name)

    def token(self, name: str) -> str:
        """A user token, good for seven days."""
        return self._sign({"sub": name, "user_id": self._users[name]}, TOKEN_LIFE)

    def task_token(self, name: str, task_id: int, subtask_id: int) -> str:
        """The token inside a task of the responses dialect. It opens nothing: it has no `sub`."""
        claims = {
            "task_id": task_id,
            "subtask_id": subtask_id,
            "user_id": self._users[name],
            "user_name": name,
            "type": "task_token",
        }
        return self._sign(claims, TASK_TOKEN_LIFE)

    def verify(self, token: str) -> str | None:
        """The user of a good token."""
        import jwt

        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                options={"require": ["sub", "exp"], "verify_exp": False},
            )
        except (jwt.InvalidTokenError, UnicodeEncodeError):
            return None
        name, expires = claims["sub"], claims["exp"]
        if not isinstance(expires, int) or expires <= self._clock.now().timestamp():
            return None
        return name if name in self._users else None

    def _sign(self, claims: dict[str, Any], life: timedelta) -> str:
        import jwt

        expires = int((self._clock.now() + life).timestamp())
        return jwt.encode(claims | {"exp": expires}, self._secret, algorithm="HS256")

    def _refuse_haste(self, name: str) -> None:
        _count, not_before = self._failures.get(name, (0, 0.0))
        wait_s = not_before - self._clock.monotonic()
        if wait_s > 0:
            raise ExecutorError("login_slowed", seconds=max(1, round(wait_s)))

    def _note_failure(self, name: str) -> None:
        count = self._failures.pop(name, (0, 0.0))[0] + 1
        wait_s = min(_MAX_WAIT_S, 2.0 ** (count - _FREE_FAILURES)) if count >= _FREE_FAILURES else 0
        self._failures[name] = (count, self._clock.monotonic() + wait_s)
        while len(self._failures) > _MAX_REMEMBERED:
            self._failures.popitem(last=False)


def _hash(password: str, salt: bytes) -> str:
    derived = hashlib.scrypt(clean(password).encode(), salt=salt, n=2**14, r=8, p=1)
    return f"{base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"
