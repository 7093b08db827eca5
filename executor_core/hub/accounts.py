"""Users of the hub, and the signed tokens that devices and tasks of theirs bring."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub.store import Store
from executor_core.web import OWNER, tokens

TOKEN_LIFE = timedelta(days=7)
TASK_TOKEN_LIFE = timedelta(days=1)
API_KEY = "wg-"
MAX_KEYS = 100
MAX_USERS = 100


class Accounts:
    """Whose devices and tasks these are. `refresh` loads what the other methods need.

    A command line may remove a user beside us. Numbers are never given twice, so who holds a token
    of an earlier user of the same name is not the present one.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._secret = ""
        self._users: dict[str, int] = {}
        self._keys: dict[str, str] = {}
        """Users by the digests of their keys."""

    async def open(self) -> None:
        """Load the signing secret and the users; the owner is made at the first start."""
        self._secret = await self._store.secret("jwt")
        await self._store.add_user(OWNER)
        await self.refresh()

    async def refresh(self) -> None:
        """Take up who is there now, and their keys."""
        users, keys = await self._store.users(), await self._store.keys()
        self._users, self._keys = users, {row["digest"]: row["user"] for row in keys}

    @property
    def ids(self) -> frozenset[int]:
        """The numbers of all users."""
        return frozenset(self._users.values())

    @property
    def count(self) -> int:
        """How many users there are."""
        return len(self._users)

    async def user_id(self, name: str) -> int | None:
        """The number of a user, if they are still there."""
        user_id = self._users.get(name)
        is_there = user_id is not None and await self._store.has_user(user_id)
        return user_id if is_there else None

    async def id_of(self, name: str) -> int:
        """The number of a user who has shown a token."""
        user_id = await self.user_id(name)
        if user_id is None:
            raise ExecutorError("no_token")
        return user_id

    async def add(self, name: str) -> int:
        """Add a user; the existing one's id otherwise."""
        user_id = await self._store.add_user(name)
        await self.refresh()
        return user_id

    def token(self, name: str) -> str:
        """A user token, good for seven days."""
        return self._sign({"sub": name, "user_id": self._users[name]}, TOKEN_LIFE)

    def task_token(self, name: str, task_id: int, subtask_id: int) -> str:
        """The token inside a task of the responses dialect: it opens what the task brings.

        Nothing else, for it has no `sub`.
        """
        claims = {
            "task_id": task_id,
            "subtask_id": subtask_id,
            "user_id": self._users[name],
            "user_name": name,
            "type": "task_token",
        }
        return self._sign(claims, TASK_TOKEN_LIFE)

    async def add_key(self, user: str, name: str) -> tuple[int, str]:
        """A new API key of a user, its number first. Only its digest is kept.

        Raises:
            ExecutorError: `too_many_keys`.
        """
        if len(self._keys) >= MAX_KEYS:
            raise ExecutorError("too_many_keys", limit=MAX_KEYS)
        key = API_KEY + secrets.token_urlsafe(24)
        now = self._clock.now().isoformat()
        key_id = await self._store.add_key(await self.id_of(user), name, _digest(key), now)
        await self.refresh()
        return key_id, key

    async def keys(self) -> list[dict[str, Any]]:
        """What is known of the keys: number, name, user and day."""
        return [
            {name: row[name] for name in ("id", "name", "user", "created_at")}
            for row in await self._store.keys()
        ]

    async def remove_key(self, key_id: int) -> None:
        """End a key: nobody gets in with it any more.

        Raises:
            ExecutorError: `unknown_key`.
        """
        if not await self._store.delete_key(key_id):
            raise ExecutorError("unknown_key", id=key_id)
        await self.refresh()

    def verify(self, token: str) -> str | None:
        """The user of a good token or key."""
        if token.startswith(API_KEY):
            return self._keys.get(_digest(token))
        claims = tokens.verified(token, self._secret, now=self._clock.now()) or {}
        name = claims.get("sub")
        if not isinstance(name, str) or name not in self._users:
            return None
        return name if self._users[name] == claims.get("user_id") else None

    def verify_task(self, token: str) -> tuple[int, int] | None:
        """The user's and the task's number in a good token of a task."""
        claims = tokens.verified(token, self._secret, now=self._clock.now()) or {}
        user_id, task_id = claims.get("user_id"), claims.get("task_id")
        is_one = claims.get("type") == "task_token" and user_id in self._users.values()
        if is_one and isinstance(user_id, int) and isinstance(task_id, int):
            return user_id, task_id
        return None

    def _sign(self, claims: dict[str, Any], life: timedelta) -> str:
        return tokens.sign(claims, self._secret, now=self._clock.now(), life=life)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
