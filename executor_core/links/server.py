"""The REST interface of a Wegent server, as one user of it. One request per call, no state."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.outbound import client_session
from executor_core.unicode import encodable

Json = dict[str, Any]

ANSWER_LIMIT_S = 15.0
MAX_ANSWER_BYTES = 4 * 2**20
_MAX_REASON = 300


class Access(Struct, kw_only=True, frozen=True):
    """A normalised address, and the token that opens it. `is_hub`: it is a hub of ours."""

    server: str
    token: str
    is_hub: bool = False

    def __repr__(self) -> str:
        return f"Access({self.server!r})"


class Reply(Struct, frozen=True):
    """What the server said; `body` is None where it is no JSON."""

    status: int
    body: Any

    @property
    def is_good(self) -> bool:
        return self.status < 300

    @property
    def reason(self) -> str:
        """Why not, in the server's words."""
        detail = self.body.get("detail") if isinstance(self.body, dict) else None
        return str(detail or f"HTTP {self.status}")[:_MAX_REASON]

    def fields(self) -> Json:
        """The body as an object. Raises ExecutorError `server_said_no`, `server_answer_strange`."""
        if not self.is_good:
            raise ExecutorError("server_said_no", reason=self.reason)
        if not isinstance(self.body, dict):
            raise ExecutorError("server_answer_strange", status=self.status)
        return self.body


async def ask(
    server: str, method: str, path: str, *, token: str = "", body: Json | None = None
) -> Reply:
    """One request. Raises ExecutorError `server_unreachable`, those of `proxy_for`, and
    `server_answer_strange` for one that is longer than `MAX_ANSWER_BYTES`."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None
    if body is not None:
        data, headers["Content-Type"] = msgspec.json.encode(encodable(body)), "application/json"
    limit = aiohttp.ClientTimeout(total=ANSWER_LIMIT_S)
    try:
        async with (
            client_session(server, timeout=limit) as http,
            # A redirect could carry the token to another host.
            http.request(
                method, server + path, data=data, headers=headers, allow_redirects=False
            ) as reply,
        ):
            raw = await _read(reply)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ExecutorError("server_unreachable", server=server, reason=reason) from error
    return Reply(reply.status, _decoded(raw))


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    raw = b""
    async for chunk in reply.content.iter_any():
        raw += chunk
        if len(raw) > MAX_ANSWER_BYTES:
            raise ExecutorError("server_answer_strange", status=reply.status)
    return raw


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


async def token_for(server: str, user_name: str, password: str) -> str:
    """A token for a name and a password.

    Raises ExecutorError `login_failed` and those of `ask` and `Reply.fields`.
    """
    # Servers read one of the two names.
    body = {"user_name": user_name, "username": user_name, "password": password}
    answer = await ask(server, "POST", "/api/auth/login", body=body)
    if answer.status in (400, 401, 403):
        raise ExecutorError("login_failed")
    fields = answer.fields()
    token = fields.get("access_token") or fields.get("token")
    if not isinstance(token, str):
        raise ExecutorError("server_answer_strange", status=answer.status)
    return token


async def user_ask(access: Access, method: str, path: str, body: Json | None = None) -> Reply:
    """One request as the user.

    Raises ExecutorError `token_refused`, `api_key_not_enough`, and those of `ask`.
    """
    answer = await ask(access.server, method, path, token=access.token, body=body)
    if answer.status == 401:
        code = "api_key_not_enough" if access.token.startswith("wg-") else "token_refused"
        raise ExecutorError(code, server=access.server)
    return answer


async def device_items(access: Access) -> list[Json]:
    """The user's devices as the server describes them. Raises ExecutorError."""
    items = (await user_ask(access, "GET", "/api/devices")).fields().get("items")
    if not isinstance(items, list):
        raise ExecutorError("server_answer_strange", status=200)
    return [item for item in items if isinstance(item, dict) and item.get("device_id")]


async def make_default(access: Access, device_id: str) -> None:
    """Raises ExecutorError `unknown_device`, and others."""
    _found(await user_ask(access, "PUT", f"{_device(device_id)}/default"), device_id)


async def clear_default(access: Access, device_id: str) -> None:
    """Raises ExecutorError `no_unset_default` where the server has no such thing, and others."""
    answer = await user_ask(access, "DELETE", f"{_device(device_id)}/default")
    if answer.status in (404, 405):
        raise ExecutorError("no_unset_default", server=access.server)
    answer.fields()


async def remove_device(access: Access, device_id: str) -> None:
    """Raises ExecutorError `unknown_device`, and others."""
    _found(await user_ask(access, "DELETE", _device(device_id)), device_id)


def _device(device_id: str) -> str:
    return f"/api/devices/{quote(device_id, safe='', errors='replace')}"


def _found(answer: Reply, device_id: str) -> None:
    if answer.status == 404:
        raise ExecutorError("unknown_device", device_id=device_id)
    answer.fields()
