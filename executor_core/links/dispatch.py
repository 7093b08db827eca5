"""Sends a task through a server to one of its user's devices, as the server's web page does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from executor_core.errors import ExecutorError
from executor_core.links.device.server_socket import (
    CALL_LIMIT_S,
    ConnectFailedError,
    LinkLostError,
    ServerSocket,
)
from executor_core.links.server import Access, Json, Reply, ask, user_ask

CHAT = "/chat"
"""The namespace of web pages; it takes user tokens only."""
_WORKS_ON_DEVICES = ("claude", "codex", "opencode")
_WORKS_ELSEWHERE = ("chat", "dify", "agno")


async def team_for_devices(access: Access) -> int:
    """A team of the user's whose work a device can do.

    Raises ExecutorError `no_team`, and those of `user_ask`.
    """
    items = (await user_ask(access, "GET", "/api/teams?limit=100")).fields().get("items")
    teams = [item for item in items or () if isinstance(item, dict) and item.get("id")]
    known = [team for team in teams if _is_one_of(team, _WORKS_ON_DEVICES)]
    others = [team for team in teams if not _is_one_of(team, _WORKS_ELSEWHERE)]
    for team in [*known, *others]:
        if isinstance(team["id"], int):
            return team["id"]
    raise ExecutorError("no_team", server=access.server)


def _is_one_of(team: Json, shells: Iterable[str]) -> bool:
    """Servers say it of the team, or of its bots, and spell it in several ways."""
    said = [team.get("agent_type")]
    for entry in team.get("bots") or ():
        bot = entry.get("bot") if isinstance(entry, dict) else None
        said.append(bot.get("shell_type") if isinstance(bot, dict) else None)
    return any(shell in str(value).lower() for value in said if value for shell in shells)


async def send_task(access: Access, *, team_id: int, device_id: str, message: str) -> int:
    """The number of the new task.

    Servers from v2.0.12 take it by `POST /api/device-chat/tasks`, older ones only by the socket of
    their web page. Raises ExecutorError `api_key_not_enough` where a key cannot do that,
    `server_said_no`, `server_answer_strange`, and those of `ask`.
    """
    body = {"teamId": team_id, "deviceId": device_id, "message": message, "title": message[:100]}
    answer = await user_ask(access, "POST", "/api/device-chat/tasks", body)
    if not _is_unknown(answer):
        return _task_id(answer.fields().get("taskId"))
    if access.token.startswith("wg-"):
        raise ExecutorError("api_key_not_enough", server=access.server)
    said = {"team_id": team_id, "device_id": device_id, "message": message, "task_type": "task"}
    reply = await _chat(access, "chat:send", said)
    if not isinstance(reply, dict) or reply.get("error"):
        reason = reply.get("error") if isinstance(reply, dict) else reply
        raise ExecutorError("server_said_no", reason=reason)
    return _task_id(reply.get("task_id"))


async def check_token(access: Access) -> None:
    """Whether the server takes the token for a device, without being one.

    Raises ExecutorError `token_refused`, `server_unreachable`.
    """
    if not access.token.startswith("wg-"):
        answer = await ask(access.server, "GET", "/api/users/me", token=access.token)
        if answer.status in (401, 403):
            raise ExecutorError("token_refused", server=access.server)
        if answer.is_good and isinstance(answer.body, dict):
            return
    connection = ServerSocket(_nothing)
    try:
        await connection.open(access.server, access.token)
    except ConnectFailedError as error:
        if error.is_refusal:
            raise ExecutorError("token_refused", server=access.server) from error
        raise _unreachable(access, error) from error
    finally:
        await connection.close()


async def _chat(access: Access, event: str, data: Json) -> Any:
    connection = ServerSocket(_nothing, CHAT)
    try:
        await connection.open(access.server, access.token)
        return await connection.call(event, data, CALL_LIMIT_S)
    except (ConnectFailedError, LinkLostError, TimeoutError) as error:
        raise _unreachable(access, error) from error
    finally:
        await connection.close()


def _unreachable(access: Access, error: Exception) -> ExecutorError:
    reason = str(error) or type(error).__name__
    return ExecutorError("server_unreachable", server=access.server, reason=reason)


def _is_unknown(answer: Reply) -> bool:
    """Whether the server has no such path; of a team or device that is missing it says more."""
    return answer.status == 405 or (answer.status == 404 and answer.reason == "Not Found")


def _task_id(value: object) -> int:
    if not isinstance(value, int):
        raise ExecutorError("server_answer_strange", status=200)
    return value


def _nothing(_event: str, _data: Any) -> None:
    """What a web page would draw is of no interest here."""
