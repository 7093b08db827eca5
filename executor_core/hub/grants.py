"""What the owner hands out: tokens and keys, with which devices and programs come to this hub."""

from __future__ import annotations

import re

from aiohttp import web

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub.accounts import MAX_USERS, TOKEN_LIFE, Accounts
from executor_core.hub.wire import Json
from executor_core.web import OWNER, Listener, check_user_name, read_json, user_of

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_STATUS = {"owner_only": 403, "too_many_keys": 409, "too_many_hub_users": 409, "unknown_key": 404}


class Grants:
    """Its routes. All but the one that says whose token it is are the owner's alone."""

    def __init__(self, accounts: Accounts, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock

    def attach(self, listener: Listener) -> None:
        """Register the routes."""
        listener.statuses.update(_STATUS)
        listener.route("GET", "/api/hub", self._who)
        listener.route("POST", "/api/hub/tokens", self._new_token)
        listener.route("GET", "/api/hub/keys", self._keys)
        listener.route("POST", "/api/hub/keys", self._new_key)
        listener.route("DELETE", r"/api/hub/keys/{key_id:\d{1,9}}", self._remove_key)

    async def _who(self, request: web.Request) -> web.Response:
        return web.json_response({"hub": True, "user": user_of(request)})

    async def _new_token(self, request: web.Request) -> web.Response:
        user = await self._user_in(_owners(request, await read_json(request)))
        token, expires_at = self._accounts.token(user), self._clock.now() + TOKEN_LIFE
        return web.json_response(
            {"token": token, "user": user, "expires_at": expires_at.isoformat()}
        )

    async def _keys(self, request: web.Request) -> web.Response:
        _owners(request, {})
        return web.json_response({"items": await self._accounts.keys()})

    async def _new_key(self, request: web.Request) -> web.Response:
        body = _owners(request, await read_json(request))
        name = body.get("name", "wegent-executor hub key")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ExecutorError("bad_field", name="name")
        user = await self._user_in(body)
        key_id, key = await self._accounts.add_key(user, name)
        return web.json_response({"id": key_id, "key": key, "user": user, "name": name})

    async def _remove_key(self, request: web.Request) -> web.Response:
        _owners(request, {})
        key_id = int(request.match_info["key_id"])
        await self._accounts.remove_key(key_id)
        return web.json_response({"id": key_id})

    async def _user_in(self, body: Json) -> str:
        """The user that is named, made where there is none yet; the owner by default."""
        name = body.get("user", OWNER)
        if not isinstance(name, str):
            raise ExecutorError("bad_field", name="user")
        check_user_name(name)
        if await self._accounts.user_id(name) is None:
            if self._accounts.count >= MAX_USERS:
                raise ExecutorError("too_many_hub_users", limit=MAX_USERS)
            await self._accounts.add(name)
        return name


def _owners(request: web.Request, body: Json) -> Json:
    """`body`, if the owner sent it."""
    if user_of(request) != OWNER:
        raise ExecutorError("owner_only")
    return body
