"""Who is there to be asked: the running executor of this <home>, and the server it works for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import msgspec

from executor_core.config import options
from executor_core.config.layers import Config, Layer
from executor_core.config.token import TokenSources
from executor_core.control import Address, Control, Status
from executor_core.errors import ExecutorError
from executor_core.links.server import Access, Json, user_ask

_T = TypeVar("_T")

Load = Callable[[], Config]
"""Reads all layers anew, as the program was started. Blocks."""
Reach = Callable[[], AbstractAsyncContextManager[Control]]
"""The running executor; raises ExecutorError `not_running`, at once or when entered."""


async def ask_running(reach: Reach, question: Callable[[Control], Awaitable[_T]]) -> _T | None:
    """What the running executor answers; None where none runs, or it ends meanwhile or hangs."""
    try:
        async with reach() as control:
            return await question(control)
    except ExecutorError as error:
        if error.code not in ("not_running", "executor_lost", "executor_silent"):
            raise
        return None


async def status_of(reach: Reach) -> Status | None:
    """The status of the running executor; None where none runs."""
    return await ask_running(reach, lambda control: control.status())


async def tell_credential_changed(reach: Reach) -> None:
    """Let the running executor, if there is one, use what is signed in now."""
    await ask_running(reach, lambda control: control.credential_changed())


async def access_of(load: Load, reach: Reach) -> Access:
    """The server whose devices and tasks a person means, and the token for it.

    The one named on the command line; else the hub of the executor that runs; else the configured.
    Raises ExecutorError `no_server`, `not_configured`.
    """
    config = await asyncio.to_thread(load)
    status = None if _is_named(config) else await status_of(reach)
    if status is not None and _has_hub(status):
        return await asyncio.to_thread(_hub_of, config)
    return await asyncio.to_thread(_configured, config)


async def ask_hub(
    load: Load, reach: Reach, method: str, path: str, body: Json | None = None
) -> tuple[str, Json]:
    """Ask the hub of the executor that runs; its address and its answer.

    Raises ExecutorError `not_running`, `no_hub` where it runs without one, or what the hub said.
    """
    async with reach() as control:
        status = await control.status()
    if not _has_hub(status):
        raise ExecutorError("no_hub")
    access = await asyncio.to_thread(lambda: _hub_of(load()))
    return access.server, (await user_ask(access, method, path, body)).fields()


def _has_hub(status: Status) -> bool:
    return any(link.server == status.api for link in status.links)


def _is_named(config: Config) -> bool:
    said = config.settings_of(options.SERVER_URL)
    return bool(said) and said[-1].layer is Layer.COMMAND_LINE


def _hub_of(config: Config) -> Access:
    try:
        address = msgspec.json.decode(config.home.api_json.read_bytes(), type=Address)
    except (OSError, msgspec.MsgspecError) as error:
        raise ExecutorError("not_running") from error
    return Access(server=address.url, token=address.token, is_hub=True)


def _configured(config: Config) -> Access:
    server = config[options.SERVER_URL]
    if not server:
        raise ExecutorError("no_server")
    token = TokenSources(config).current(server)
    if token is None:
        raise ExecutorError("signed_out", server=server)
    return Access(server=server, token=token.value)
