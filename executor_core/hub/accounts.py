"""Users of the hub, the signed tokens that devices and tasks of theirs bring, and the routes by
which the owner hands out tokens and keys.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from aiohttp import web

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub.store import Json, Store, insert
from executor_core.web import OWNER, Listener, check_user_name, read_json, tokens, user_of

TOKEN_LIFE = timedelta(days=7)
TASK_TOKEN_LIFE = timedelta(days=1)
API_KEY = "wg-"
MAX_KEYS = 100
MAX_USERS = 100
_KEY_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")


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
        self.routes: Routes = [
            ("GET", "/api/hub", self._who),
            ("POST", "/api/hub/tokens", self._new_token),
            ("GET", "/api/hub/keys", self._show_keys),
            ("POST", "/api/hub/keys", self._new_key),
            ("DELETE", r"/api/hub/keys/{key_id:\d{1,9}}", self._remove_key),
        ]

    async def open(self) -> None:
        """Load the signing secret and the users; the owner is made at the first start."""
        self._secret = await self._store.run(_secret)
        await self.add(OWNER)

    async def refresh(self) -> None:
        """Take up who is there now, and their keys."""
        users = await self._store.rows(Json, "SELECT name, id FROM users")
        keys = await self._store.rows(
            Json, "SELECT digest, u.name AS user FROM keys k JOIN users u ON u.id = k.user_id"
        )
        self._users = {row["name"]: row["id"] for row in users}
        self._keys = {row["digest"]: row["user"] for row in keys}

    @property
    def ids(self) -> frozenset[int]:
        """The numbers of all users."""
        return frozenset(self._users.values())

    async def user_id(self, name: str) -> int | None:
        """The number of a user, if they are still there."""
        user_id = self._users.get(name)
        found = await self._store.rows(Json, "SELECT 1 FROM users WHERE id = ?", user_id)
        return user_id if found else None

    async def id_of(self, name: str) -> int:
        """The number of a user who has shown a token."""
        user_id = await self.user_id(name)
        if user_id is None:
            raise ExecutorError("no_token")
        return user_id

    async def add(self, name: str) -> None:
        """Make the user, unless there is one of that name."""
        await self._store.change("INSERT OR IGNORE INTO users (name) VALUES (?)", name)
        await self.refresh()

    # --- tokens --------------------------------------------------------------------------------

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

    def _sign(self, claims: Json, life: timedelta) -> str:
        return tokens.sign(claims, self._secret, now=self._clock.now(), life=life)

    # --- routes: all but the first are the owner's alone -----------------------------------------

    async def _who(self, call: Call) -> Json:
        return {"hub": True, "user": call.user}

    async def _new_token(self, call: Call) -> Json:
        body = await call.body()
        call.check_owner()
        user = await self._user_in(body)
        token, expires_at = self.token(user), self._clock.now() + TOKEN_LIFE
        return {"token": token, "user": user, "expires_at": expires_at.isoformat()}

    async def _show_keys(self, call: Call) -> Json:
        call.check_owner()
        query = (
            "SELECT k.id, k.name, u.name AS user, k.created_at"
            " FROM keys k JOIN users u ON u.id = k.user_id ORDER BY k.id"
        )
        return {"items": await self._store.rows(Json, query)}

    async def _new_key(self, call: Call) -> Json:
        """Only the key's digest is kept."""
        body = await call.body()
        call.check_owner()
        name = body.get("name", "wegent-executor hub key")
        if not isinstance(name, str) or not _KEY_NAME.fullmatch(name):
            raise ExecutorError("bad_field", name="name")
        user = await self._user_in(body)
        if len(self._keys) >= MAX_KEYS:
            raise ExecutorError("too_many_keys", limit=MAX_KEYS)
        key = API_KEY + secrets.token_urlsafe(24)
        row = {
            "user_id": await self.id_of(user),
            "name": name,
            "digest": _digest(key),
            "created_at": self._clock.now().isoformat(),
        }
        key_id = await self._store.run(lambda db: insert(db, "keys", row))
        await self.refresh()
        return {"id": key_id, "key": key, "user": user, "name": name}

    async def _remove_key(self, call: Call) -> Json:
        """Nobody gets in with it any more."""
        call.check_owner()
        key_id = call.number("key_id")
        if not await self._store.change("DELETE FROM keys WHERE id = ?", key_id):
            raise ExecutorError("unknown_key", id=key_id)
        await self.refresh()
        return {"id": key_id}

    async def _user_in(self, body: Json) -> str:
        """The user that is named, made where there is none yet; the owner by default."""
        name = body.get("user", OWNER)
        if not isinstance(name, str):
            raise ExecutorError("bad_field", name="user")
        check_user_name(name)
        if await self.user_id(name) is None:
            if len(self._users) >= MAX_USERS:
                raise ExecutorError("too_many_hub_users", limit=MAX_USERS)
            await self.add(name)
        return name


@dataclass(frozen=True)
class Call:
    """A request to one of the hub's routes: whose it is, and what it says."""

    request: web.Request
    accounts: Accounts

    @property
    def user(self) -> str:
        """The name of the user whose token it brought."""
        return user_of(self.request)

    async def user_id(self) -> int:
        """That user's number. Raises `no_token` where they are gone."""
        return await self.accounts.id_of(self.user)

    def check_owner(self) -> None:
        """Raises `owner_only`."""
        if self.user != OWNER:
            raise ExecutorError("owner_only")

    def part(self, name: str) -> str:
        """A part of its path."""
        return self.request.match_info[name]

    def number(self, name: str) -> int:
        """A part of its path that is a number."""
        return int(self.part(name))

    async def body(self) -> Json:
        """The JSON object that it brought, or an empty one. Raises `bad_json`."""
        return await read_json(self.request)


Routes: TypeAlias = list[tuple[str, str, Callable[[Call], Awaitable[Json]]]]
"""Method, path and handler."""


def serve(listener: Listener, accounts: Accounts, routes: Routes, **options: Any) -> None:
    """Register routes that answer with JSON; `options` are those of `Listener.route`."""
    for method, path, handler in routes:

        async def answer(
            request: web.Request, handler: Callable[[Call], Awaitable[Json]] = handler
        ) -> web.StreamResponse:
            return web.json_response(await handler(Call(request, accounts)))

        listener.route(method, path, answer, **options)


def _secret(db: sqlite3.Connection) -> str:
    """The random value that signs tokens; made once."""
    made = secrets.token_urlsafe(48)
    db.execute("INSERT OR IGNORE INTO secret VALUES ('jwt', ?)", (made,))
    return str(db.execute("SELECT value FROM secret WHERE name = 'jwt'").fetchone()[0])


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
